"""segframe.figures: PNG files that hold what they should."""

import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from segframe import figures
from segframe.dataset import IGNORED
from segframe.figures import UNKNOWN, WRONG, Overlay, class_colour, curves, overlay_grid

NAMES = ["background", "cell", "nucleus"]


def overlay(channels=1, dtype=np.uint8):
    mask = np.zeros((13, 21), np.uint8)
    mask[2:9, 3:12] = 1
    prediction = np.roll(mask, 3, axis=1)
    mask[:, -4:] = IGNORED
    image = np.random.default_rng(0).uniform(0, 255, (13, 21, channels)).astype(dtype)
    return Overlay("worst: a, Dice 0.7", image, mask, prediction)


def share(path, colour):
    """Share of the PNG's pixels that are near a colour."""
    pixels = matplotlib.image.imread(path)[..., :3]
    return float((np.abs(pixels - to_rgb(colour)).max(axis=-1) < 0.15).mean())


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_overlays_of_any_channels_show_wrong_and_ignored_pixels(tmp_path, channels, dtype):
    path = tmp_path / "figures" / "overlays.png"
    overlay_grid(path, [overlay(channels, dtype)] * 3, NAMES)
    assert share(path, WRONG) > 0.01 and share(path, UNKNOWN) > 0.01
    assert [file.name for file in path.parent.iterdir()] == ["overlays.png"]


def test_a_perfect_prediction_shows_no_wrong_pixel_but_the_legend(tmp_path):
    sample = overlay()
    right = sample._replace(prediction=np.where(sample.mask == IGNORED, 0, sample.mask))
    overlay_grid(tmp_path / "right.png", [right], NAMES)
    overlay_grid(tmp_path / "wrong.png", [sample], NAMES)
    assert share(tmp_path / "right.png", WRONG) < 0.1 * share(tmp_path / "wrong.png", WRONG)


def test_constant_and_undefined_images_are_drawn(tmp_path):
    image = np.full((13, 21, 1), np.nan, np.float32)
    overlay_grid(tmp_path / "o.png", [overlay()._replace(image=image)], NAMES)
    assert (tmp_path / "o.png").exists()


def test_class_colours_differ_and_only_background_has_none():
    many = ["background", *(f"class {i}" for i in range(1, 15))]
    colours = [class_colour(i, many) for i in range(15)]
    assert colours[0] is None and len(set(colours[1:])) == 14
    assert class_colour(0, ["sky", "road"]) is not None


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"epoch": 1, "train/loss": 1.0}],
        [{"epoch": e, "train/loss": 1 / e, "val/loss": 1.0, "val/dice": 0.5} for e in range(1, 40)],
        [{"epoch": 1, "train/loss": 1.0}, {"epoch": 2, "train/loss": 0.5, "val/dice": None}],
    ],
    ids=["no epoch", "without validation", "all", "undefined"],
)
def test_curves_are_drawn_from_what_there_is(tmp_path, history):
    curves(tmp_path / "curves.png", history)
    assert matplotlib.image.imread(tmp_path / "curves.png").ndim == 3


def test_figures_leave_pyplot_alone(tmp_path):
    code = (
        "import sys; from pathlib import Path; from segframe.figures import curves\n"
        "assert 'matplotlib' not in sys.modules\n"
        "curves(Path('curves.png'), [{'epoch': 1, 'train/loss': 1.0}])\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0


def test_of_a_large_image_some_pixels_are_drawn_all_layers_alike():
    large = Overlay("", *(np.arange(4099 * 30).reshape(4099, 30) for _ in range(3)))
    thin = figures.thinned(large)
    for values in thin[1:]:
        np.testing.assert_array_equal(values, large.mask[::5, ::5])
    small = Overlay("", *(np.zeros((1024, 3)) for _ in range(3)))
    assert figures.thinned(small).mask.shape == (1024, 3)
