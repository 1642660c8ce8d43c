"""python -m segframe predict: the run's own masks, names and sizes kept; what fails; going on; memory."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from segframe import SegframeError, load_model
from segframe.experiment import run_experiment
from segframe.plugins.predict_command import run

pytestmark = pytest.mark.bundled
NAMES = ["background", "cell", "edge"]


def random_image(*shape, seed=0):
    return np.random.default_rng([*shape, seed]).integers(256, size=shape, dtype=np.uint8)


@pytest.fixture
def images(tmp_path):
    """A folder with images of several sizes, one below it of the same name, and what is no image."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for number, size in enumerate([(20, 30), (20, 30), (20, 30), (7, 1), (33, 25)]):
        Image.fromarray(random_image(*size, 3, seed=number)).save(folder / f"{number}.png")
    Image.fromarray(random_image(9, 9, 3)).save(folder / "sub" / "0.tif")
    (folder / "notes.txt").write_text("no image")
    return folder


def predict(*words):
    return run([str(word) for word in words])


def ids(path):
    with Image.open(path) as image:
        return np.asarray(image)


def said(caplog):
    return "\n".join(record.getMessage() for record in caplog.records)


def test_the_runs_own_predictions_and_scores(plugins, oracle, config, squares, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGFRAME_OPS", "off")
    made = config("train.epochs=2", "metrics=surface") | {"model": {"name": "unet", "filters": 2, "depth": 1}}
    done = run_experiment(plugins, made)
    out = tmp_path / "out"
    assert predict(done.out_dir, squares, out, "--split", "test", "--overlays") == 0
    for number, expected in enumerate(oracle.ids):
        np.testing.assert_array_equal(ids(out / f"test/test-{number}.png"), expected)
        assert ids(out / f"overlays/test/test-{number}.png").shape == (17, 23, 3)
    assert 0 < np.mean(oracle.ids) < 1
    found = json.loads((out / "scores.json").read_text())["scores"]
    expected = {key[5:]: value for key, value in done.scores.items() if key.startswith("test/")}
    assert "hd95" in found and found.keys() == expected.keys() - {"loss"}
    for key, value in found.items():
        np.testing.assert_allclose(np.nan if value is None else value, expected[key], rtol=1e-12)
    assert (out / "scores.csv").read_text().count("\n") == 4


def test_a_folder_keeps_names_and_sizes_and_lists_what_fails(unet_run, images, tmp_path, caplog):
    (images / "bad.jpg").write_text("broken")
    Image.fromarray(random_image(8, 8, seed=1).astype(np.uint16)).save(images / "deep.png")
    out = tmp_path / "out"
    with caplog.at_level("INFO", "segframe"):
        assert predict(unet_run(), images, out) == 1
    text = said(caplog)
    assert "1 .txt" in text and "bad.jpg: " in text and "expected 8 bits" in text and "6 of 8 images" in text
    assert set(json.loads((out / "predict.json").read_text())["failed"]) == {
        str(images / "bad.jpg"),
        str(images / "deep.png"),
    }
    model = load_model(unet_run())
    for name in ["0", "1", "2", "3", "4"]:
        expected = model.predict(np.asarray(Image.open(images / f"{name}.png"))[None])[0]
        np.testing.assert_array_equal(ids(out / f"{name}.png"), expected)
    assert ids(out / "sub/0.png").shape == (9, 9)
    assert sorted(p.name for p in out.iterdir()) == [
        ".lock", "0.png", "1.png", "2.png", "3.png", "4.png", "predict.json", "sub",
    ]  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    (images / "bad.jpg").unlink()
    (images / "deep.png").unlink()
    Image.fromarray(random_image(20, 30, 3, seed=9)).save(images / "1.png")
    assert predict(unet_run(), images, out) == 0  # only the one that has changed
    changed = {path.name for path, then in before.items() if path.stat().st_mtime_ns != then}
    assert changed == {"1.png"}


def test_outputs_of_something_else_are_refused_unless_forced(unet_run, images, tmp_path):
    out = tmp_path / "out"
    assert predict(unet_run(), images, out) == 0
    before = (out / "4.png").read_bytes()
    with pytest.raises(SegframeError, match="outputs of tta none"):
        predict(unet_run(), images, out, "--tta", "flips")
    with pytest.raises(SegframeError, match="outputs of run "):
        predict(unet_run(1), images, out)
    assert (out / "4.png").read_bytes() == before
    (out / "4.png").unlink()
    assert predict(unet_run(), images, out, "--tta", "flips", "--force") == 0
    assert ids(out / "4.png").shape == (33, 25)
    (out / "predict.json").unlink()
    with pytest.raises(SegframeError, match="0.png of something else"):
        predict(unet_run(), images, out)
    other = tmp_path / "others"
    other.mkdir()
    shutil.copy(images / "0.png", other / "overlays.png")
    (images / "overlays").mkdir()
    shutil.copy(images / "0.png", images / "overlays/x.png")
    with pytest.raises(SegframeError, match="no folder overlays"):
        predict(unet_run(), images, tmp_path / "new")
    assert not (tmp_path / "new").exists() and predict(unet_run(), other, tmp_path / "new") == 0


def test_names_that_are_there_twice_become_paths_or_keep_their_ending(unet_run, images, tmp_path):
    shutil.copy(images / "0.png", images / "sub/0.png")
    Image.fromarray(random_image(5, 6, 3)).save(images / "0.bmp")
    out = tmp_path / "out"
    words = [images / "*.png", images / "*.bmp", images / "sub/*", images / "0.png"]
    assert predict(unet_run(), *words, out) == 0
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert found == [
        "0.bmp.png",
        "0.png.png",
        "1.png",
        "2.png",
        "3.png",
        "4.png",
        "sub/0.png.png",
        "sub/0.tif.png",
    ]


@pytest.mark.parametrize("save", ["palette", "grey", "colours"])
def test_masks_give_scores_however_they_are_saved(unet_run, images, tmp_path, save):
    masks = tmp_path / "masks"
    shutil.rmtree(images / "sub")
    predict(unet_run(), images, masks, "--save", "grey")
    out = tmp_path / "out"
    assert predict(unet_run(), images, out, "--save", save, "--masks", masks) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert scores["images"] == 5 and scores["scores"]["pixel_accuracy"] == scores["scores"]["dice"] == 1
    with Image.open(out / "0.png") as image:
        assert image.mode == {"palette": "P", "grey": "L", "colours": "RGB"}[save]
    (masks / "1.png").unlink()
    Image.fromarray(np.full((20, 30), 255, np.uint8)).save(masks / "2.png")
    assert predict(unet_run(), images, out, "--save", save, "--masks", masks) == 1
    failed = json.loads((out / "predict.json").read_text())["failed"]
    assert len(failed) == 2 and "ids below 3 (background, cell, edge), got 255" in str(failed)
    assert predict(unet_run(), images, out, "--save", save, "--masks", masks, "--ignore", "255") == 1
    (failed,) = json.loads((out / "predict.json").read_text())["failed"].values()
    assert "1.png" in failed and "got none" in failed


def test_one_hdf5_file_with_probabilities(unet_run, images, tmp_path, caplog):
    out = tmp_path / "out.h5"
    assert predict(unet_run(), images, out, "--probabilities") == 0
    with h5py.File(out) as file:
        assert list(file.attrs["class_names"]) == NAMES
        image = np.asarray(Image.open(images / "4.png"))[None]
        logits = load_model(unet_run())(image)[0].astype(np.float64)
        expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(file["probabilities/4"], expected, atol=1e-3)
        np.testing.assert_array_equal(file["masks/4"], logits.argmax(-1))
        assert file["masks/sub/0"].shape == (9, 9)
    assert not (tmp_path / "out.h5.parts").exists()
    before = out.stat().st_mtime_ns
    with caplog.at_level("INFO", "segframe"):
        assert predict(unet_run(), images, out, "--probabilities") == 0
    assert out.stat().st_mtime_ns == before and "is there already" in said(caplog)
    with pytest.raises(SegframeError, match="got one of something else"):
        predict(unet_run(), images, out, "--tta", "all")
    with pytest.raises(SegframeError, match="got one with other images, such as masks/"):
        predict(unet_run(), images / "4.png", out)
    with pytest.raises(SegframeError, match="--overlays: expected a folder as OUT"):
        predict(unet_run(), images, tmp_path / "new.h5", "--overlays")
    assert out.stat().st_mtime_ns == before


def test_an_hdf5_file_that_lacks_what_is_asked_for_now_is_completed(unet_run, images, tmp_path):
    out, masks = tmp_path / "out.h5", tmp_path / "masks"
    shutil.rmtree(images / "sub")
    assert predict(unet_run(), images, masks, "--save", "grey") == 0
    assert predict(unet_run(), images, out) == 0
    assert predict(unet_run(), images, out, "--probabilities") == 0
    with h5py.File(out) as file:
        assert set(file) == {"masks", "probabilities"} and len(file["probabilities"]) == 5
    assert predict(unet_run(), images, out, "--masks", masks) == 0
    assert json.loads((tmp_path / "out-scores.json").read_text())["scores"]["dice"] == 1
    (masks / "1.png").rename(tmp_path / "1.png")
    assert predict(unet_run(), images, out, "--masks", masks, "--force") == 1
    assert predict(unet_run(), images, out, "--masks", masks) == 1  # what failed is tried again
    (tmp_path / "1.png").rename(masks / "1.png")
    assert predict(unet_run(), images, out, "--masks", masks) == 0
    assert json.loads((tmp_path / "out-scores.json").read_text())["images"] == 5


def test_files_of_several_spacings_have_no_common_scores(unet_run, squares, tmp_path):
    """Their distances would be added up in millimetres of different lengths."""
    paths = []
    for number, spacing in enumerate([(1.0, 1.0), (0.5, 2.0)]):
        paths.append(tmp_path / f"{number}.h5")
        shutil.copy(squares, paths[-1])
        with h5py.File(paths[-1], "r+") as file:
            file.attrs["class_names"], file.attrs["spacing"] = NAMES, spacing
            file.attrs.pop("num_classes", None)
    out = tmp_path / "out"
    assert predict(unet_run(1), *paths, out, "--split", "test") == 1
    failed = json.loads((out / "predict.json").read_text())["failed"]
    assert "expected files with one spacing" in failed["scores"] and len(list(out.rglob("*.png"))) > 1
    assert predict(unet_run(1), paths[0], tmp_path / "one", "--split", "test") == 0
    assert (tmp_path / "one/scores.json").exists()


def test_grey_images_and_floats_become_what_the_run_had(unet_run, tmp_path, caplog):
    grey = random_image(12, 14)
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(np.repeat(grey[..., None], 3, -1)).save(folder / "same.png")
    Image.fromarray(random_image(12, 14, 3)).save(folder / "colour.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "deep.png")
    with caplog.at_level("INFO", "segframe"):
        assert predict(unet_run(), folder / "grey.png", folder / "same.png", tmp_path / "three") == 0
        assert "grey images become RGB" in said(caplog)
        np.testing.assert_array_equal(ids(tmp_path / "three/grey.png"), ids(tmp_path / "three/same.png"))
        assert predict(unet_run(1), folder, tmp_path / "one") == 1  # one of colours, one of 16 bits
    failed = json.loads((tmp_path / "one/predict.json").read_text())["failed"]
    assert {os.path.basename(name) for name in failed} == {"colour.png", "deep.png"}
    np.testing.assert_array_equal(ids(tmp_path / "one/grey.png"), ids(tmp_path / "one/same.png"))
    floats = unet_run(1, 1.0)
    assert predict(floats, folder / "grey.png", folder / "deep.png", tmp_path / "floats") == 0
    np.testing.assert_array_equal(ids(tmp_path / "floats/deep.png"), ids(tmp_path / "floats/grey.png"))


def test_what_cannot_be_meant_is_said_before_anything_is_written(unet_run, images, tmp_path):
    out = tmp_path / "out"
    for words, message in {
        (unet_run(), tmp_path / "nothing"): "got nothing of that name",
        (tmp_path / "no run", images): "got nothing of that name",
        (images, images): "got no run",
        ("0" * 32, images, "--runs-dir", str(tmp_path)): "a run that MLflow has",
        (unet_run(), images, "--split", "test"): "expected an HDF5 file",
        (unet_run(), images, "--tile", "3"): "auto or at least 16",
        (unet_run(), images, "--overlap", "1"): "0 to 0.9",
        (unet_run(), images, "--masks", "no folder"): "expected a folder",
    }.items():
        with pytest.raises(SegframeError, match=message):
            predict(*words[:2], out, *words[2:])
        assert not out.exists()
