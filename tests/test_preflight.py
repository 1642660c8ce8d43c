"""The preflight: what counts as one combination, what it costs, and that all which cannot run are named."""

import logging
import os
import re
import subprocess
import sys
import textwrap

import pytest

from hydra_plugins.segframe_launcher import preflight_words
from hydra_plugins.segframe_launcher.local_place import LocalPlace
from hydra_plugins.segframe_launcher.preflight import Candidate, Tried, combination, preflight, wanted
from segframe import SegframeError
from segframe.manager import plugin_manager


@pytest.fixture
def made():
    """A config from words, as the command line's."""
    from hydra import compose, initialize_config_module

    from segframe.compose import register
    from segframe.train_command import plain

    register()
    with initialize_config_module("segframe.conf", version_base="1.3"):
        yield lambda *words: plain(compose("config", ["tracker=none", *words]))


@pytest.mark.bundled
@pytest.mark.parametrize(
    "words",
    [
        ["seed=3"], ["train.epochs=7", "train.early_stopping_epochs=2"], ["optimizer.learning_rate=3e-4"],
        ["optimizer.learning_rate=1"], ["split.folds=3", "split.fold=1"], ["runs_dir=elsewhere"],
        ["metrics=surface"], ["sweep.preflight=true"], ["tracker=mlflow"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_does_not_change_a_step_is_no_combination_of_its_own(made, words):
    assert combination(made(*words)) == combination(made())


@pytest.mark.bundled
@pytest.mark.parametrize(
    "words",
    [
        ["model.filters=8"], ["loss=dice"], ["optimizer=sgd"], ["dataset.size=32"], ["augment=flips"],
        ["train.batch_size=2"], ["train.precision=bfloat16"], ["train.steps_per_epoch=5"],
        ["train.weight_average=0.9"], ["optimizer.clip_norm=1.0"], ["device.threads=1"],
        ["patch.size=[32,32]"],
        ["loss.terms.dice.weight=2"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_changes_a_step_is_another_combination(made, words):
    assert combination(made(*words)) != combination(made())


FOUND = {
    "importing": 5.0, "building": 1.0, "first_step": 3.0, "step": 0.25, "first_evaluation": 2.0,
    "evaluation": 0.125, "batch": [4, 32, 32, 1], "parameters": 1234, "memory_mib": 900,
    "gpu_memory_mib": None,
}  # fmt: skip


def candidate(number, epochs=10, samples=None, score_test_at=(), **train):
    train = {
        "epochs": epochs, "batch_size": 4, "steps_per_epoch": None, "score_test_at": list(score_test_at),
        **train,
    }  # fmt: skip
    config = {
        "train": train,
        "patch": {"size": None, "per_image": 3},
        "model": {"name": "x", "depth": number % 2},
        "optimizer": {"name": "adam"},
    }
    return Candidate(
        number, [f"seed={number}"], config, "data", samples or {"train": 18, "val": 5, "test": 9}
    )


def test_a_jobs_time_is_its_steps_and_evaluations():
    """18 samples by 4: 5 steps an epoch; 5 images of val after each epoch and once at the end, 9 of test."""
    one = Tried([], FOUND, False)
    start = 5 + 1 + 3 + 2
    assert one.seconds(candidate(0)) == pytest.approx(start + 10 * 5 * 0.25 + (10 * 5 + 5 + 9) * 0.125)
    anew = Tried([], {**FOUND, "first_statistics": 1.5, "statistics": 0.125}, False)
    assert anew.seconds(candidate(0)) == pytest.approx(one.seconds(candidate(0)) + 1.5 + 10 * 5 * 0.125)
    few = candidate(0, steps_per_epoch=7, score_test_at=[2, 4])
    assert one.seconds(few) == pytest.approx(start + 10 * 7 * 0.25 + (55 + 9 + 2 * 9) * 0.125)
    on_patches = candidate(0)
    on_patches.config["patch"]["size"] = [16, 16]  # 54 patches: 14 steps
    assert one.seconds(on_patches) == pytest.approx(start + 10 * 14 * 0.25 + 64 * 0.125)
    alone = candidate(0, samples={"train": 4})
    without = {key: value for key, value in FOUND.items() if "evaluation" not in key}
    assert Tried([], without, False).seconds(alone) == pytest.approx(9 + 10 * 0.25)


@pytest.mark.parametrize(
    "asked, jobs, local, expected",
    [
        ("auto", 7, True, False), ("auto", 8, True, True), ("auto", 80, False, False), (True, 1, False, True),
        (False, 80, True, False), ("only", 1, True, True),
    ],
)  # fmt: skip
def test_when_it_is_done(asked, jobs, local, expected):
    place = LocalPlace(1)
    place.local = local
    assert wanted(asked, jobs, place) is expected


@pytest.mark.parametrize(
    "seconds, told", [(35.4, "35 s"), (720, "12 min"), (12000, "3.3 h"), (200_000, "2.3 days")]
)
def test_durations_are_told_in_the_unit_that_suits(seconds, told):
    assert preflight_words.duration(seconds) == told


def test_the_table_names_what_varies_and_the_totals(capsys, caplog):
    caplog.set_level(logging.INFO, "segframe")
    slow = FOUND | {"step": 2.5, "memory_mib": 10**9, "gpu_memory_mib": 2048}
    jobs = [
        candidate(number)._replace(overrides=[f"model.depth={number % 2}", "x=1"]) for number in range(16)
    ]
    preflight_words.report([Tried(jobs[::2], FOUND, False), Tried(jobs[1::2], slow, True)], 2)
    out = capsys.readouterr().err
    assert "2 combinations of 16 jobs" in out and "model.depth" in out and " x " not in out
    assert re.search(r"│ 0, 2, 4, 6, 8, 10 \+2 +│ 0 +│ 4x32x32x1 │ 1,234 +│ 250 ms +│ 0\.9 GiB", out)
    assert "2.0 GiB" in out and "2.5 s" in out
    total = 8 * (11 + 12.5 + 8) + 8 * (11 + 125 + 8)
    assert f"16 jobs take about {total / 2 / 60:.0f} min, 2 at once" in caplog.text
    assert "2 jobs at once need about" in caplog.text  # 2 PiB


SABOTEUR = textwrap.dedent(
    """
    import os, signal
    from segframe import hookimpl

    def build_broken(*, image_shape, num_classes: int, how: str = "raises"):
        import keras
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        image = keras.Input((None, None, image_shape[2]))
        logits = keras.layers.Conv2D(num_classes, 1)(image)
        if how == "raises":  # two classes too many: seen when the loss is computed
            logits = keras.layers.Concatenate()([logits, logits])
            logits = keras.layers.Reshape((-1, 3))(logits)
        if how == "twice":  # seen when batch normalisation's statistics are taken anew, for dropout
            norm = keras.layers.BatchNormalization(name="shared")
            logits = norm(norm(keras.layers.Dropout(0.5)(logits)))
        return keras.Model(image, logits)

    @hookimpl
    def segframe_models():
        return {"broken": build_broken}
    """
)


@pytest.fixture
def command(tmp_path, installed):
    """Runs `python -m segframe WORDS` with a model that fails as it is told."""
    path = str(installed("broken_net", SABOTEUR))
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "broken.yaml").write_text("name: broken\nhow: raises\n")
    folder = tmp_path / "work"
    folder.mkdir()

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "segframe", *words, f"hydra.searchpath=[file://{tmp_path}/conf]",
             "tracker=none", "dataset.samples_train=8", "dataset.samples_val=2", "dataset.samples_test=2",
             "dataset.size=32", "train.epochs=1"],
            cwd=folder, capture_output=True, text=True, timeout=600,
            env={**os.environ, "PYTHONPATH": path, "SEGFRAME_CACHE": str(tmp_path / "c")},
        )  # fmt: skip
        return done, folder

    return run


def test_all_combinations_that_cannot_take_a_step_are_named_before_a_job_starts(command):
    """One raises in its first step, one is killed, one cannot be scored, two more jobs would have run."""
    done, folder = command(
        "-m", "sweep.preflight=true", "model=broken", "model.how=raises,dies,works,twice", "seed=0,1"
    )
    assert done.returncode == 2, done.stderr
    assert "3 of 4 that cannot take one" in done.stderr and "Traceback" not in done.stderr
    assert re.search(r"job 6 \(model.how=twice\).*\n?.*got shared 2 times", done.stderr)
    assert re.search(r"job 0 \(model.how=raises\) and 1 more jobs: \w+Error: ", done.stderr)
    assert re.search(r"job 2 \(model.how=dies\) and 1 more jobs: ended by SIGKILL", done.stderr)
    assert "Job 0" not in done.stderr and "sweep.preflight=false starts all" in done.stderr
    assert not [file for file in folder.rglob("*") if file.is_file()]


@pytest.mark.slow
def test_what_worked_is_remembered_and_nothing_is_trained(command):
    words = ["preflight", "-m", "model=broken", "model.how=works", "seed=0,1", "train.batch_size=2,4"]
    first, folder = command(*words)
    assert first.returncode == 0, first.stderr
    assert "Preflight: 2 combinations of this sweep" in first.stderr and "of 4 jobs" in first.stderr
    assert "2x32x32x1" in first.stderr and "4 jobs take about" in first.stderr
    again, _ = command(*words)
    assert again.returncode == 0 and "a few steps each" not in again.stderr
    assert "2 combinations of 4 jobs" in again.stderr
    assert not [file for file in folder.rglob("*") if file.is_file()]
    more, _ = command(*[word.replace("2,4", "2,1") for word in words])
    assert "Preflight: 1 combination of this sweep" in more.stderr


@pytest.mark.slow
def test_a_single_run_can_be_tried_first_and_then_runs(command):
    done, folder = command("model=broken", "model.how=works", "sweep.preflight=true")
    assert done.returncode == 0, done.stderr
    assert "The job takes about" in done.stderr
    assert len(list(folder.glob("runs/broken-*/result.json"))) == 1
    only, _ = command("preflight", "model=broken", "model.how=raises")
    assert only.returncode == 2 and "1 of 1 that cannot take one" in only.stderr


def test_what_the_process_says_is_told_if_it_leaves_nothing(tmp_path, own_cache):
    """Here: its file of configs is unreadable to it, since a data set in it is none."""
    place = LocalPlace(2)
    job = Candidate(
        0, ["seed=0"], {"optimizer": {}, "train": {"steps_per_epoch": None}}, "hash", {"train": 1}
    )
    place._start = lambda order, slot: subprocess.Popen(
        [sys.executable, "-c", "import sys; print('no room'); sys.exit(3)"], stdout=open(order.output, "wb")
    )
    with pytest.raises(SegframeError, match="ended with 3. no room"):
        preflight(plugin_manager(installed=False), place, [job], tmp_path)
    assert not list((tmp_path).glob("preflight"))
