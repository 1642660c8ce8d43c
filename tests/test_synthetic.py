"""The built-in cells: the same for a seed on every machine, hard for a threshold, whole after a kill."""

import inspect
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from segframe.errors import SegframeError
from segframe.plugins.cells import draw
from segframe.plugins.hdf5 import open_hdf5
from segframe.plugins.synthetic import build_cells

KNOWN = "8fdb0a7aa2afb5767f37e31018f14516c792b11b17415c3dfec6ac897e5056d2"

SMALL = {"samples_train": 2, "samples_val": 1, "samples_test": 1, "size": 24, "difficulty": 0.5}


def drawn(index, difficulty, size=128):
    return draw(np.random.Generator(np.random.PCG64([0, 2, index])), size, difficulty)


def otsu(image):
    """Otsu's threshold: the grey value that parts the histogram best."""
    share = np.bincount(image.ravel(), minlength=256) / image.size
    below, mean = np.cumsum(share), np.cumsum(share * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        return int(np.nanargmax((mean[-1] * below - mean) ** 2 / (below * (1 - below))))


def otsu_dice(difficulty):
    size, scores = inspect.signature(build_cells).parameters["size"].default, []
    for index in range(12):
        image, mask = drawn(index, difficulty, size)
        found = image > otsu(image)
        scores.append(2 * (found & (mask > 0)).sum() / (found.sum() + (mask > 0).sum()))
    return np.mean(scores)


def test_a_global_threshold_is_not_enough_and_less_so_when_harder():
    default = inspect.signature(build_cells).parameters["difficulty"].default
    easy, usual, hard = (otsu_dice(difficulty) for difficulty in (0.0, default, 1.0))
    assert usual < 0.75
    assert easy > usual > hard


def test_every_class_has_its_share():
    masks = np.stack([drawn(index, 0.5)[1] for index in range(12)])
    shares = np.bincount(masks.ravel(), minlength=3) / masks.size
    assert shares[0] > 0.5 and shares[1] > 0.1 and shares[2] > 0.02


def test_pixels_of_a_seed_are_known(own_cache):
    """Whoever changes a pixel raises synthetic.VERSION, and this hash with it."""
    assert build_cells(**SMALL).content_hash == KNOWN


def test_seeds_and_splits_differ_and_classes_share_images(own_cache):
    one, other = build_cells(**SMALL), build_cells(**SMALL, seed=1)
    images = [one.read(split, [0])[0].image for split in one.splits] + [other.read("train", [0])[0].image]
    assert len({image.tobytes() for image in images}) == 4
    three = build_cells(**SMALL, classes=3)
    assert three.class_names == ("background", "cell", "nucleus") and one.class_names == three.class_names[:2]
    for left, right in zip(one.read("train", [0, 1]), three.read("train", [0, 1]), strict=True):
        np.testing.assert_array_equal(left.image, right.image)
        np.testing.assert_array_equal(left.mask > 0, right.mask > 0)


def test_it_is_written_once(own_cache, caplog):
    with caplog.at_level("INFO", "segframe"):
        build_cells(**SMALL)
        build_cells(**SMALL)
    assert caplog.text.count("made 4 images of cells") == 1
    [path] = own_cache.glob("datasets/*.h5")
    assert open_hdf5(path=str(path)).ids("train") == ("train-0000", "train-0001")


def test_empty_splits_are_left_out(own_cache):
    assert build_cells(**{**SMALL, "samples_val": 0, "samples_test": 0}).splits == ("train",)


@pytest.mark.parametrize("key, value", [("samples_train", 0), ("samples_test", -1), ("size", 7), ("seed", -1),
                                        ("difficulty", 1.5), ("difficulty", float("nan"))])  # fmt: skip
def test_numbers_out_of_range_are_refused(own_cache, key, value):
    with pytest.raises(SegframeError, match=f"dataset.{key}: expected"):
        build_cells(**{**SMALL, key: value})
    assert not own_cache.exists()


def test_a_cache_folder_that_cannot_be_made_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGFRAME_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(SegframeError, match="(?s)folder that can be written.*export SEGFRAME_CACHE"):
        build_cells(**SMALL)


def start(samples):
    code = f"from segframe.plugins.synthetic import build_cells; print(build_cells(samples_train={samples}, \
        samples_val=1, samples_test=1, size=32).content_hash)"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_get_the_same_file(own_cache):
    processes = [start(20), start(20)]
    hashes = {process.communicate(timeout=60)[0] for process in processes}
    assert len(hashes) == 1 and all(process.returncode == 0 for process in processes)
    assert len(list(own_cache.glob("datasets/*.h5"))) == 1


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_kill_in_the_middle_leaves_no_half_file(own_cache):
    process = start(2000)
    deadline = time.monotonic() + 30
    while not list(own_cache.glob("datasets/.*.h5")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not [path for path in own_cache.glob("datasets/*.h5") if not path.name.startswith(".")]
    [left] = own_cache.glob("datasets/.*.h5")
    # The same parameters again: make the set small by pretending that the half file was its own.
    build_cells(**SMALL)
    [whole] = (path for path in own_cache.glob("datasets/*.h5") if not path.name.startswith("."))
    left = left.rename(left.with_name(f".1.{whole.name}"))
    whole.unlink()
    build_cells(**SMALL)
    assert whole.exists() and not left.exists()
