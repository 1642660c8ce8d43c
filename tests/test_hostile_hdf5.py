"""Files that were damaged or made to harm: an error that names them, little memory, nothing else opened."""

import os
import subprocess
import sys
import textwrap
import zlib

import h5py
import numpy as np
import pytest

from segframe.errors import SegframeError
from segframe.plugins import hdf5_codecs, hdf5_raw, hdf5_stored
from segframe.plugins.data_check import find_faults
from segframe.plugins.hdf5 import open_hdf5
from segframe.plugins.hdf5_file import BROKEN
from segframe.plugins.remap import remap


def read_all(path):
    dataset = open_hdf5(path=str(path))
    try:
        return [dataset.read(split, range(len(dataset.ids(split)))) for split in dataset.splits]
    finally:
        dataset.close()


CHILD = textwrap.dedent(
    """
    import os, random, resource, sys
    from pathlib import Path
    from segframe.errors import SegframeError
    from segframe.plugins.data_check import find_faults
    from segframe.plugins.hdf5 import open_hdf5
    import h5py, numpy as np, scipy
    try: import imagecodecs
    except ImportError: pass

    def use(path):
        dataset = open_hdf5(path=path)
        for split in dataset.splits:
            for index in range(len(dataset.ids(split))):
                dataset.read(split, [index])
        dataset.close()

    def limited(room):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + room,) * 2)
    """
)


