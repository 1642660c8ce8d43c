"""segframe.checkpoint: exact, whole or refused."""

import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from segframe import checkpoint
from segframe.errors import SegframeError


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return {
        "model": [random.normal(size=(3, 5)).astype(np.float32), np.array(7, np.int64)],
        "optimizer": [np.array([np.nan, -0.0, np.inf], np.float32)],
        "best": [],
    }


def test_what_was_saved_is_read_back_bit_for_bit(tmp_path, arrays):
    state = {"history": [{"loss": 0.1 + 0.2, "score": None}], "name": "Größe"}
    checkpoint.save(tmp_path / "c.h5", arrays, state)
    read, state_read = checkpoint.load(tmp_path / "c.h5")
    assert state_read == state
    assert read.keys() == arrays.keys()
    for kind, values in arrays.items():
        assert [value.tobytes() for value in read[kind]] == [value.tobytes() for value in values]
        assert [value.dtype for value in read[kind]] == [value.dtype for value in values]


def test_more_than_ten_variables_keep_their_order(tmp_path):
    values = [np.full(2, number, np.float32) for number in range(23)]
    checkpoint.save(tmp_path / "c.h5", {"model": values}, {})
    read = checkpoint.load(tmp_path / "c.h5")[0]["model"]
    assert [value[0] for value in read] == list(range(23))


def test_a_changed_byte_is_refused(tmp_path, arrays):
    path = tmp_path / "c.h5"
    checkpoint.save(path, arrays, {})
    with h5py.File(path, "r+") as file:
        file["model/0"][0, 0] += 1
    with pytest.raises(SegframeError, match="checksum"):
        checkpoint.load(path)


def test_a_truncated_file_is_refused(tmp_path, arrays):
    path = tmp_path / "c.h5"
    checkpoint.save(path, arrays, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SegframeError, match="a whole checkpoint"):
        checkpoint.load(path)


def test_a_kill_while_writing_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "c.h5"
    script = f"""
import numpy as np
from pathlib import Path
from segframe import checkpoint
number = 0
while True:
    arrays = {{"model": [np.full((1000, 500), number, np.float32)]}}
    checkpoint.save(Path({str(path)!r}), arrays, {{"number": number}})
    number += 1
"""
    random = np.random.default_rng(1)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", script])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.6 + random.random() * 0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        arrays, state = checkpoint.load(path)
        assert (arrays["model"][0] == state["number"]).all()


def test_values_of_another_network_are_refused():
    class Variable:
        shape = (2, 3)

    with pytest.raises(SegframeError, match="expected 1 variables"):
        checkpoint.assign([Variable()], [np.zeros((3, 2))], "model")


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from segframe import SegframeError, checkpoint
path = Path(sys.argv[1])
checkpoint.save(path, {"model": [np.zeros(3)]}, {"number": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    checkpoint.save(path, {"model": [np.ones(5_000), np.ones(300)]}, {"number": 2})
except SegframeError as error:
    print(error.got)
print(checkpoint.load(path)[1])
"""


@pytest.mark.parametrize("size", [0, 700, 30_000])
def test_a_full_disk_is_an_error_and_leaves_the_last_checkpoint(tmp_path, size):
    """A limit on the size of files stands for the disk."""
    words = [sys.executable, "-c", FULL_DISK, str(tmp_path / "c.h5"), str(size)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[Errno 27] File too large\n{'number': 1}\n"
    assert [file.name for file in tmp_path.iterdir()] == ["c.h5"]
