"""segframe.resume: which folder a run works in."""

import logging

import pytest

from segframe import SegframeError
from segframe.identity import run_name
from segframe.record import FINISHED, INTERRUPTED, Record
from segframe.resume import run_folder

OWN = {"model.name": "tiny", "dataset.name": "hdf5", "seed": 0, "data": "d", "code": "c"}
NAME = run_name(OWN)


@pytest.fixture
def config(tmp_path):
    def make(resume="auto", run_dir=None):
        return {"train": {"resume": resume}, "runs_dir": str(tmp_path / "runs"), "run_dir": run_dir}

    return make


def begun(folder, own=OWN, state=INTERRUPTED):
    """A run's folder as a run leaves it."""
    folder.mkdir(parents=True)
    record = Record(folder)
    record.write_config({"seed": own["seed"]})
    record.write("record.json", {"identity": own})
    record.set_status(state)
    return record


def test_a_new_run_gets_a_new_folder_named_by_its_identity(config, tmp_path):
    record, fresh = run_folder(config(), OWN)
    assert fresh and record.folder == tmp_path / "runs" / NAME
    assert list(record.folder.iterdir()) == []


@pytest.mark.parametrize("resume", ["auto", "must"])
def test_a_run_that_is_there_goes_on_in_its_folder(config, tmp_path, resume, caplog):
    caplog.set_level(logging.INFO, "segframe")
    begun(tmp_path / "runs" / NAME)
    record, fresh = run_folder(config(resume), OWN)
    assert not fresh and record.folder == tmp_path / "runs" / NAME
    assert f"Resuming {record.folder}" in caplog.text


def test_never_takes_the_next_free_number_and_auto_then_the_newest(config, tmp_path):
    begun(tmp_path / "runs" / NAME, state=FINISHED)
    second, fresh = run_folder(config("never"), OWN)
    assert fresh and second.folder.name == f"{NAME}-2"
    second.write_config({})
    second.write("record.json", {"identity": OWN})
    assert run_folder(config("never"), OWN)[0].folder.name == f"{NAME}-3"
    # The third was made and never used: a run that was killed that early is begun again in its folder.
    found, fresh = run_folder(config(), OWN)
    assert fresh and found.folder.name == f"{NAME}-3"


def test_a_run_killed_before_its_record_was_written_begins_again_in_place(config, tmp_path):
    folder = tmp_path / "runs" / NAME
    folder.mkdir(parents=True)
    Record(folder).write_config({})
    record, fresh = run_folder(config(), OWN)
    assert fresh and record.folder == folder
    with pytest.raises(SegframeError, match="train.resume=must: expected a run of this config"):
        run_folder(config("must"), OWN)


def test_must_without_a_run_names_the_nearest_one_and_makes_no_folder(config, tmp_path):
    begun(tmp_path / "runs" / "far", {**OWN, "seed": 4, "data": "e"})
    begun(tmp_path / "runs" / "near", {**OWN, "seed": 4})
    with pytest.raises(
        SegframeError, match=r"(?s)The nearest, .*near, differs in seed: 4 -> 0\. Use train.r"
    ):
        run_folder(config("must"), OWN)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["far", "near"]


def test_a_named_folder_is_used_as_it_is_and_never_for_another_run(config, tmp_path):
    folder = tmp_path / "my run"
    assert run_folder(config(run_dir=str(folder)), OWN)[0].folder == folder
    folder.rmdir()
    begun(folder)
    assert run_folder(config(run_dir=str(folder)), OWN)[1] is False
    with pytest.raises(SegframeError, match=r"got one that differs in code: c -> x; seed: 0 -> 4"):
        run_folder(config(run_dir=str(folder)), {**OWN, "seed": 4, "code": "x"})
    with pytest.raises(SegframeError, match="run_dir: expected a new folder with train.resume=never"):
        run_folder(config("never", run_dir=str(folder)), OWN)


def test_a_folder_that_cannot_be_written_is_refused_with_the_remedy(config, tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(SegframeError, match=r"(?s)expected a folder to write the run to.*runs_dir=PATH"):
        run_folder(config(), OWN)


def test_a_run_dir_that_holds_other_files_is_refused_and_a_killed_runs_first_files_are_not(tmp_path):
    from segframe.resume import _ours

    assert [_ours(tmp_path / name) for name in (".lock", ".12.record.json", "run.log", "sweep.json")] == [
        True
    ] * 4
    assert not _ours(tmp_path / "config.yaml") and not _ours(tmp_path / "image.png")