def child(code, *words):
    """Runs the code in a process of its own, which may die of what it reads."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD + textwrap.dedent(code), *map(str, words)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


FUZZ = """
    limited(1 << 30)
    data, refused = Path(sys.argv[1]).read_bytes(), 0
    for seed in range(int(sys.argv[2])):
        random.seed(seed)
        spoiled = bytearray(data)
        if seed % 3 == 0:
            spoiled = spoiled[: random.randrange(len(spoiled))]
        else:
            end = len(spoiled) if seed % 3 == 1 else min(len(spoiled), 9000)  # its facts lie there
            for _ in range(random.choice([1, 3, 10, 50])):
                spoiled[random.randrange(end)] ^= 1 << random.randrange(8)
        path = sys.argv[1] + f".{seed}.h5"
        Path(path).write_bytes(spoiled)
        try:
            use(path)
        except SegframeError:
            refused += 1
            assert find_faults(Path(path)).faults, seed
        os.unlink(path)
    print(refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("per_sample", [False, True], ids=["one array", "one array a sample"])
def test_cut_and_flipped_files_are_errors_and_nothing_else(tmp_path, per_sample):
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["class_names"] = ["background", "cell"]
        for split, samples in {"train": 3, "test": 2}.items():
            arrays = rng.integers(256, size=(samples, 13, 21, 1), dtype=np.uint8)
            masks = rng.integers(2, size=(samples, 13, 21), dtype=np.uint8)
            for kind, values in (("images", arrays), ("masks", masks)):
                if per_sample:
                    for index, value in enumerate(values):
                        options = {"chunks": value.shape, "compression": "gzip", "shuffle": True}
                        file.create_dataset(f"{split}/{kind}/{split}{index}", data=value, **options)
                else:
                    chunks = (1, *values.shape[1:])
                    file.create_dataset(f"{split}/{kind}", data=values, chunks=chunks, compression="lzf")
            if not per_sample:
                file[f"{split}/ids"] = [f"{split} {index}" for index in range(samples)]
    read_all(tmp_path / "x.h5")
    refused = int(child(FUZZ, tmp_path / "x.h5", 100))
    assert 33 <= refused < 100  # the others had their bits flipped in pixels or in unused room


def two_gibibytes():
    """Zeros, deflated: 2 MB."""
    squeezer = zlib.compressobj(9, wbits=-15)
    block = squeezer.compress(bytes(2**20)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    checksum = (2**31 % 65521) << 16 | 1  # Adler-32 of that many zeros
    return b"\x78\x9c" + 2048 * block + zlib.compressobj(wbits=-15).flush() + checksum.to_bytes(4, "big")


def bomb(file):
    """A chunk that says 273 bytes."""
    del file["train/images"]
    images = file.create_dataset(
        "train/images", (3, 13, 21, 1), np.uint8, chunks=(1, 13, 21, 1), compression="gzip"
    )
    for index in range(3):
        images.id.write_direct_chunk((index, 0, 0, 0), two_gibibytes())


def bomb_in_a_large_chunk(file):
    """The same where HDF5 has to inflate it: a chunk that is no sample."""
    del file["train/images"]
    images = file.create_dataset(
        "train/images", (3, 13, 21, 1), np.uint8, chunks=(3, 13, 21, 1), compression="gzip"
    )
    images.id.write_direct_chunk((0, 0, 0, 0), two_gibibytes())


def long_lzf(file):
    """LZF of 150 kB that would be 13 MB in a chunk of 273 bytes."""
    del file["train/images"]
    images = file.create_dataset(
        "train/images", (3, 13, 21, 1), np.uint8, chunks=(1, 13, 21, 1), compression="lzf"
    )
    for index in range(3):
        packed = b"\x00\x00" + b"\xe0\xff\x00" * 50_000  # a zero, then copies of 264
        images.id.write_direct_chunk((index, 0, 0, 0), packed)


def vast_image(file):
    for kind, shape in (("images", (3, 60000, 60000, 1)), ("masks", (3, 60000, 60000))):
        del file[f"train/{kind}"]
        file.create_dataset(f"train/{kind}", shape, np.uint8, chunks=(1, *shape[1:]), compression="gzip")


def vast_count(file):
    for kind, shape in (("images", (2**40, 13, 21, 1)), ("masks", (2**40, 13, 21))):
        del file[f"train/{kind}"]
        file.create_dataset(f"train/{kind}", shape, np.uint8, chunks=(1, *shape[1:]))
    del file["train/ids"]


def unwritten(file):
    for kind, shape in (("images", (3000, 13, 21, 1)), ("masks", (3000, 13, 21))):
        del file[f"train/{kind}"]
        file.create_dataset(f"train/{kind}", shape, np.uint8, chunks=(1, *shape[1:]), compression="lzf")[
            0
        ] = 1
    del file["train/ids"]


def unwritten_contiguous(file):
    del file["train/masks"]
    file.create_dataset("train/masks", (3, 13, 21), np.uint8)


def vast_chunk(file):
    del file["train/images"]
    file.create_dataset(
        "train/images", (3, 13, 21, 1), np.uint8, maxshape=(None,) * 4, chunks=(3, 1300, 2100, 400)
    )


def vast_names(file):
    del file["train/ids"]
    file.create_dataset("train/ids", (2**36,), "S64", chunks=(2**20,))


def long_names(file):
    del file["train/ids"]
    file.create_dataset("train/ids", (3,), f"S{2**30}", chunks=(1,), compression="gzip")


def filters_twice(file):
    del file["train/masks"]
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_chunk((1, 13, 21))
    create.set_deflate(9)
    create.set_deflate(9)
    space = h5py.h5s.create_simple((3, 13, 21))
    h5py.Dataset(h5py.h5d.create(file["train"].id, b"masks", h5py.h5t.NATIVE_UINT8, space, create))[...] = 1


def compound(file):
    del file["train/images"]
    file["train/images"] = np.zeros((3, 13, 21, 1), [("a", "u1"), ("b", "f4")])


def references(file):
    del file["train/masks"]
    file.create_dataset("train/masks", (3, 13, 21), h5py.ref_dtype)


def ragged(file):
    del file["train/masks"]
    file.create_dataset("train/masks", (3, 13, 21), h5py.vlen_dtype(np.uint8))


def data_type(file):
    del file["train/masks"]
    file["train/masks"] = np.dtype("u1")


def odd_name(file):
    file.create_group("x")
    file.id.links.move(b"x", file.id, b"\xff\xfe")


HOSTILE = {
    "bomb": (bomb, "a chunk of 273 bytes, got stored bytes that do not hold them"),
    "bomb in a large chunk": (bomb_in_a_large_chunk, "a chunk of 819 bytes"),
    "long LZF": (long_lzf, "a chunk of 273 bytes"),
    "vast image": (vast_image, "samples of at most 2147483648 bytes, got 3600000000"),
    "vast count": (vast_count, "at most 4194304 samples"),
    "unwritten": (unwritten, r"(?s)all its values.*1 of 3000 chunks.*data remap"),
    "unwritten, contiguous": (unwritten_contiguous, "all its values in the file, got no values"),
    "vast chunk": (vast_chunk, "chunks of at most"),
    "vast names": (vast_names, "3 names, one per sample"),
    "long names": (long_names, "ids: expected .* at most"),
    "filters twice": (filters_twice, "each filter once"),
    "compound": (compound, "uint8 or float32"),
    "references": (references, "uint8 class ids"),
    "ragged": (ragged, "uint8 class ids"),
    "a data type": (data_type, "got a data type"),
    "a name that is no text": (odd_name, "names that are text"),
}


@pytest.mark.parametrize("change, message", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused(hdf5_file, change, message):
    path = hdf5_file(change)
    with pytest.raises(SegframeError, match=message):
        read_all(path)
    assert find_faults(path).faults


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_hostile_files_are_refused_within_256_mebibytes(hdf5_file):
    """Before anything is allocated: where memory runs out, HDF5 would not say what is wrong."""
    paths = [hdf5_file(change, name=f"{name}.h5") for name, (change, _) in HOSTILE.items()]
    said = child(
        """
        limited(256 << 20)
        for path in sys.argv[1:]:
            for act in (lambda: use(path), lambda: print(find_faults(Path(path)).as_text())):
                try:
                    act()
                except SegframeError as error:
                    print("refused", error)
        """,
        *paths,
    )
    assert (
        said.count("refused data file") == len(paths) and "allocate" not in said and "MemoryError" not in said
    )


@pytest.mark.parametrize(
    "link", [h5py.SoftLink("/test"), h5py.ExternalLink("pipe", "/test")], ids=["soft", "external"]
)
@pytest.mark.parametrize("place", ["val", "train/images", "train/ids", "other", "train/other"])
def test_no_link_is_followed(hdf5_file, tmp_path, link, place):
    """Opening the pipe would block for ever, and so would a look at whether the link's target is there."""
    os.mkfifo(tmp_path / "pipe")

    def change(file):
        if place in file:
            del file[place]
        file[place] = link

    path = hdf5_file(change)
    if place.endswith("other"):  # no part of the layout: not looked at
        read_all(path)
        assert not find_faults(path).faults
    else:
        with pytest.raises(SegframeError, match="in the file itself, got a (Soft|External)Link"):
            read_all(path)
        assert "Link" in find_faults(path).as_text()
    options = {"table": {}, "class_names": None, "ignore": None, "to_float32": False}
    with pytest.raises(SegframeError, match="Link"):
        remap(path, tmp_path / "out.h5", **options, shown=lambda items, _: items)
    assert not (tmp_path / "out.h5").exists()


def test_values_that_lie_in_other_files_are_refused(hdf5_file, tmp_path):
    (tmp_path / "raw").write_bytes(bytes(3 * 13 * 21))
    layout = h5py.VirtualLayout((3, 13, 21), np.uint8)
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 13, 21))

    def external(file):
        del file["train/masks"]
        file.create_dataset("train/masks", (3, 13, 21), np.uint8, external=[(tmp_path / "raw", 0, 819)])

    def virtual(file):
        del file["train/masks"]
        file.create_virtual_dataset("train/masks", layout)

    for change in (external, virtual):
        with pytest.raises(SegframeError, match="values lie in other files"):
            read_all(hdf5_file(change))


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "x.h5")
    with pytest.raises(SegframeError, match="a pipe or a device"):
        read_all(tmp_path / "x.h5")


