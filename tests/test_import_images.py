"""What all images of an import become: 8 bits stay, more are scaled and said, odd mixtures are refused."""

import numpy as np
import pytest
from PIL import Image

from segframe.errors import SegframeError
from segframe.plugins.data_command import run
from segframe.plugins.hdf5 import open_hdf5

RANDOM = np.random.default_rng(0)
TWELVE = [RANDOM.integers(4096, size=(9, 11), dtype=np.uint16) for _ in range(4)]


@pytest.fixture
def bring(tmp_path, own_cache):
    """Imports these arrays; gives {name: image}."""

    def do(arrays, *options):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for index, array in enumerate(arrays):
            Image.fromarray(array).save(tmp_path / f"images/{index}.tif")
            Image.fromarray((np.arange(11) > 4).astype(np.uint8)[None].repeat(9, 0)).save(
                tmp_path / f"masks/{index}.png"
            )
        run(
            [
                "import",
                f"{tmp_path}/images",
                f"{tmp_path}/masks",
                f"{tmp_path}/out.h5",
                "--split",
                "1/0/0",
                *options,
            ]
        )
        dataset = open_hdf5(path=f"{tmp_path}/out.h5")
        assert dataset.content_hash
        return {
            name: dataset.read("train", [index])[0].image for index, name in enumerate(dataset.ids("train"))
        }

    return do


@pytest.mark.parametrize("options, full", [((), 65535), (("--bits", "12"), 4095)])
def test_deep_images_are_divided_by_the_full_scale_and_that_is_said(bring, caplog, options, full):
    with caplog.at_level("INFO", "segframe"):
        images = bring(TWELVE, *options)
    assert f"float32 in 0..1, divided by {full}" in caplog.text
    for index, array in enumerate(TWELVE):
        np.testing.assert_array_equal(images[str(index)][..., 0], (array / float(full)).astype(np.float32))


def test_8_bits_among_them_are_scaled_by_their_own(bring, caplog):
    eight = (TWELVE[3] // 16).astype(np.uint8)
    with caplog.at_level("INFO", "segframe"):
        images = bring([*TWELVE[:3], eight])
    assert "8-bit images among them (3)" in caplog.text
    np.testing.assert_array_equal(images["3"][..., 0], (eight / 255.0).astype(np.float32))


def test_values_beyond_the_bits_are_refused_with_the_bits_that_fit(bring):
    with pytest.raises(SegframeError, match=r"values of 0 to 1023, got \d+ to \d+\.\n  Give --bits 12"):
        bring([np.full((9, 11), 4000, np.uint16)] * 2, "--bits", "10")


def test_32_bits_need_a_scale_and_floats_stay(bring, caplog):
    with pytest.raises(SegframeError, match="(?s)32-bit integers.*--bits 16"):
        bring([array.astype(np.int32) for array in TWELVE])
    images = bring([array.astype(np.int32) for array in TWELVE], "--bits", "16")
    np.testing.assert_array_equal(images["0"][..., 0], (TWELVE[0] / 65535.0).astype(np.float32))
    floats = [array.astype(np.float32) - 7.5 for array in TWELVE]
    with caplog.at_level("INFO", "segframe"):
        images = bring(floats, "--force")
    np.testing.assert_array_equal(images["1"][..., 0], floats[1])
    with pytest.raises(SegframeError, match="all floats or none"):
        bring([*floats[:3], TWELVE[0]], "--force")
    floats[2][3, 4] = np.nan
    with pytest.raises(SegframeError, match="finite values, got 1 that are not"):
        bring(floats, "--force")


def test_an_image_and_its_mask_are_turned_together(tmp_path, own_cache):
    """A photograph stored lying with EXIF, its mask drawn on the upright picture."""
    tags = Image.Exif()
    tags[0x0112] = 6
    upright = np.zeros((40, 24), np.uint8)
    upright[:8, :8] = 255
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in "abc":
        Image.fromarray(np.rot90(upright)).save(tmp_path / f"images/{name}.jpg", exif=tags, quality=95)
        Image.fromarray(upright // 255).save(tmp_path / f"masks/{name}.png")
    run(["import", f"{tmp_path}/images", f"{tmp_path}/masks", f"{tmp_path}/out.h5"])
    image, mask = open_hdf5(path=f"{tmp_path}/out.h5").read("train", [0])[0]
    np.testing.assert_array_equal(image[..., 0] > 127, mask == 1)
