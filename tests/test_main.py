"""The command line: what bad input gets, and one real run from the words to the summary."""

import os
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest

from segframe.__main__ import main

pytestmark = pytest.mark.bundled

TINY = ["dataset.samples_train=8", "dataset.samples_val=2", "dataset.samples_test=2", "dataset.size=32",
        "model.filters=2", "model.depth=2", "train.epochs=2"]  # fmt: skip


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / "Läufe von heute"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def refused(capsys, folder, words, *patterns):
    """Exit code 2, the message on stderr, no traceback, and nothing that looks like a run."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    for pattern in patterns:
        assert re.search(pattern, err), err
    assert err.count("Error: ") == 1 and "Traceback" not in out + err
    assert not [
        path for path in folder.rglob("*") if path.name in ("config.yaml", "status.json", "result.json")
    ]
    return err


@pytest.mark.parametrize(
    "words, message",
    [
        (["model=unte"], r"model=unte: expected an option of model \(.*unet.*\), got 'unte'.*\n.*'unet'\?"),
        (["tracker=mlfow"], r"tracker=mlfow: .*got 'mlfow'.*\n.*'mlflow'\?"),
        (["experiment=cars_adan"], r"expected an option of experiment .*\n.*'cars_adam'\?"),
        (["modell=unet"], r"modell: expected a key of the config, got 'modell'.*\n.*'model'\?"),
        (["model=3"], r"expected what Hydra can compose, got Config group override must be"),
        (["optimizer.learning_rat=1e-3"], r"optimizer\.learning_rat: .*\n.*'learning_rate'\?"),
        (["train.epoch=3"], r"train\.epoch: .*got 'epoch'.*\n.*'epochs'\?"),
        (["loss=sum"], r"loss\.terms: expected a value, got none"),
        (["loss=sum", "loss.terms=[{name:dice}]"], r"loss\.terms\.0\.weight: expected a number, 0 or more"),
        (["loss.terms.dice.smoth=1"], r"loss\.terms\.dice\.smoth: .*\n.*'smooth'\?"),
        (["+train.epoch=3"], r"train\.epoch: expected one of the keys .*\n.*'epochs'\?"),
        (["+model.filter=3"], r"model\.filter: expected a key that model .* takes .*\n.*'filters'\?"),
        (["+sead=3"], r"sead: expected a key of conf/config\.yaml, got 'sead'.*\n.*'seed'\?"),
        (["model.name=unett"], r"model\.name: expected the name of a model, got 'unett'.*\n.*'unet'\?"),
        (["~seed"], r"seed: expected this key in the config, got none"),
        (["optimizer.learning_rate=fast"], r"optimizer\.learning_rate: expected a valid number, got 'fast'"),
        (["train.epochs=1.5"], r"train\.epochs: expected a valid integer, got 1\.5"),
        (["train.precision=bf16"], r"train\.precision: expected 'float32', 'bfloat16' or 'float16'"),
        (["train.epochs=0"], r"train\.epochs: expected .* 1, got 0"),
        (["train.score_test_at=[100]"], r"train\.score_test_at: expected epochs up to train\.epochs=20"),
        (["optimizer.schedule.name=cosin"], r"optimizer\.schedule\.name: expected 'constant', 'cosine'"),
        (["tracker.uri=mlruns"], r"tracker\.uri: expected a URI .*got 'mlruns'"),
        (["dataset=hdf5"], r"dataset\.path: expected a value, got none.*\n.*dataset\.path=\.\.\."),
        (["dataset=hdf5", "dataset.path=no.h5"], r"data file no\.h5: expected an HDF5 file, got no file"),
        (["dataset.size=4"], r"dataset\.size: expected >= 8, got 4"),
        (["model.depth=x=y"], r"the command line or a config file: .*mismatched input '='"),
        (["plugin"], r"plugin: expected a verb, or key=value words for a run.*\n.*'plugins'\?"),
        (["-m", "optimizer=adam,sdg"], r"optimizer=sdg: .*\n.*'sgd'\?"),
        (
            ["-m", "seed=0,1", "optimizer.learning_rat=1,2"],
            r"optimizer\.learning_rat: .*\n.*'learning_rate'\?",
        ),
        (["-m", "train.epochs=1,2,0"], r"train\.epochs: expected .* 1, got 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_word_is_refused_with_the_remedy(capsys, own_folder, words, message):
    refused(capsys, own_folder, words, message)


def test_a_wrong_option_is_refused_before_tensorflow_is_imported(own_folder):
    code = (
        "import sys\n"
        "from segframe.__main__ import main\n"
        "code = main(['optimizer.learning_rat=1'])\n"
        "print({'tensorflow', 'keras', 'mlflow'} & set(sys.modules))\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (2, "set()"), done.stderr


def test_debug_shows_where_and_still_exits_with_2(capsys, own_folder):
    assert main(["model.name=unett", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err and "in check_config" in err
    assert err.rstrip().endswith("Did you mean 'unet'?")


def without(name):
    return lambda file: file.__delitem__(name)


def replaced(name, value):
    def change(file):
        del file[name]
        file[name] = value

    return change


def nothing_in_val(file):
    file["val/images"] = np.zeros((0, 13, 21, 1), np.uint8)
    file["val/masks"] = np.zeros((0, 13, 21), np.uint8)


def spoilt(name, value):
    def change(file):
        file[name][0, 0, 0] = value

    return change


def binary_0_255(file):
    for split in ("train", "test"):
        file[f"{split}/masks"][...] = 255 * (file[f"{split}/masks"][...] > 0)


@pytest.mark.parametrize(
    "change, options, message",
    [
        (without("train/masks"), {}, r"/train: expected 'masks' in it, got ids, images"),
        (without("train"), {}, r"expected a split named train, got test"),
        (
            replaced("train/masks", np.zeros((2, 13, 21), "u1")),
            {},
            r"as many masks as images, got 3 images and 2",
        ),
        (
            replaced("train/masks", np.zeros((3, 13, 20), "u1")),
            {},
            r"of one size, got image 13 x 21, mask 13 x 20",
        ),
        (spoilt("train/masks", 7), {}, r"train sample 'train 0', mask: expected class ids of 2 .*got id 7"),
        (binary_0_255, {}, r"got id 255.*\n.*data remap .*data\.h5.* --map 255=1"),
        (
            spoilt("test/images", np.nan),
            {"dtype": np.float32},
            r"'test 0', image: expected finite numbers, got 1 v",
        ),
        (nothing_in_val, {}, r"/val: expected at least one sample, got none.*\n.*delete /val"),
    ],
    ids=["no masks", "no train", "fewer masks", "other size", "class id", "0 and 255", "NaN", "empty split"],
)
def test_bad_data_is_refused_with_the_remedy(capsys, own_folder, hdf5_file, change, options, message):
    path = hdf5_file(change, **options)
    refused(capsys, own_folder, ["dataset=hdf5", f"dataset.path='{path}'"], message)


def test_a_file_that_is_no_hdf5_or_is_being_written_is_refused(capsys, own_folder, tmp_path, hdf5_file):
    text = tmp_path / "text.h5"
    text.write_text("no HDF5" * 100)
    words = ["dataset=hdf5", f"dataset.path='{text}'"]
    refused(capsys, own_folder, words, r"a file of 700 bytes in another format.*\n.*data import")
    path = hdf5_file()
    code = "import h5py, sys; file = h5py.File(sys.argv[1], 'a'); print(1, flush=True); sys.stdin.read()"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        writer.stdout.readline()
        words = ["dataset=hdf5", f"dataset.path='{path}'"]
        refused(
            capsys, own_folder, words, r"being written by another program.*\n.*Wait until its writer is done"
        )
    finally:
        writer.communicate()
    with h5py.File(path) as file:
        assert len(file["train/images"]) == 3


def test_a_folder_that_cannot_be_written_is_refused(capsys, own_folder):
    where = "/proc/x" if os.path.isdir("/proc") else "/dev/null/x"
    message = r"/x/.*: expected a folder to write the run to, got .*\n.*runs_dir=PATH"
    refused(capsys, own_folder, [f"runs_dir={where}", "tracker=none", "dataset.size=32"], message)


def test_a_misspelt_hook_is_refused_with_the_nearest_one(own_folder, tmp_path):
    """Of an installed plugin: a folder on PYTHONPATH with an entry point."""
    (tmp_path / "wrong_nets.py").write_text(
        "from segframe import hookimpl\n\n@hookimpl\ndef segframe_modles():\n    return {}\n"
    )
    info = tmp_path / "wrong_nets-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong-nets\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[segframe]\nwrong = wrong_nets\n")
    done = subprocess.run(
        [sys.executable, "-m", "segframe", "plugins"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert re.search(r"Error: plugin 'wrong': expected hooks .*\n.*'segframe_models'\?", done.stderr), (
        done.stderr
    )
    assert "Traceback" not in done.stderr


def test_plugins_and_help_need_no_run(capsys, own_folder):
    assert main(["plugins"]) == 0
    assert re.search(r"^optimizer +adam +segframe \d", capsys.readouterr().out, re.M)
    with pytest.raises(SystemExit) as left:
        main(["plugins", "--help"])
    assert left.value.code == 0 and "usage: python -m segframe plugins" in capsys.readouterr().out
    assert not list(own_folder.iterdir())


def test_one_command_trains_tracks_and_says_what_came_of_it(own_folder):
    from mlflow import MlflowClient

    done = subprocess.run([sys.executable, "-m", "segframe", *TINY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (run_dir,) = (own_folder / "runs").glob("unet-cells-*")
    for row in ("background", "cell", "foreground mean"):
        assert re.search(rf"{row} +│( +\d\.\d{{4}} │?| +undefined │?){{4}}", done.stdout), done.stdout
    assert re.search(r"test: 2 images, weights of epoch [12] \(chosen by val/dice\)", done.stdout)
    assert re.search(r"pixel accuracy 0\.\d{4}; objective val/dice 0\.\d{4}", done.stdout)
    assert f"run: runs/{run_dir.name}\ncompare: python -m segframe ui\n" in done.stdout
    assert re.search(r"epoch 2/2  loss .* val/dice .* images/s", done.stderr)
    assert "Traceback" not in done.stderr and "oneDNN" not in done.stderr
    client = MlflowClient(f"sqlite:///{own_folder}/runs/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("segframe").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", run_dir.name)
    assert run.data.params["model.filters"] == "2" and 0 <= run.data.metrics["final/test/dice"] <= 1
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2]


def test_help_lists_the_verbs_of_plugins_and_the_config(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    told = capsys.readouterr().out
    assert left.value.code == 0
    assert (
        "data      import, check, show, export and remap data sets" in told
        and "model: resnet_unet, small, unet" in told
    )