CODECS = pytest.mark.parametrize("codecs", [True, False], ids=["imagecodecs", "zlib alone"])


@pytest.fixture
def with_codecs(monkeypatch):
    """Lets imagecodecs be there, or hides it."""

    def choose(codecs):
        if codecs:
            pytest.importorskip("imagecodecs")
        else:
            monkeypatch.setitem(sys.modules, "imagecodecs", None)
        hdf5_codecs.codecs.cache_clear()

    yield choose
    monkeypatch.undo()
    hdf5_codecs.codecs.cache_clear()


@CODECS
@pytest.mark.parametrize("compression", ["gzip", "lzf", None])
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f4", "?"])
def test_what_is_read_here_is_what_hdf5_reads(tmp_path, with_codecs, codecs, compression, dtype):
    """Chunks of one sample, of several (the last one overhangs), of parts; shuffled; with a checksum."""
    with_codecs(codecs)
    values = np.random.default_rng(1).integers(5, size=(7, 13, 21, 3)).astype(dtype)
    values[3] = 0
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number, chunks in enumerate(
            [(1, 13, 21, 3), (3, 13, 21, 3), (2, 5, 8, 3), (1, 4, 21, 2), (9, 20, 30, 3)]
        ):
            for shuffle, checked in ((False, False), (True, False), (False, True)):
                options = {"shuffle": shuffle, "fletcher32": checked, "compression": compression}
                name = f"{number} {shuffle} {checked}"
                file.create_dataset(name, data=values, chunks=chunks, maxshape=(None,) * 4, **options)
        file.create_dataset("whole", data=values)
        file.create_dataset("empty chunks", values.shape, dtype, chunks=(1, 13, 21, 3), fillvalue=1)[2] = (
            values[2]
        )
    with h5py.File(tmp_path / "x.h5") as file:
        raw = hdf5_raw.raw_file(file)
        for name, stored in file.items():
            array = hdf5_stored.StoredArray(stored, 1, raw)
            for index in range(7):
                found = array.read(index)
                np.testing.assert_array_equal(found, stored[index])
                assert found.dtype == stored.dtype and found.flags.writeable
            np.testing.assert_array_equal(array.read(1, 6), stored[1:6])
            if not name.startswith("4 "):
                np.testing.assert_array_equal(hdf5_stored.StoredArray(stored, 0, raw).read(0), stored[()])


