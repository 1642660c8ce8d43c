"""segframe.requested_metrics: what a config asks for is checked, named, averaged, scored at the end, kept."""

import csv
from pathlib import Path

import numpy as np
import pytest

from segframe import SegframeError, hookimpl
from segframe.experiment import check_config, run_experiment
from segframe.metrics import CONTRACT
from segframe.record import Record
from segframe.requested_metrics import RequestedMetrics, split_means
from segframe.summary import summarise

NAMES = ("background", "cell", "nucleus")
MASK = np.zeros((4, 5), np.uint8)


class Share:
    """Share of each class in the prediction, and the number of its pixels; counts its calls."""

    def __init__(self, num_classes=3, spacing=None, scale=1.0):
        self.num_classes, self.scale, self.shapes = num_classes, scale, []
        self.larger_is_better = {"share": True, "pixels": False}
        self.contract = {"units": {"pixels": "px"}, "spacing": spacing}

    def __call__(self, mask, prediction):
        self.shapes.append((mask.shape, mask.dtype, prediction.dtype))
        share = np.bincount(prediction.ravel(), minlength=self.num_classes) / prediction.size
        return {"share": np.where(share > 0, share, np.nan) * self.scale, "pixels": float(prediction.size)}


class SharePlugin:
    def __init__(self):
        self.built = []

    @hookimpl
    def segframe_metrics(self):
        def build_share(*, num_classes: int, ignore_index: int, spacing, scale: float = 1.0):
            if scale < 0:
                raise SegframeError("metrics.scale", expected="0 or more", got=str(scale), remedy="Give it.")
            self.built.append(Share(num_classes, spacing, scale))
            return self.built[-1]

        return {"share": build_share}


def giving(**scores):
    """A metric that gives these."""

    def metric(mask, prediction):
        return scores

    metric.larger_is_better, metric.contract = dict.fromkeys(scores, True), {}
    return metric


def test_what_is_given_by_class_is_named_by_class_and_averaged_over_the_foreground():
    prediction = MASK.copy()
    prediction[0] = 1
    found = RequestedMetrics({"a": Share()}, NAMES).image_scores(MASK, prediction)
    assert list(found) == ["share", "pixels", "share/background", "share/cell", "share/nucleus"]
    assert (found["share"], found["share/background"], found["pixels"]) == (0.25, 0.75, 20)
    assert np.isnan(found["share/nucleus"])
    without_background = RequestedMetrics({"a": Share()}, ("x", "y", "z")).image_scores(MASK, prediction)
    assert without_background["share"] == 0.5


def test_a_split_is_the_mean_over_the_images_where_it_is_defined():
    found = split_means({"a": np.array([1, np.nan, 3]), "b": np.array([np.nan, np.nan])})
    assert found["a"] == 2 and np.isnan(found["b"])


def test_contracts_are_kept_by_label():
    requested = RequestedMetrics({"a": Share(spacing=[1, 2])}, NAMES)
    directions = {"share": True, "pixels": False}
    expected = {"units": {"pixels": "px"}, "spacing": [1, 2], "larger_is_better": directions}
    assert requested.contract() == {"a": expected}
    assert requested and not RequestedMetrics({}, NAMES)


@pytest.mark.parametrize(
    "metrics, message",
    [
        ({"a": giving(x=1.0), "b": giving(x=2.0)}, r"metrics\.b: .* got 'x', which metrics\.a gives too"),
        ({"a": giving(dice=1.0)}, r"metrics\.a: .* got 'dice', which the core gives too"),
        ({"a": giving(**{"iou_pooled/cell": 1.0})}, "which the core gives too"),
    ],
)
def test_two_scores_of_one_name_are_refused(metrics, message):
    with pytest.raises(SegframeError, match=message):
        RequestedMetrics(metrics, NAMES)


@pytest.mark.parametrize("value", [float("inf"), np.zeros(2), np.zeros((3, 3))])
def test_a_score_that_breaks_the_contract_is_refused(value):
    with pytest.raises(SegframeError, match=r"metrics\.a: expected x as one number or one a class"):
        RequestedMetrics({"a": giving(x=value)}, NAMES).image_scores(MASK, MASK)


def test_a_score_that_was_not_announced_is_refused():
    metric = giving(x=1.0)
    metric.larger_is_better = {"y": True}
    with pytest.raises(SegframeError, match=r"metrics\.a: expected the scores \['y'\], got \['x'\]"):
        RequestedMetrics({"a": metric}, NAMES).image_scores(MASK, MASK)


