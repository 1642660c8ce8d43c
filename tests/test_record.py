"""segframe.record: a run's folder, its state, its lock, and the folders of one name."""

import json
import os
import subprocess
import sys

import pytest

from segframe import SegframeError
from segframe.interrupt import Interrupted
from segframe.record import FAILED, FINISHED, INTERRUPTED, Record, ending, find


def test_what_is_written_is_read_and_what_is_not_there_is_none(tmp_path):
    record = Record(tmp_path)
    assert record.read("record.json") is None and record.status() is None
    record.write("record.json", {"ß": [1, None, 0.1]})
    assert record.read("record.json") == {"ß": [1, None, 0.1]}
    assert os.listdir(tmp_path) == ["record.json"]


def test_the_config_comes_back_with_its_types(tmp_path):
    train = {"xla": "auto", "rates": [1e-4, 2], "text": "1e-3", "word": "yes"}
    config = {"seed": 0, "runs_dir": "Läufe: 1", "run_dir": None, "train": train, "augment": {}}
    Record(tmp_path).write_config(config)
    assert Record(tmp_path).config() == config


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(SegframeError, match="expected the folder of a run, got no config.yaml in it"):
        Record(tmp_path / "nowhere").config()


def test_the_state_says_who_and_why(tmp_path):
    record = Record(tmp_path)
    record.set_status(FAILED, "ValueError: mine")
    status = record.read("status.json")
    assert (record.status(), status["error"], status["pid"]) == (FAILED, "ValueError: mine", os.getpid())
    record.set_status(FINISHED)
    assert record.read("status.json")["error"] == ""


@pytest.mark.parametrize(
    "error, expected",
    [
        (Interrupted(15), (INTERRUPTED, "stopped by SIGTERM; the same command continues it")),
        (KeyboardInterrupt("twice"), (INTERRUPTED, "twice")),
        (ValueError("mine"), (FAILED, "ValueError: mine")),
        (SystemExit(3), (FAILED, "SystemExit: 3")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_a_run_ends_follows_from_what_ended_it(error, expected):
    assert ending(error) == expected


def test_two_processes_cannot_work_in_one_folder_and_a_dead_one_holds_nothing(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from segframe.record import Record\n"
        "record = Record(Path(sys.argv[1])); record.set_status('running')\n"
        "with record.lock():\n    print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SegframeError, match=rf"(?s)process {other.pid} on .* is running.*resume=never"):
            Record(tmp_path).lock().__enter__()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with Record(tmp_path).lock():
        pass
    with Record(tmp_path).lock():  # left by the first
        pass


def test_the_runs_of_a_name_are_found_oldest_first(tmp_path):
    for name in ("tiny", "tiny-2", "tiny-3", "tiny-5", "tiny-large"):
        (tmp_path / name).mkdir()
    assert find(tmp_path, "tiny") == [tmp_path / name for name in ("tiny", "tiny-2", "tiny-3", "tiny-5")]
    assert find(tmp_path / "nowhere", "tiny") == []


def test_a_file_that_is_no_json_is_not_taken_for_an_absent_one(tmp_path):
    (tmp_path / "record.json").write_text('{"half":')
    with pytest.raises(json.JSONDecodeError):
        Record(tmp_path).read("record.json")


def test_the_newest_run_is_found_and_a_new_one_goes_behind_it_whatever_was_deleted(tmp_path):
    from segframe.record import find, new_folder

    assert new_folder(tmp_path, "a-b-12") == tmp_path / "a-b-12"
    for name in ("a-b-12-2", "a-b-12-10", "a-b-12-x", "a-b-123"):
        (tmp_path / name).mkdir()
    assert [folder.name for folder in find(tmp_path, "a-b-12")] == ["a-b-12-2", "a-b-12-10"]
    assert new_folder(tmp_path, "a-b-12") == tmp_path / "a-b-12-11"
