"""segframe.probe: builders' own checks, before TensorFlow is imported."""

import subprocess
import sys
import textwrap

import pytest

from segframe import SegframeError
from segframe.check_values import probe_values
from segframe.probe import HEAVY, _guarded, _Reached, probe

CODE = textwrap.dedent(
    """
    import sys
    from segframe import SegframeError, hookimpl
    from segframe.manager import plugin_manager
    from segframe.probe import probe

    class Nets:
        @hookimpl
        def segframe_models(self):
            return {"checked": checked, "careless": careless, "stubborn": stubborn}

    def checked(*, image_shape, num_classes, depth: int = 1):
        if depth < 1:
            raise SegframeError("model.depth", expected="1 or more", got=str(depth), remedy="Use 1.")
        import keras
        raise AssertionError("went on without keras")

    def careless(*, image_shape, num_classes):
        raise ValueError("a bug of the plugin's")

    def stubborn(*, image_shape, num_classes):
        try:
            from tensorflow.keras import layers
        except Exception:
            raise AssertionError("took the guard for a missing TensorFlow")

    plugins = plugin_manager(installed=False)
    plugins.register(Nets())
    facts = {"image_shape": (8, 8, 1), "num_classes": 2}
    before = list(sys.meta_path)

    probe(plugins, "model", {"name": "checked", "depth": 2}, "model", **facts)
    probe(plugins, "model", {"name": "stubborn"}, "model", **facts)
    for section in ({"name": "checked", "depth": 0}, {"name": "careless"}):
        try:
            probe(plugins, "model", section, "net.first" if section.get("depth") == 0 else "model", **facts)
        except (SegframeError, ValueError) as error:
            print(error)
        assert sys.meta_path == before
    probe(plugins, "optimizer", {"name": "adam", "learning_rate": 0.1}, "optimizer", total_steps=3)
    assert not {"tensorflow", "keras"} & set(sys.modules)
    """
)


def test_a_value_out_of_range_is_found_without_tensorflow_and_the_import_system_is_as_before():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "net.first.depth: expected 1 or more, got 0." in done.stdout
    assert "a bug of the plugin's" in done.stdout


def test_the_guard_stops_the_import_of_what_is_heavy_only_while_it_stands(monkeypatch):
    for name in HEAVY:
        for module in [found for found in sys.modules if found.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
    before = list(sys.meta_path)
    with _guarded():
        import colorsys  # noqa: F401

        with pytest.raises(_Reached):
            import tensorflow  # noqa: F401
        with pytest.raises(_Reached):
            import keras.layers  # noqa: F401
    assert sys.meta_path == before
    assert not any(name in sys.modules for name in HEAVY)


def test_where_tensorflow_is_there_already_nothing_is_built_twice(plugins, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", sys.modules.get("keras") or sys)
    probe(plugins, "model", {"name": "no such model"}, "model", image_shape=(8, 8, 1), num_classes=2)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"optimizer.learning_rate": -1.0},
            r"optimizer\.learning_rate: expected a number above 0, got -1\.0",
        ),
        ({"loss.terms.dice.smooth": -1.0}, r"loss\.terms\.dice\.smooth: expected .*, got -1\.0"),
    ],
    ids=str,
)
def test_every_section_of_a_config_is_probed(config, plugins, squares, change, message, monkeypatch):
    from segframe.catalog import build
    from segframe.split import parts

    for name in HEAVY:
        for module in [found for found in sys.modules if found.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
    made = config(*(f"{key}={value}" for key, value in change.items()))
    dataset = build(plugins, "dataset", made["dataset"])
    with pytest.raises(SegframeError, match=message):
        probe_values(plugins, made, dataset, parts(dataset, made["split"]))
    assert not any(name in sys.modules for name in HEAVY)
