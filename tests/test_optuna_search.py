"""The study of a search: real studies in SQLite, told of jobs that need no training."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from hydra_plugins.segframe_launcher.sweep import Job
from hydra_plugins.segframe_optuna.settings import check_settings, storage_uri
from hydra_plugins.segframe_optuna.space import read_space
from segframe.errors import SegframeError

optuna = pytest.importorskip("optuna", reason="pip install -e '.[optuna]'")
from hydra_plugins.segframe_optuna._report import Report  # noqa: E402
from hydra_plugins.segframe_optuna._search import Search  # noqa: E402

SPACE = ("rate=tag(log, interval(1e-5,1e-1))", "width=range(2,9)", "kind=choice(a,b)")
GIVEN = {"n_trials": 20, "timeout_seconds": None, "n_jobs": 1, "sampler": "tpe", "startup_trials": 3,
         "seed": 0, "pruner": "median", "pruner_startup_trials": 1, "min_epochs": 1, "study": None,
         "storage": None, "params": None}  # fmt: skip


@pytest.fixture
def search(tmp_path):
    """Opens the study of a folder whose name needs care in a URI; a second time it goes on."""

    def make(name="Ä 100% ?", space=SPACE, fixed=("seed=0",), **settings):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        checked = check_settings(GIVEN | settings)
        parts, words = read_space(OverridesParser.create().parse_overrides([*space, *fixed]))
        uri = storage_uri(checked, folder)
        return Search(checked, parts, words, folder, uri, {"train": {"epochs": 9}})

    return make


def values(search, trial):
    return dict(word.split("=") for word in search.words(trial))


def run(search, trials):
    """The objective is best at rate 1e-3, width 6, kind b; trial 2 fails, trial 4 is pruned."""
    for _ in range(trials):
        (trial,) = search.ask(1)
        told = values(search, trial)
        away = abs(math.log10(float(told["rate"])) + 3) + abs(int(told["width"]) - 6) + (told["kind"] == "a")
        job = Job(trial.number, search.told(trial), 1 / (1 + away), {"test/dice": 0.5}, "", "")
        if trial.number == 2:
            job = job._replace(objective=None, error="ended by SIGKILL")
        if trial.number == 4:
            job = job._replace(objective=None, scores={}, pruned=3)
        search.tell(trial, job)


def told(search):
    return [(trial.state.name, search.words(trial), trial.value) for trial in search.trials()]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "sampler", ["tpe", *(pytest.param(name, marks=pytest.mark.slow) for name in ("random", "cmaes", "qmc"))]
)
def test_a_search_that_is_opened_again_goes_on_as_if_it_had_never_stopped(search, sampler):
    whole = search("whole", sampler=sampler)
    run(whole, 9)
    for count in (5, 4):
        again = search("parts", sampler=sampler)
        run(again, count)
    assert told(again) == told(whole)
    assert len({tuple(words) for _, words, _ in told(whole)}) > 6  # the seed of a trial is its own
    other = search("other", sampler=sampler, seed=1)
    run(other, 2)
    assert [words for _, words, _ in told(other)] != [words for _, words, _ in told(whole)][:2]


@pytest.mark.slow
def test_tpe_learns_where_random_does_not(search):
    """Medians of the second halves: what is told reaches the sampler, in the right direction."""
    late = {}
    for sampler in ("tpe", "random"):
        made = search(sampler, sampler=sampler)
        run(made, 40)
        scores = sorted(value for _, _, value in told(made)[20:] if value is not None)
        late[sampler] = scores[len(scores) // 2]
    assert late["tpe"] > 1.5 * late["random"]


def test_a_grid_ends_when_each_of_its_points_was_tried_once(search):
    space = ("width=range(2,4)", "kind=a,b", "drop=range(0.1,0.3,0.1)")
    for _ in range(3):
        grid = search(space=space, sampler="grid")
        for trial in grid.ask(3):
            grid.tell(trial, Job(trial.number, [], 0.5, {}, "", ""))
    points = [tuple(words) for _, words, _ in told(grid)]
    assert len(points) == len(set(points)) == 2 * 2 * 2
    assert points[0] == ("width=2", "kind=a", "drop=0.1") and points[-1] == ("width=3", "kind=b", "drop=0.2")


def test_the_end_has_the_best_trial_its_command_and_what_mattered(search):
    made = search(fixed=("seed=0", "dataset.path='my cells.h5'", "sweep.retry_failed=true"))
    run(made, 14)
    lines = Report(made).lines()
    kept = json.loads((made.folder / "study.json").read_text())
    best = max((trial for trial in kept["trials"] if trial["val/dice"]), key=lambda trial: trial["val/dice"])
    assert lines[0].endswith("12 trials finished, 1 pruned, 1 failed")
    assert lines[1] == f"best: trial {best['number']}, val/dice {best['val/dice']:.4f}"
    assert lines[2].split()[:3] == ["python", "-m", "segframe"]
    shell = subprocess.run(
        ["sh", "-c", lines[2].replace("python -m segframe", "printf '%s\\n'")], capture_output=True, text=True
    )
    assert shell.stdout.splitlines() == ["seed=0", "dataset.path='my cells.h5'", *best["overrides"]]
    assert kept["best"]["command"] == lines[2].strip()
    assert list(kept["importance"]) and sum(kept["importance"].values()) == pytest.approx(1)
    assert (kept["trials"][2]["state"], kept["trials"][2]["error"]) == ("FAIL", "ended by SIGKILL")
    assert Report(made).tags()["best.width"] == dict(w.split("=") for w in best["overrides"])["width"]
    jobs = {job.number: job for job in search(fixed=("seed=0", "dataset.path='my cells.h5'")).jobs()}
    assert len(jobs) == 14 and jobs[4].pruned == 3 and jobs[2].error and jobs[0].scores["test/dice"] == 0.5


def test_trials_of_a_killed_process_are_run_again_and_those_of_a_living_one_left(search, tmp_path):
    uri = f"sqlite:///{tmp_path}/studies.db"
    made = search(study="shared", storage=uri)
    script = (
        "import os, sys, signal, socket, psutil, optuna\n"
        "study = optuna.load_study(study_name='shared', storage=sys.argv[1])\n"
        "trial = study.get_trials()[-1]\n"
        "study._storage.set_trial_user_attr(trial._trial_id, 'owner', {'host': socket.gethostname(),"
        " 'pid': os.getpid(), 'started': psutil.Process().create_time()})\n"
        "print('owned', flush=True); signal.pause()"
    )
    (first,) = made.ask(1)
    process = subprocess.Popen([sys.executable, "-c", script, uri], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "owned\n"
    try:
        assert search(study="shared", storage=uri).left_running() == []
    finally:
        process.kill()
        process.wait()
    again = search(study="shared", storage=uri)
    (left,) = again.left_running()
    assert (left.number, again.words(left)) == (first.number, made.words(first))
    assert again.counted() == 1
    again.tell(left, Job(0, [], 0.5, {}, "", ""))
    assert again.left_running() == [] and again.counted() == 1


def test_a_trial_that_was_killed_while_its_values_were_chosen_does_not_count(search):
    made = search()
    made.study.ask()
    again = search()
    assert again.left_running() == [] and again.counted() == 0 and again.jobs() == []
    run(again, 1)
    assert again.counted() == 1 and "0 pruned, 1 failed" in Report(again).lines()[0]


def test_failed_trials_are_tried_again_once_on_request(search):
    made = search()
    run(made, 5)
    made.try_failed_again()
    made.try_failed_again()
    (again,) = made.ask(1)
    assert made.words(again) == made.words(made.trials()[2]) and again.number == 5
    assert made.counted() == 5  # the one that failed is replaced


@pytest.mark.parametrize(
    "change, message",
    [
        ({"space": (*SPACE[:2], "kind=choice(a,b,c)")}, "differs in kind"),
        ({"space": SPACE[:2]}, "differs in kind"),
        ({"fixed": ("seed=1",)}, "differs in seed=0, seed=1"),
    ],
)
def test_another_search_in_the_same_study_is_refused(search, change, message):
    run(search(), 1)
    with pytest.raises(SegframeError, match=message):
        search(**change)
    search(fixed=("seed=0", "device.threads=1", "sweep.retry_failed=true"))  # computes the same


@pytest.mark.parametrize(
    "given, message",
    [
        ({"n_trials": 0}, "hydra.sweeper.n_trials: expected greater than or equal to 1"),
        ({"sampler": "gp"}, "hydra.sweeper.sampler: expected 'tpe'"),
        ({"timeout_seconds": 0.0}, "hydra.sweeper.timeout_seconds: expected"),
        ({"study": "a/b"}, "hydra.sweeper.study: expected a name that a folder can have, got 'a/b'"),
        ({"storage": "studies.db"}, "hydra.sweeper.storage: expected an address"),
        ({"storage": "postgresql://me:secret@host/db"}, "an address without a password"),
    ],
)
def test_a_wrong_setting_is_refused(given, message):
    with pytest.raises(SegframeError, match=message) as refused:
        check_settings(GIVEN | given)
    assert "secret" not in str(refused.value)


def test_the_settings_here_are_those_of_the_config_file():
    kept = yaml.safe_load((Path(__file__).parents[1] / "conf/hydra/sweeper/optuna.yaml").read_text())
    assert kept.pop("_target_") == "hydra_plugins.segframe_optuna.sweeper.OptunaSweeper"
    assert kept.keys() == check_settings({**kept, "seed": 0}).keys() == GIVEN.keys()