@pytest.fixture
def share(plugins):
    plugin = SharePlugin()
    plugins.register(plugin, name="share")
    return plugin


@pytest.mark.parametrize(
    "section, message",
    [
        (
            {"name": "shar"},
            r"metrics\.mine\.name: expected the name of a metric, got 'shar'.\n  Did you mean",
        ),
        ({"name": "share", "scal": 1.0}, r"metrics\.mine\.scal: expected a key that metrics 'share' takes"),
        ({"name": "share", "scale": "1"}, r"metrics\.mine\.scale: expected a valid number"),
        ("share", r"metrics\.mine: expected a section with a name, got 'share'"),
    ],
)
def test_a_wrong_section_is_refused_before_anything_is_built(plugins, share, config, section, message):
    with pytest.raises(SegframeError, match="(?s)" + message):
        check_config(plugins, config() | {"metrics": {"mine": section}})
    assert not share.built


def test_what_the_builder_refuses_is_told_with_the_label(plugins, share, config, tmp_path):
    wrong = config() | {"metrics": {"mine": {"name": "share", "scale": -1.0}}}
    with pytest.raises(SegframeError, match=r"metrics\.mine\.scale: expected 0 or more"):
        run_experiment(plugins, wrong)


def test_a_run_scores_them_once_with_the_chosen_weights(plugins, share, config, capsys):
    asked = config("train.epochs=2") | {"metrics": {"mine": {"name": "share", "scale": 2.0}}}
    result = run_experiment(plugins, asked)
    assert share.built[-1].shapes == [((17, 23), np.uint8, np.uint8)] * 6  # val and test once, no padding
    for part in ("val", "test"):
        values = result.per_image[part]["share/square"]
        defined = [value for value in values if value is not None]
        assert len(values) == 3 and result.scores[f"{part}/pixels"] == 17 * 23
        if defined:
            assert result.scores[f"{part}/share/square"] == pytest.approx(np.mean(defined))
    record = Record(Path(result.out_dir))
    assert record.read("result.json")["scores"] == result.scores
    contract = record.read("record.json")["metric_contract"]
    assert contract["requested"]["mine"]["units"] == {"pixels": "px"} and contract["version"]
    assert not any("share" in key for entry in record.read("history.json") for key in entry)
    rows = list(csv.DictReader(open(record.folder / "per_image.csv", encoding="utf-8")))
    assert [row["pixels"] for row in rows] == ["391.0"] * 3 and "share/square" in rows[0]
    summarise(plugins, asked, result)
    assert "pixels (px)" in (told := capsys.readouterr().out) and "391.0000" in told
    assert run_experiment(plugins, asked) == result  # the run is there
    other = asked | {"metrics": {}}
    assert run_experiment(plugins, other).out_dir != result.out_dir  # asked for other numbers: another run


def test_without_any_nothing_changes(plugins, share, config):
    result = run_experiment(plugins, config("train.epochs=1"))
    assert not share.built
    assert Record(Path(result.out_dir)).read("record.json")["metric_contract"] == CONTRACT
    assert not any("share" in key for key in result.scores)


@pytest.mark.bundled
def test_surface_metrics_of_a_run_are_in_its_result_and_table(plugins, config):
    asked = config("metrics=surface", "train.epochs=6", "optimizer.learning_rate=0.01")
    result = run_experiment(plugins, asked)
    assert 0 <= result.scores["test/assd"] <= result.scores["test/hd95"] < 5
    assert result.scores["test/hd95"] == result.scores["test/hd95/square"]
    assert result.scores["test/surface_dice"] > 0.8
    record = Record(Path(result.out_dir))
    row = next(csv.DictReader(open(record.folder / "per_image.csv", encoding="utf-8")))
    assert float(row["hd95/square"]) == result.per_image["test"]["hd95/square"][0]
    contract = record.read("record.json")["metric_contract"]["requested"]["surface"]
    assert (contract["units"]["hd95"], contract["tolerance"]) == ("px", "2 px")


@pytest.mark.bundled
def test_the_surface_option_has_its_builders_defaults(config):
    import inspect

    from segframe.catalog import catalog
    from segframe.manager import plugin_manager

    section = config("metrics=surface")["metrics"]["surface"]
    parameters = inspect.signature(catalog(plugin_manager(), "metrics")["surface"]).parameters
    given = {key: parameter.default for key, parameter in parameters.items() if key in section}
    assert {"name": "surface", **given} == section
