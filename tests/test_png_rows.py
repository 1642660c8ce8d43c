"""PNG written by rows is what Pillow reads, and says what it was made of."""

import numpy as np
import pytest
from PIL import Image

from segframe.plugins.image_files import Page, read_image
from segframe.plugins.png_rows import GREY, INDEXED, NONE, RGB, UP, PngRows, read_texts

COLOURS = [(0, 0, 0), (230, 159, 0), (86, 180, 233)]


@pytest.mark.parametrize("height, width, step", [(1, 1, 1), (37, 53, 10), (700, 900, 64)])
@pytest.mark.parametrize("kind", [GREY, INDEXED, RGB])
@pytest.mark.parametrize("filtered", [NONE, UP])
def test_pillow_reads_what_was_written(tmp_path, kind, height, width, step, filtered):
    path = tmp_path / "a.png"
    shape = (height, width, 3) if kind == RGB else (height, width)
    values = np.random.default_rng(0).integers(3 if kind == INDEXED else 256, size=shape, dtype=np.uint8)
    palette = COLOURS if kind == INDEXED else ()
    with PngRows(path, height, width, kind, palette, {"segframe": "12 bytes"}, filtered=filtered) as png:
        for start in range(0, height, step):
            png.write(values[start : start + step])
    assert read_texts(path) == {"segframe": "12 bytes"}
    with Image.open(path) as image:
        assert image.mode == {GREY: "L", INDEXED: "P", RGB: "RGB"}[kind] and image.text["segframe"]
        np.testing.assert_array_equal(np.asarray(image), values)
        if kind == INDEXED:
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.array(COLOURS)[values])
    with Image.open(path) as image:
        image.verify()  # checksums


@pytest.mark.parametrize("step", [5, 40])
@pytest.mark.parametrize("kind", [GREY, RGB])
def test_values_of_16_bits_come_back(tmp_path, kind, step):
    shape = (37, 53, 3) if kind == RGB else (37, 53, 1)
    values = np.random.default_rng(0).integers(2**16, size=shape, dtype=np.uint16)
    with PngRows(tmp_path / "a.png", 37, 53, kind, bits=16, filtered=UP) as png:
        for start in range(0, 37, step):
            png.write(values[start : start + step])
    np.testing.assert_array_equal(read_image(Page(tmp_path / "a.png")), values)


def test_missing_rows_are_an_error_and_no_other_file_has_texts(tmp_path):
    with pytest.raises(ValueError, match="2 rows"), PngRows(tmp_path / "a.png", 3, 4, GREY) as png:
        png.write(np.zeros((1, 4), np.uint8))
    (tmp_path / "b").write_bytes(b"no picture")
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXt")
    assert read_texts(tmp_path / "b") == read_texts(tmp_path / "c.png") == {}
