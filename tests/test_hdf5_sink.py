"""segframe.hdf5_sink: what h5py writes through it can be read; a full disk is an OSError and not the end."""

import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

from segframe.hdf5_sink import Hdf5Sink


def test_a_file_written_through_it_is_an_hdf5_file_like_any_other(tmp_path):
    values = {f"group {i}/x": np.random.default_rng(i).random((3 * i + 1, 7)) for i in range(50)}
    with Hdf5Sink(tmp_path / "x.h5") as sink, h5py.File(sink, "w") as file:
        for name, value in values.items():
            file.create_dataset(name, data=value, chunks=value.shape, compression="gzip")
    with h5py.File(tmp_path / "x.h5") as file:
        for name, value in values.items():
            np.testing.assert_array_equal(file[name], value)


FULL_DISK = textwrap.dedent(
    """
    import resource, sys
    import h5py, numpy as np
    from segframe.hdf5_sink import Hdf5Sink
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    try:
        with Hdf5Sink(sys.argv[1]) as sink, h5py.File(sink, "w") as file:
            for number in range(30):
                file.create_dataset(f"maps/{number}", data=np.random.random(500), chunks=(500,), shuffle=True)
    except OSError as error:
        print(error.errno)
    """
)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
@pytest.mark.parametrize("size", [0, 700, 5_000, 60_000, 130_000])
def test_a_full_disk_is_an_error_of_the_writer(tmp_path, size):
    """A limit on the size of files stands for the disk; without the sink h5py crashes the process."""
    words = [sys.executable, "-c", FULL_DISK, str(tmp_path / "x.h5"), str(size)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "27", "")


def test_an_error_of_the_caller_passes(tmp_path):
    with pytest.raises(KeyError), Hdf5Sink(tmp_path / "x.h5") as sink, h5py.File(sink, "w"):
        raise KeyError("mine")
