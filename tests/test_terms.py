"""segframe.terms: labels, weights and schedules of a sum's terms, and what a run makes of them."""

import pytest

from segframe import SegframeError, hookimpl
from segframe.catalog import check
from segframe.experiment import run_experiment
from segframe.terms import labelled, weight_at, weight_of


def test_the_labels_of_a_list_are_its_positions(plugins):
    terms = [{"name": "dice", "weight": 1}, {"name": "cross_entropy", "weight": 2.0}]
    assert labelled(terms, "loss") == {"0": terms[0], "1": terms[1]}
    assert check(plugins, "loss", {"name": "sum", "terms": terms})[1]["terms"] == labelled(terms, "loss")
    terms[1]["weigth"] = 1
    with pytest.raises(SegframeError, match=r"(?s)loss\.terms\.1\.weigth: .*loss 'cross_entropy'"):
        check(plugins, "loss", {"name": "sum", "terms": terms})


@pytest.mark.parametrize("terms", [{}, [], None, "dice"])
def test_no_terms_are_refused(terms):
    with pytest.raises(
        SegframeError, match=r"loss\.terms: expected {label: {name, weight, \.\.\.}}, or a list"
    ):
        labelled(terms, "loss")


@pytest.mark.parametrize(
    "weight, message",
    [
        (None, r"t\.weight: expected a number, 0 or more, or a schedule {start, end, epochs}, got None"),
        (-1, r"t\.weight: expected a number, 0 or more, .* got -1"),
        (float("inf"), r"t\.weight: .* got inf"),
        (True, r"t\.weight: .* got True"),
        ({"start": 0.0, "end": 1.0}, r"t\.weight\.epochs: .* got none"),
        ({"start": 0.0, "end": 1.0, "epochs": 2.5}, r"t\.weight\.epochs: expected a valid integer, got 2\.5"),
        ({"start": 0.0, "end": 1.0, "epochs": 0}, r"t\.weight\.epochs: expected 1 or more, got 0"),
        ({"start": -1.0, "end": 1.0, "epochs": 2}, r"t\.weight\.start: expected a number, 0 or more, got -1"),
        (
            {"start": 0.0, "end": 1.0, "epochs": 2, "step": 1},
            r"t\.weight\.step: expected one of the keys end, epochs, start, got 'step'",
        ),
    ],
)
def test_a_wrong_weight_is_refused_by_path(weight, message):
    with pytest.raises(SegframeError, match=message):
        weight_of({"name": "dice", "weight": weight}, "t")


def test_a_schedule_goes_straight_from_start_to_end_and_stays():
    schedule = weight_of({"weight": {"start": 1, "end": 0.2, "epochs": 4}}, "t")
    assert [weight_at(schedule, epoch) for epoch in range(6)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert weight_at(0.7, 3) == 0.7


class Weights:
    """Notes the weight of each step, and stops the run after the second epoch if asked to."""

    def __init__(self, stop):
        self.seen, self.stop = [], stop

    @hookimpl(trylast=True)
    def segframe_callbacks(self, run):
        self.loss = run.loss
        return [self]

    def on_step(self, step, logs):
        self.seen.append(float(self.loss._weights["dice"]))

    def on_epoch(self, epoch, logs):
        if self.stop and epoch == 1:
            raise KeyboardInterrupt


TERMS = "{ce:{name:cross_entropy,weight:1},dice:{name:dice,weight:{start:0,end:1,epochs:2}}}"
SCHEDULED = ("loss=sum", f"loss.terms={TERMS}", "train.epochs=4", "train.checkpoint_seconds=0")


def test_a_run_follows_the_schedule_and_a_resumed_one_ends_in_the_same_numbers(plugins, config, tmp_path):
    watch = Weights(stop=False)
    plugins.register(watch)
    whole = run_experiment(plugins, config(*SCHEDULED, f"runs_dir='{tmp_path}/whole'"))
    assert watch.seen == [weight for weight in (0.0, 0.5, 1.0, 1.0) for _ in range(3)]  # 3 steps an epoch
    plugins.unregister(watch)
    killed = Weights(stop=True)
    plugins.register(killed)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(plugins, config(*SCHEDULED))
    plugins.unregister(killed)
    watch.seen = []
    plugins.register(watch)
    resumed = run_experiment(plugins, config(*SCHEDULED))
    assert watch.seen[-6:] == [1.0] * 6 and len(watch.seen) < 12
    assert resumed.scores == whole.scores
