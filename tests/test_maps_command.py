"""The verb `maps`: builds what runs then find, says what is kept, removes it; what is wrong is refused."""

import re

import h5py
import numpy as np
import pytest

from segframe.__main__ import main
from segframe.catalog import build
from segframe.loss_maps import makers
from segframe.manager import plugin_manager
from segframe.map_store import KeptMaps

pytestmark = pytest.mark.bundled


@pytest.fixture(autouse=True)
def quiet(own_cache):
    """A cache folder of its own."""


def maps(capsys, *words, code=0):
    assert main(["maps", *map(str, words)]) == code
    return capsys.readouterr()


def test_what_is_built_is_listed_found_by_a_run_and_cleared(capsys, hdf5_file, own_cache):
    path = hdf5_file(name="Präparat 1.h5")
    said = maps(capsys, "build", path, "--maps", "squared_distance,nearest_instances").err
    assert re.search(r"Made the maps squared_distance of 5 samples in \d+\.\d s", said)
    assert "nearest_instances: maps of 5 different masks, whole and checked" in said
    listed = maps(capsys, "list").out.splitlines()
    assert len(listed) == 3 and all("5 samples" in line and str(path) in line for line in listed[:2])
    plugins = plugin_manager()
    dataset = build(plugins, "dataset", {"name": "hdf5", "path": str(path)})
    (maker,) = makers(plugins, ["squared_distance"], dataset, "test").values()
    expected = maker.make(dataset.read("test", [1])[0].mask)
    maker.make = None  # whatever is asked for now must be there already
    kept = KeptMaps("squared_distance", maker, dataset)
    np.testing.assert_array_equal(kept.make(dataset.read("test", [1])[0].mask), expected)
    assert "removed" in maps(capsys, "clear", "--maps", "nearest_instances").out
    assert [file.name for file in (own_cache / "maps").iterdir() if file.suffix == ".h5"] == [kept.path.name]
    maps(capsys, "clear")
    assert not list((own_cache / "maps").iterdir())
    assert maps(capsys, "list").out.split()[0] == "0.0"


def test_all_maps_are_built_where_none_is_named_and_once(capsys, hdf5_file):
    path = hdf5_file()
    assert maps(capsys, "build", path).err.count("Made the maps") == 3
    assert maps(capsys, "build", path).err.count("Made the maps") == 0


def test_building_again_mends_what_is_damaged(capsys, hdf5_file, own_cache):
    path = hdf5_file(size=(40, 50))
    maps(capsys, "build", path, "--maps", "squared_distance")
    (file,) = (own_cache / "maps").glob("*.h5")
    with h5py.File(file) as opened:
        name = next(iter(opened["maps"]))
        _, stored = opened[f"maps/{name}"].id.read_direct_chunk((0, 0, 0))
    spoilt = file.read_bytes()
    file.unlink()
    file.write_bytes(spoilt.replace(stored, stored[:-30] + bytes(30)))
    said = maps(capsys, "build", path, "--maps", "squared_distance").err
    assert "Kept maps are damaged" in said and "Made the maps" in said
    assert "damaged" not in maps(capsys, "build", path, "--maps", "squared_distance").err
    file.write_bytes(b"no HDF5")
    assert "damaged" in maps(capsys, "list").out


@pytest.mark.parametrize(
    "words, message",
    [
        (["build", "no.h5"], r"data file no\.h5: expected an HDF5 file, got no file of that name"),
        (["build"], r"maps build: expected .*FILE\.h5.*\n.*--help"),
        (["bild"], r"maps: expected .*invalid choice: 'bild'"),
    ],
)
def test_bad_words_are_refused_with_the_remedy(capsys, words, message):
    assert re.search(message, maps(capsys, *words, code=2).err)


def test_an_unknown_map_is_refused_with_the_nearest_one(capsys, hdf5_file):
    said = maps(capsys, "build", hdf5_file(), "--maps", "squared_distanc", code=2).err
    assert re.search(r"--maps: expected maps that a plugin makes .*got 'squared_distanc'.*\n.*Did you", said)


def test_a_cache_folder_that_cannot_be_written_is_an_error_here(capsys, hdf5_file, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGFRAME_CACHE", str(tmp_path / "file"))
    said = maps(capsys, "build", hdf5_file(), "--maps", "squared_distance", code=2).err
    assert "cannot be kept" in said and "export SEGFRAME_CACHE=" in said
    assert "export SEGFRAME_CACHE=" in maps(capsys, "list", code=2).err