@pytest.mark.parametrize(
    "codecs, compression", [(True, "gzip"), (False, "gzip"), (True, "lzf")]
)  # HDF5 itself takes an LZF chunk that ends too early for a whole one
def test_a_chunk_that_is_spoiled_is_an_error(tmp_path, with_codecs, codecs, compression):
    with_codecs(codecs)
    values = np.zeros((2, 40, 40), np.uint8)
    for spoil in (
        lambda chunk: chunk[:-3],
        lambda chunk: b"\0",
        lambda chunk: chunk[:2] + b"\xff" * len(chunk),
    ):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            stored = file.create_dataset("x", data=values, chunks=(1, 40, 40), compression=compression)
            stored.id.write_direct_chunk((0, 0, 0), spoil(stored.id.read_direct_chunk((0, 0, 0))[1]))
        with h5py.File(tmp_path / "x.h5") as file, pytest.raises((SegframeError, *BROKEN)):
            hdf5_stored.StoredArray(file["x"], 1, hdf5_raw.raw_file(file)).read(0)


def with_filter(file, name, values, number, packed=None):
    """An array whose chunks say that this filter packed them, though HDF5 here may not know it."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_chunk((1, *values.shape[1:]))
    create.set_filter(number, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple(values.shape)
    made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(values.dtype), space, create)
    stored = h5py.Dataset(made)
    for index, value in enumerate(values):
        corner = (index, *(0 for _ in value.shape))
        stored.id.write_direct_chunk(corner, packed(value) if packed else value.tobytes())
    return stored


@pytest.mark.parametrize("number, name", [(32001, "blosc"), (32015, "zstd")])
def test_blosc_and_zstandard_are_undone_here(tmp_path, number, name):
    codecs = pytest.importorskip("imagecodecs")
    encode = getattr(codecs, f"{name}_encode")
    values = np.random.default_rng(0).integers(5, size=(3, 13, 21), dtype=np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        with_filter(file, "good", values, number, lambda value: encode(value.tobytes()))
        with_filter(file, "long", values, number, lambda value: encode(bytes(10**6)))
        with_filter(file, "short", values, number, lambda value: encode(bytes(5)))
        with_filter(file, "rubbish", values, number, lambda value: bytes(range(200)))
    with h5py.File(tmp_path / "x.h5") as file:
        raw = hdf5_raw.raw_file(file)
        good = hdf5_stored.StoredArray(file["good"], 1, raw)
        np.testing.assert_array_equal(good.read(0, 3), values)
        for name in ("long", "short", "rubbish"):
            with pytest.raises(SegframeError, match="a chunk of 273 bytes"):
                hdf5_stored.StoredArray(file[name], 1, raw).read(1)


def test_a_filter_that_nothing_undoes_is_refused_when_the_file_is_opened(hdf5_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)

    def change(file):
        del file["train/masks"]
        with_filter(file, "train/masks", np.zeros((3, 13, 21), np.uint8), 305)

    with pytest.raises(SegframeError, match=r"train/masks.*filters that can be undone, got filter 305"):
        open_hdf5(path=str(hdf5_file(change)))
