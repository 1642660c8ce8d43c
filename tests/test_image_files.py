"""Image files as arrays: no bit lost, every page, upright, and a note on what is changed."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from segframe.errors import SegframeError
from segframe.plugins.data_export import _write_png
from segframe.plugins.image_files import ORIENTATION, Page, pages, read_header, read_image, read_mask

RANDOM = np.random.default_rng(3)
GREY = RANDOM.integers(256, size=(13, 21), dtype=np.uint8)
COLOUR = RANDOM.integers(256, size=(13, 21, 3), dtype=np.uint8)
DEEP = RANDOM.integers(65536, size=(13, 21), dtype=np.uint16)
DEEP_COLOUR = RANDOM.integers(65536, size=(13, 21, 3), dtype=np.uint16)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return Page(path)


@pytest.mark.parametrize(
    "name, array, options",
    [
        ("grey.png", GREY, {}),
        ("colour.png", COLOUR, {}),
        ("grey.bmp", GREY, {}),
        ("colour.bmp", COLOUR, {}),
        ("grey.tif", GREY, {}),
        ("colour.tiff", COLOUR, {"compression": "tiff_lzw"}),
        ("deep.png", DEEP, {}),
        ("deep.tif", DEEP, {"compression": "tiff_adobe_deflate"}),
        ("long.tif", DEEP.astype(np.int32) * 3, {}),
        ("float.tif", DEEP.astype(np.float32) / 7, {}),
    ],
)
def test_what_is_read_is_what_was_saved(tmp_path, name, array, options):
    page = save(tmp_path / name, array, **options)
    header, found = read_header(page), read_image(page)
    np.testing.assert_array_equal(found, array if array.ndim == 3 else array[..., None])
    assert found.dtype == header.dtype == array.dtype and not header.notes
    assert header.size == (13, 21) and header.colour == (array.ndim == 3)
    if array.ndim == 2 and array.dtype != np.float32:
        np.testing.assert_array_equal(read_mask(page, False), array)


def test_jpeg_is_what_pillow_reads(tmp_path):
    page = save(tmp_path / "x.JPG", COLOUR, format="JPEG")
    np.testing.assert_array_equal(read_image(page), np.asarray(Image.open(page.path)))


def test_a_big_endian_tiff_keeps_its_values(tmp_path):
    data = DEEP.astype(">u2").tobytes()
    (tmp_path / "x.tif").write_bytes(tiff(">", data, bits=(16,), photometric=1))
    np.testing.assert_array_equal(read_image(Page(tmp_path / "x.tif"))[..., 0], DEEP)


def test_png_of_16_bit_colours_loses_nothing_where_pillow_drops_half(tmp_path):
    _write_png(tmp_path / "x.png", DEEP_COLOUR)
    page = Page(tmp_path / "x.png")
    assert np.asarray(Image.open(page.path)).dtype == np.uint8  # why TensorFlow reads it
    assert read_header(page)[1:3] == (True, "uint16")
    np.testing.assert_array_equal(read_image(page), DEEP_COLOUR)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_colours_are_turned_as_pillow_turns_8_bit_ones(tmp_path, orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    eight = save(tmp_path / "8.png", COLOUR, exif=tags)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(eight.path)))
    np.testing.assert_array_equal(read_image(eight), upright)
    _write_png(tmp_path / "16.png", COLOUR.astype(np.uint16))
    whole = (tmp_path / "16.png").read_bytes()
    data = tags.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    (tmp_path / "16.png").write_bytes(whole[:33] + chunk + whole[33:])
    sixteen = Page(tmp_path / "16.png")
    np.testing.assert_array_equal(read_image(sixteen), upright)
    for page in (eight, sixteen):
        assert read_header(page).size == upright.shape[:2]
        assert any("EXIF" in note for note in read_header(page).notes) == (orientation != 1)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_photographs_lie_as_exif_says(tmp_path, suffix):
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    page = save(tmp_path / f"x.{suffix}", COLOUR, exif=tags)
    found = read_image(page)
    np.testing.assert_array_equal(found, np.rot90(np.asarray(Image.open(page.path).convert("RGB")), -1)
                                  if suffix == "jpg" else np.rot90(COLOUR, -1))  # fmt: skip
    assert read_header(page).size == found.shape[:2] == (21, 13)
    assert read_mask(page, True).shape == (21, 13, 3)


def tiff(order, data, bits, photometric):
    """An uncompressed TIFF of 21 x 13 pixels, by hand: Pillow cannot write such."""
    bits_at, data_at = 8 + 2 + 12 * 9 + 4, 8 + 2 + 12 * 9 + 4 + 6
    several = len(bits) > 1
    fields = [(256, 4, 1, 21), (257, 4, 1, 13), (258, 3, len(bits), bits_at if several else bits[0]),
              (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, data_at), (277, 3, 1, len(bits)),
              (278, 4, 1, 13), (279, 4, 1, len(data))]  # fmt: skip
    out = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8) + struct.pack(order + "H", 9)
    for tag, kind, count, value in fields:
        short = kind == 3 and count == 1
        out += struct.pack(order + "HHI", tag, kind, count)
        out += struct.pack(order + "HH", value, 0) if short else struct.pack(order + "I", value)
    return out + struct.pack(order + "I", 0) + struct.pack(order + "3H", *(bits * 3)[:3]) + data


def test_a_tiff_of_16_bit_colours_is_refused_and_not_halved(tmp_path):
    path = tmp_path / "x.tif"
    path.write_bytes(tiff("<", DEEP_COLOUR.astype("<u2").tobytes(), bits=(16, 16, 16), photometric=2))
    for read in (read_header, read_image):
        with pytest.raises(SegframeError, match="(?s)8 bits a channel.*got 16.*PNG48:"):
            read(Page(path))


def test_pages_are_read_each(tmp_path):
    layers = [Image.fromarray(DEEP + number) for number in range(3)]
    layers[0].save(tmp_path / "x.tif", save_all=True, append_images=layers[1:])
    assert pages(tmp_path / "x.tif") == 3
    for number in range(3):
        np.testing.assert_array_equal(
            read_image(Page(tmp_path / "x.tif", number))[..., 0], DEEP + np.uint16(number)
        )


def test_alpha_palette_and_cmyk_are_noted(tmp_path):
    clear = np.dstack([COLOUR, GREY])
    page = save(tmp_path / "a.png", clear)
    np.testing.assert_array_equal(read_image(page), COLOUR)
    assert any("transparency" in note for note in read_header(page).notes)
    painted = Image.fromarray(COLOUR).quantize(16)
    painted.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(Page(tmp_path / "p.png")), np.asarray(painted.convert("RGB")))
    np.testing.assert_array_equal(read_mask(Page(tmp_path / "p.png"), False), np.asarray(painted))
    assert any("palette" in note for note in read_header(Page(tmp_path / "p.png")).notes)
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "c.jpg")
    assert any("CMYK" in note for note in read_header(Page(tmp_path / "c.jpg")).notes)


def test_masks_of_one_bit_of_gif_and_with_alpha(tmp_path):
    save(tmp_path / "b.png", GREY > 99)
    assert set(np.unique(read_mask(Page(tmp_path / "b.png"), False))) == {0, 1}
    save(tmp_path / "g.gif", GREY % 3)
    np.testing.assert_array_equal(read_mask(Page(tmp_path / "g.gif"), False), GREY % 3)
    Image.merge("LA", [Image.fromarray(GREY % 3), Image.fromarray(GREY)]).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_mask(Page(tmp_path / "la.png"), False), GREY % 3)


def test_what_is_broken_or_too_large_is_refused(tmp_path):
    page = save(tmp_path / "x.png", COLOUR)
    page.path.write_bytes(page.path.read_bytes()[:-200])
    with pytest.raises(SegframeError, match="a whole image file, got"):
        read_image(page)
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(4)
    )
    for read in (read_header, read_image, lambda page: read_mask(page, False)):
        with pytest.raises(SegframeError, match="60000 x 60000 pixels, more than"):
            read(Page(tmp_path / "bomb.png"))
    with pytest.raises(SegframeError, match="integers or 8-bit colours, got float"):
        read_mask(save(tmp_path / "f.tif", GREY.astype(np.float32)), False)
