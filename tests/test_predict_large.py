"""python -m segframe predict on what is large: tiles, bands of HDF5 images, a kill on the way, memory."""

import json
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from PIL import Image

from segframe import load_model
from segframe.experiment import run_experiment
from segframe.plugins.predict_command import run
from segframe.sliding_window import bands, starts

pytestmark = pytest.mark.bundled


def random_image(*shape, seed=0):
    return np.random.default_rng([*shape, seed]).integers(256, size=shape, dtype=np.uint8)


def predict(*words):
    return run([str(word) for word in words])


def ids(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("chunks, per_sample", [(None, True), ((16, 16, 3), False), ((61, 47, 3), True)])
def test_hdf5_images_without_masks_by_tiles_or_whole(unet_run, tmp_path, chunks, per_sample):
    """Chunks of a part of the image are read by bands, and the result is the same."""
    path = tmp_path / "in.h5"
    image = random_image(61, 47, 3)
    with h5py.File(path, "w") as file:
        if per_sample:
            file.create_dataset("images/a b", data=image, chunks=chunks, compression=chunks and "gzip")
        else:
            both = chunks and (1, *chunks)
            file.create_dataset("images", data=image[None], chunks=both, compression=chunks and "gzip")
    name = "a b" if per_sample else "0"
    model = load_model(unet_run())
    cut = bands(lambda a, b: image[a:b], (61, 47), model, tile=24, overlap=0.25, at_once=9, multiple=2)
    tiled = np.concatenate([logits for _, logits in cut]).argmax(-1)
    for option, expected in (([], model.predict(image[None])[0]), (["--tile", "24"], tiled)):
        out = tmp_path / f"out{len(option)}"
        assert predict(unet_run(), path, out, *option) == 0
        found = ids(out / f"{name}.png")
        assert (found == expected).mean() > 0.999  # the tiles in a batch are others: the last bits differ


@pytest.mark.parametrize("size", [(200, 141), (64, 300)])
def test_tiles_give_what_the_whole_image_gives(unet_run, size):
    """The network sees 12 pixels to each side at most: further inside a tile only rounding differs."""
    model, image = load_model(unet_run()), random_image(*size, 3)
    whole = model(image[None])[0]
    for overlap in (0.0, 0.5):
        cut = bands(lambda a, b: image[a:b], size, model, tile=64, overlap=overlap, at_once=4, multiple=2)
        tiled = np.concatenate([logits for _, logits in cut])
        inside = [np.ones(length, bool) for length in size]
        for length, axis in zip(size, inside, strict=True):
            full = length + length % 2
            for start in starts(full, min(64, full), overlap, 2):
                axis[max(0, start - 12) : start + 12] &= start == 0
                axis[start + 64 - 12 : start + 64 + 12] &= start + 64 >= full
        at = np.ix_(*inside)
        assert inside[0].sum() * inside[1].sum() > 400
        np.testing.assert_allclose(tiled[at], whole[at], atol=1e-5)
    # At half a tile's overlap an edge, where a tile is wrong, has the middle of another one.
    assert np.abs(tiled - whole).mean() < 0.05 * np.abs(whole - whole.mean()).mean()


def test_a_run_on_patches_predicts_by_them_what_it_was_scored_with(
    plugins, oracle, config, squares, tmp_path, monkeypatch, caplog
):
    """Images of 17 x 23 by tiles of 8 x 16."""
    monkeypatch.setenv("SEGFRAME_OPS", "off")
    words = ["train.epochs=2", "patch.size=[8,16]", "patch.per_image=2", "patch.overlap=0.5"]
    made = config(*words) | {"model": {"name": "unet", "filters": 2, "depth": 1}}
    done, out = run_experiment(plugins, made), tmp_path / "out"
    with caplog.at_level("INFO", "segframe"):
        assert predict(done.out_dir, squares, out, "--split", "test") == 0
        assert predict(done.out_dir, squares, tmp_path / "16", "--split", "test", "--tile", "16") == 0
    assert "go by tiles of 8 x 16 (overlap 0.5, 2 at once)" in caplog.text
    for number, expected in enumerate(oracle.ids):
        np.testing.assert_array_equal(ids(out / f"test/test-{number}.png"), expected)
    assert 0 < np.mean(oracle.ids) < 1
    found = json.loads((out / "scores.json").read_text())["scores"]
    for key, value in found.items():
        assert value == pytest.approx(done.scores[f"test/{key}"], rel=1e-12)
    assert "go by tiles of 16 x 16" in caplog.text


COMMAND = [sys.executable, "-m", "segframe", "predict"]


def test_a_killed_call_goes_on_to_the_same_result(unet_run, tmp_path):
    folder, out, whole = tmp_path / "in", tmp_path / "out", tmp_path / "whole"
    folder.mkdir()
    for number in range(24):
        Image.fromarray(random_image(200, 200, 3, seed=number)).save(folder / f"{number:02}.png")
    words = [str(unet_run()), str(folder), str(out), "--tile", "32", "--probabilities"]
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob("[0-9]*.png"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    there = {path: path.stat().st_mtime_ns for path in out.glob("[0-9]*.png")}
    assert 3 <= len(there) < 24
    assert run(words) == 0
    assert all(path.stat().st_mtime_ns == then for path, then in there.items())
    assert predict(unet_run(), folder, whole, *words[3:]) == 0
    for path in sorted(whole.rglob("*.*")):
        if path.suffix in (".png", ".npy"):
            assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert not list(out.rglob(".[0-9]*"))


MEMORY = """
import resource, sys
from segframe.plugins.predict_command import run
peaks = []
for path in sys.argv[2:]:
    assert run([sys.argv[1], path, path + ".out", "--tile", "128"]) == 0
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[-1] - peaks[0]) / (2**20 if sys.platform == "darwin" else 2**10))
"""


@pytest.mark.slow
def test_a_large_image_streams_in_the_memory_of_a_few_rows(unet_run, tmp_path):
    """Of the large one the pixels are 18 MiB, its logits 70 MiB."""
    rng = np.random.default_rng(0)
    paths = []
    for rows in (512, 12_000):
        paths.append(tmp_path / f"{rows}.h5")
        with h5py.File(paths[-1], "w") as file:
            image = file.create_dataset("images/large", (rows, 512, 3), np.uint8, chunks=(64, 256, 3))
            for start in range(0, rows, 512):
                block = image[start : start + 512].shape
                image[start : start + 512] = rng.integers(256, size=block, dtype=np.uint8)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(unet_run()), *map(str, paths)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert ids(f"{paths[-1]}.out/large.png").shape == (12_000, 512)
    assert float(done.stdout) < 25  # MiB
