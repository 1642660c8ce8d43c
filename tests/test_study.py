"""benchmarks/study.py: its grids compose, its queue keeps its promises, and one run goes all the way."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from study_grids import ALL, BASELINES, GRIDS, Job, queue
from study_queue import Queue

from segframe.compose import register
from segframe.experiment import check_config
from segframe.manager import plugin_manager
from segframe.train_command import plain

STUDY = Path(__file__).parents[1] / "benchmarks" / "study.py"
JOBS = [Job("losses", "cars", str(number), 0, ()) for number in range(4)]


def run_all(tmp_path, script, jobs=JOBS, slots=2, gpus=0, deadline=None, stop=None):
    """Each job as `python -c script NAME`; returns ({name: end of the log}, what is left)."""
    ended = {}

    def commands(job):
        return [[sys.executable, "-c", script, job.recipe]]

    slots = Queue(commands, tmp_path, slots=slots, gpus=gpus, deadline=deadline, stop=stop)
    left = slots.run(jobs, lambda job, seconds, failed: ended.update({job.recipe: failed}))
    return ended, [job.recipe for job in left]


@pytest.mark.bundled
@pytest.mark.parametrize("grid", sorted(GRIDS))
def test_every_run_of_the_grids_composes_into_a_valid_config(grid):
    jobs = queue([grid], 1, [])
    assert BASELINES.get(grid, jobs[0].recipe) in {job.recipe for job in jobs}
    register()
    with initialize_config_module("segframe.conf", version_base="1.3"):
        for job in jobs:
            check_config(plugin_manager(), plain(compose("config", [*job.words, "dataset.path=x.h5"])))


def test_all_grids_are_in_one_queue_seed_by_seed_and_by_turns():
    jobs = queue(["all"], 3, [])
    assert len(jobs) == len({job.name for job in jobs}) == 27 + 24 + 6
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)
    assert [job.grid for job in jobs[:3]] == list(ALL)


def test_a_word_with_a_prefix_is_for_the_runs_that_it_names():
    words = ["a.b=1", "losses:c=2", "cars:d=3:4", "upsampling-cars:e=5", "f='x:y'"]
    of = {(job.grid, job.data): job.words for job in queue(["all"], 1, words)}
    assert of["losses", "membrane"][-3:] == ("a.b=1", "c=2", "f='x:y'")
    assert of["upsampling", "cars"][-4:] == ("a.b=1", "d=3:4", "e=5", "f='x:y'")
    assert [job.name for job in queue(["losses"], 2, [], only="camvid-distance_aware")] == [
        f"losses-camvid-distance_aware-{seed}" for seed in (0, 1)
    ]


def test_a_failed_job_is_told_with_the_end_of_its_log_and_the_others_go_on(tmp_path):
    script = "import sys; print('here', sys.argv[1]); sys.exit(7 * (sys.argv[1] == '1'))"
    ended, left = run_all(tmp_path, script)
    assert sorted(ended) == ["0", "1", "2", "3"] and not left
    assert "here 1\nexit code 7" in ended.pop("1") and set(ended.values()) == {""}
    assert (tmp_path / "losses-cars-2-0.log").read_text() == "here 2\n"


def test_slots_are_dealt_to_the_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    barrier = (  # each waits until the other has started, so both slots are in use
        "import os, sys, time; from pathlib import Path; folder = Path({!r})\n"
        "(folder / sys.argv[1]).write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "while len(list(folder.iterdir())) < 2: time.sleep(0.01)"
    )
    there = tmp_path / "started"
    there.mkdir()
    ended, _ = run_all(tmp_path, barrier.format(str(there)), JOBS[:2], gpus=2)
    assert set(ended.values()) == {""}
    assert {file.read_text() for file in there.iterdir()} == {"4", "6"}


def test_after_the_deadline_nothing_is_started(tmp_path):
    ended, left = run_all(tmp_path, "import time; time.sleep(0.5)", slots=1, deadline=0.2)
    assert ended == {"0": ""} and left == ["1", "2", "3"]


def test_what_is_stopped_is_left_and_not_failed(tmp_path):
    begun = time.monotonic()
    ended, left = run_all(tmp_path, "import time; time.sleep(600)", slots=2, stop=0.5)
    assert time.monotonic() - begun < 300
    assert not ended and sorted(left) == ["0", "1", "2", "3"]


@pytest.mark.slow
@pytest.mark.bundled
def test_a_study_measures_reports_and_does_nothing_twice(small_cars, tmp_path):
    command = [
        sys.executable, str(STUDY), "upsampling", "--data", str(small_cars.parent), "--out",
        str(tmp_path / "out.json"), "--only", "cars-bilinear", "--seeds", "1", "--overrides",
        "model.filters=2", "model.depth=2", "train.epochs=2", "train.steps_per_epoch=2",
        "optimizer.schedule.warmup_steps=0",
    ]  # fmt: skip
    environment = {**os.environ, "SEGFRAME_CACHE": str(tmp_path / "cache")}
    first = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "done upsampling-cars-bilinear-0" in first.stdout and "### upsampling: cars" in first.stdout
    study = json.loads((tmp_path / "out.json").read_text())
    assert str(tmp_path) not in study["command"] and not study["missing"]
    (run,) = study["runs"]
    assert 0 <= run["scores"]["test/boundary_error"] <= 1 and len(run["per_image"]["iou"]) == 2
    assert run["checkerboard"]["constant_pattern"] < 1e-5  # bilinear draws none
    assert np.load(tmp_path / "out.runs" / f"{run['name']}.npz")["logits"].shape == (24, 40, 2)
    again = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert again.returncode == 0 and "1 runs, 1 of them done" in again.stdout
    assert json.loads((tmp_path / "out.json").read_text()) == study
