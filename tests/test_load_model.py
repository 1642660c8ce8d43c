"""segframe.load_model: the run's own predictions in another process, bit for bit; or what is wrong."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import segframe
from segframe import SegframeError, hookimpl, load_model
from segframe.custom_ops import custom_ops
from segframe.experiment import run_experiment
from segframe.export import save_weights
from segframe.manager import plugin_manager
from segframe.normalisation import Normalisation
from segframe.record import Record

RUNS = {
    "float32": {"name": "unet", "filters": 2, "depth": 1},
    "bfloat16": {"name": "unet", "filters": 2, "depth": 2, "head": "sigmoid", "deep_supervision": 1},
}
"""{precision: model}; the second has one logit, and several outputs."""

FRESH = textwrap.dedent(
    """
    import sys
    import numpy as np
    import segframe
    assert not {"tensorflow", "keras", "h5py"} & set(sys.modules)
    for file in sys.argv[1:]:
        model = segframe.load_model(file)
        images = np.load(file + ".images.npy")
        np.save(file + ".ids_found.npy", model.predict(images))
        np.save(file + ".logits_found.npy", model(images[:2]))
    """
)


class Oracle:
    """Keeps what the run itself predicts for its test images, with the weights that it leaves."""

    @hookimpl(wrapper=True)
    def segframe_fit(self, run):
        result = yield
        chosen = run.pipeline.parts["test"]
        self.images = np.stack([sample.image for sample in run.dataset.read("test", chosen.indices)])
        self.ids = np.stack(run.metrics.predict("test", range(len(chosen.ids))))
        batch = next(run.pipeline.evaluate("test"))
        steps = run.metrics.steps
        with custom_ops(allowed=True):
            logits = tf.function(steps.logits)(batch["image"])
        height, width = self.images.shape[1:3]
        self.logits = logits[:, :height, :width].numpy()
        return result


@pytest.fixture
def operations_anew():
    """Whether there are compiled operations is asked again, here and after; a process asks once."""
    from segframe_unet import ops_build

    ops_build.build.cache_clear()
    yield
    ops_build.build.cache_clear()


@pytest.mark.bundled
def test_a_fresh_process_gives_the_runs_own_predictions_bit_for_bit(
    plugins, config, tmp_path, monkeypatch, operations_anew
):
    """squares are of 17 x 23 pixels: they are padded for the network, and cropped."""
    monkeypatch.setenv(
        "SEGFRAME_OPS", "off"
    )  # none computes anything here, and they take a minute to compile
    oracle, expected = Oracle(), {}
    plugins.register(oracle)
    for precision, model in RUNS.items():
        made = config("train.epochs=1", f"train.precision={precision}") | {"model": model}
        result = run_experiment(plugins, made)
        file = str(tmp_path / f"{precision}.weights.h5")  # the file alone, away from its run
        shutil.copy(f"{result.out_dir}/model.weights.h5", file)
        np.save(f"{file}.images.npy", oracle.images)
        expected[file] = oracle.ids, oracle.logits
    keras.config.set_dtype_policy("float32")
    done = subprocess.run([sys.executable, "-c", FRESH, *expected], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for file, (ids, logits) in expected.items():
        found = np.load(f"{file}.ids_found.npy")
        assert found.dtype == np.uint8 and 0 < ids.mean() < 1
        assert found.tobytes() == ids.tobytes(), file
        assert np.load(f"{file}.logits_found.npy").tobytes() == logits.tobytes(), file


@pytest.mark.bundled
def test_compiled_convolutions_give_the_runs_own_predictions_bit_for_bit_too(
    plugins, config, caplog, operations_anew
):
    oracle = Oracle()
    plugins.register(oracle)
    model = {"name": "unet", "filters": 16, "depth": 1}
    result = run_experiment(plugins, config("train.epochs=1") | {"model": model})
    used = Record(Path(result.out_dir)).read("record.json")["operations"]
    if used == {"convolution": "TensorFlow", "transposed convolution": "TensorFlow"}:
        from segframe_unet.compiler import toolchain

        assert toolchain().cxx is None
        pytest.skip("no C++ compiler is installed")
    loaded = load_model(result.out_dir, plugins)
    assert "other operations" not in caplog.text
    assert loaded.predict(oracle.images).tobytes() == oracle.ids.tobytes()
    assert loaded(oracle.images[:2]).tobytes() == oracle.logits.tobytes()


class Pretrained:
    """A plugin with a network that may start from a file."""

    @hookimpl
    def segframe_models(self):
        return {"pretrained": build_pretrained}


def build_pretrained(*, image_shape, num_classes: int, filters: int = 3, encoder_weights: str | None = None):
    if encoder_weights is not None:
        open(encoder_weights).close()
    image = keras.Input((None, None, image_shape[2]))
    x = keras.layers.Conv2D(filters, 3, padding="same")(image)
    return keras.Model(image, keras.layers.Conv2D(num_classes, 1, dtype="float32")(x))


FACTS = {
    "config": {
        "model": {"name": "pretrained", "filters": 3, "encoder_weights": "not there any more.h5"},
        "train": {"precision": "float32", "batch_size": 2},
    },
    "normalisation": Normalisation(1 / 255, (0.4,), (0.2,)).as_json(),
    "class_names": ["background", "square"],
    "image_shape": [17, 23, 1],
    "versions": {"python": "3.11", "keras": keras.__version__, "plugin pretrained": "far-nets 1.2"},
    "xla": False,
}


@pytest.fixture
def left(tmp_path, plugins):
    """A folder with the weights of the network above; facts can be changed."""
    plugins.register(Pretrained())

    def leave(**changes):
        network = build_pretrained(image_shape=(17, 23, 1), num_classes=2)
        save_weights(tmp_path / "model.weights.h5", network, FACTS | changes)
        return tmp_path

    return leave


def test_it_is_built_in_the_precision_of_the_run_without_the_weights_that_it_began_with(left, plugins):
    train = {"precision": "bfloat16", "batch_size": 2}
    model = load_model(left(config=FACTS["config"] | {"train": train}), plugins)
    assert keras.config.dtype_policy().name == "float32"
    assert [layer.dtype_policy.name for layer in model.network.layers[1:]] == ["mixed_bfloat16", "float32"]
    assert model.class_names == ("background", "square") and model.channels == 1
    assert model.config["train"] == train and model.versions == FACTS["versions"]
    assert model(np.zeros((1, 3, 4, 1), np.uint8)).shape == (1, 3, 4, 2)


def test_a_model_whose_plugin_is_missing_says_what_to_install(left):
    message = (
        r"a plugin with the model 'pretrained', got models .*\n.*Install it.*had: pretrained \(far-nets 1.2"
    )
    with pytest.raises(SegframeError, match=message):
        load_model(left(), plugin_manager(installed=False))


@pytest.mark.parametrize("spoil", ["other filters", "a layer that the file has not"])
def test_a_network_that_its_plugin_makes_otherwise_now_is_refused(left, plugins, spoil):
    """Keras only warns of a layer that is not in the file."""
    folder = left(config=FACTS["config"] | {"model": {"name": "pretrained", "filters": 5}})
    if "layer" in spoil:
        folder = left()
        with h5py.File(folder / "model.weights.h5", "r+") as file:
            del file["layers/conv2d_1"]
    with pytest.raises(SegframeError, match="weights of the network that its config describes"):
        load_model(folder, plugins)


def test_what_is_no_trained_model_is_refused(tmp_path, plugins):
    (tmp_path / "empty").mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "text.h5").write_text("no HDF5")
    Record(tmp_path / "unfinished").set_status("interrupted")
    with h5py.File(tmp_path / "plain.weights.h5", "w") as file:
        file["layers"] = [1.0]
    for name, message in {
        "nothing": "got nothing of that name",
        "empty": "got no run",
        "unfinished": "got a run that is interrupted.\n  Start the run again",
        "text.h5": "the weights of a run, in HDF5",
        "plain.weights.h5": "got a file without config, normalisation",
    }.items():
        with pytest.raises(SegframeError, match=message):
            segframe.load_model(tmp_path / name, plugins)


def test_other_operations_are_said(left, plugins, caplog):
    load_model(left(operations={"convolution": "compiled, elsewhere"}), plugins)
    assert "trained with other operations" in caplog.text
    assert "convolution: compiled, elsewhere -> none" in caplog.text


def test_other_versions_are_said(left, plugins, caplog):
    load_model(left(), plugins)
    assert not caplog.text
    load_model(left(versions={"keras": "3.0.0"}), plugins)
    assert "was trained with keras 3.0.0" in caplog.text
