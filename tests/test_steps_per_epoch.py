"""train.steps_per_epoch: epochs of so many full batches, which go on through the passes over the data."""

import os
import signal
from pathlib import Path

import pytest

from segframe import SegframeError, checkpoint, hookimpl
from segframe.experiment import run_experiment
from segframe.interrupt import Interrupted
from segframe.record import Record
from segframe.settings import steps_per_epoch


class Spy:
    """Notes the images of each step and the epochs, and stops the run at a step if told to."""

    def __init__(self, stop_at=None):
        self.images, self.epochs, self.stop_at = [], [], stop_at

    @hookimpl
    def segframe_callbacks(self, run):
        return [self]

    def on_step(self, step, logs):
        self.images.append(logs["images"])
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_epoch(self, epoch, logs):
        self.epochs.append((logs["epoch"], logs["step"], "val/dice" in logs))


def arrays(out_dir, kind):
    return [value.tobytes() for value in checkpoint.load(Path(out_dir) / "checkpoint.h5")[0][kind]]


def test_null_is_one_pass_and_a_number_is_taken():
    assert steps_per_epoch({"steps_per_epoch": None, "batch_size": 4}, 6) == 2
    assert steps_per_epoch({"steps_per_epoch": 50, "batch_size": 4}, 6) == 50


WORDS = ("augment=flips", "optimizer=adam", "optimizer.schedule.name=cosine", "train.batch_size=4")


def test_two_epochs_of_three_steps_train_as_three_of_two(plugins, config):
    """Six images at batch 4: without it a pass would be a step of 4 and one of 2."""
    others = run_experiment(plugins, config(*WORDS, "train.epochs=3", "train.steps_per_epoch=2"))
    spy = Spy()
    plugins.register(spy)
    epochs = run_experiment(plugins, config(*WORDS, "train.epochs=2", "train.steps_per_epoch=3"))
    assert spy.images == [4, 4, 4, 4, 4, 4]
    assert spy.epochs == [(1, 3, True), (2, 6, True)]
    for kind in ("model", "optimizer"):  # the same batches and, by the same number of steps, the same rates
        assert arrays(epochs.out_dir, kind) == arrays(others.out_dir, kind)


@pytest.mark.parametrize(
    "stop_at", [pytest.param(2, marks=pytest.mark.slow), 6], ids=["an epoch's end", "in the middle"]
)
def test_a_stopped_run_resumes_exactly(plugins, config, tmp_path, stop_at):
    words = [*WORDS, "train.epochs=3", "train.steps_per_epoch=3", "train.score_test_at=[2]"]
    whole = run_experiment(plugins, config(*words, f"runs_dir='{tmp_path}/whole'"))
    stopper = Spy(stop_at)
    plugins.register(stopper)
    with pytest.raises(Interrupted):
        run_experiment(plugins, config(*words))
    plugins.unregister(stopper)
    again = run_experiment(plugins, config(*words))
    for kind in ("model", "optimizer", "best"):
        assert arrays(again.out_dir, kind) == arrays(whole.out_dir, kind)
    assert (again.scores, again.test_at) == (whole.scores, whole.test_at)
    history = Record(Path(again.out_dir)).read("history.json")
    assert [(entry["epoch"], entry["step"]) for entry in history] == [(1, 3), (2, 6), (3, 9)]


def test_a_number_below_one_is_refused(plugins, config):
    with pytest.raises(SegframeError, match=r"train\.steps_per_epoch: expected .* 1, got 0"):
        run_experiment(plugins, config("train.steps_per_epoch=0"))
