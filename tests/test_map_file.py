"""segframe.map_file: maps come back as they were written, and whatever is spoilt in the file is noticed."""

import json

import numpy as np
import pytest

from segframe.map_file import Damaged, MapFile, digest, write

SHAPES = [(1, 1, 1), (1, 9, 2), (7, 1, 3), (13, 21, 2)]


def maps(dtype="uint16"):
    random = np.random.default_rng(0)
    found = {f"{i:064d}": random.integers(65536, size=shape).astype(dtype) for i, shape in enumerate(SHAPES)}
    found["9" * 64] = np.full((40, 30, 2), np.inf if dtype == "float32" else 65535, dtype)
    return found


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_maps_come_back_as_they_were_written(tmp_path, dtype):
    written = maps(dtype)
    write(tmp_path / "x.h5", written.items(), key="k", about={"of": "Präparat"})
    file = MapFile(tmp_path / "x.h5", "k")
    assert file.about == {"of": "Präparat"} and list(file.checksums) == list(written)
    for name, values in written.items():
        found = file.read(name)
        assert found.dtype == dtype and found.flags.writeable
        np.testing.assert_array_equal(found, values)
    with pytest.raises(KeyError):
        file.read("0" * 63 + "8")


def test_a_mask_is_known_by_its_bytes_and_shape():
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    masks = [mask, mask.reshape(3, 2), mask.reshape(1, 6), mask[::-1], np.zeros((2, 3), np.uint8)]
    assert len({digest(each) for each in masks}) == len(masks)
    assert digest(mask[:, ::-1]) == digest(mask[:, ::-1].copy())


def test_another_key_is_not_believed(tmp_path):
    write(tmp_path / "x.h5", maps().items(), key="k", about={})
    with pytest.raises(Damaged):
        MapFile(tmp_path / "x.h5", "other")
    with pytest.raises(FileNotFoundError):
        MapFile(tmp_path / "y.h5", "k")


def believed(path, written):
    """Reads all that can be read; every map that comes back must be right. How many did."""
    count = 0
    try:
        file = MapFile(path, json.dumps("k"))
    except Damaged:
        return 0
    for name, values in written.items():
        try:
            np.testing.assert_array_equal(file.read(name), values)
            count += 1
        except (Damaged, KeyError):
            continue
    file.close()
    return count


def test_no_flipped_byte_gives_a_wrong_map(tmp_path):
    path, written = tmp_path / "x.h5", maps()
    write(path, written.items(), key=json.dumps("k"), about={})
    whole = path.read_bytes()
    counts = []
    for position in range(0, len(whole), 37):
        spoilt = bytearray(whole)
        spoilt[position] ^= 0x55
        path.write_bytes(spoilt)
        counts.append(believed(path, written))
    assert min(counts) == 0 and len(set(counts)) > 1  # of the index: none; of one map: the others


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.999])
def test_a_file_cut_off_is_noticed(tmp_path, share):
    path = tmp_path / "x.h5"
    write(path, maps().items(), key="k", about={})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(Damaged):
        MapFile(path, "k")
