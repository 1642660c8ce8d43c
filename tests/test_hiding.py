"""segframe.hiding: the tracker's secrets are on no disk, in no line, and there when they are needed."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_plugins.segframe_launcher.sweep import _hide_in
from segframe import SegframeError, hiding
from segframe.__main__ import main
from segframe.experiment import run_experiment
from segframe.hiding import from_environment, hidden_address, hide, with_secrets, without_secrets
from segframe.plugins import track_command

SECRET = "Geheim/47%C3%9F"
PLAIN = "Geheim/47ß"
URI = "http://anna:Geheim47%C3%9F@127.0.0.1:9"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """Neither from other tests nor for them."""
    monkeypatch.setattr(hiding, "_known", set())
    for name in [*hiding.VARIABLES, "SEGFRAME_TRACKER_URI", "SEGFRAME_TRACKER_API_KEY"]:
        monkeypatch.setenv(name, "")  # remembered, so that what a test sets is gone after it
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "address, hidden",
    [
        ("sqlite:///runs/mlflow.db", "sqlite:///runs/mlflow.db"),
        ("sqlite:////a:b@c/mlflow.db", "sqlite:////a:b@c/mlflow.db"),
        ("http://host:5000/path@x", "http://host:5000/path@x"),
        ("http://me:pass@host:5000", "http://me:***@host:5000"),
        ("https://token@host/x?a=b", "https://***@host/x?a=b"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql+psycopg2://me:a/b@c@host/db", "postgresql+psycopg2://me:***@host/db"),
        ("postgresql://host/db?user=me&password=x&sslmode=require", "postgresql://host/db?user=me&password=***&sslmode=require"),
        ("runs", "runs"),
    ],
)  # fmt: skip
def test_of_an_address_the_secret_is_hidden_and_nothing_else(address, hidden):
    assert hidden_address(address) == hidden
    assert hidden_address(hidden) == hidden


@pytest.mark.parametrize("section", [{"uri": f"postgresql://me:{SECRET}@host/db"}, {"api_key": SECRET}])
def test_what_a_config_hides_is_hidden_in_every_text_and_comes_back_from_the_environment(
    section, monkeypatch
):
    config = {"seed": 0, "tracker": {"name": "x", **section}}
    (key,) = section
    written = without_secrets(config)
    assert (
        SECRET not in json.dumps(written)
        and written["seed"] == 0
        and config["tracker"][key] in (section[key])
    )
    for text in (SECRET, PLAIN, f"OperationalError: no {SECRET} for {PLAIN}"):
        assert "Geheim" not in hide(text) and "***" in hide(text)
    with pytest.raises(SegframeError, match=rf"tracker\.{key}: expected .*SEGFRAME_TRACKER_{key.upper()}"):
        with_secrets(written)
    hiding.expose(config)
    assert with_secrets(written) == config == with_secrets(config)


def test_another_address_in_the_environment_is_not_taken(monkeypatch):
    written = without_secrets({"tracker": {"uri": f"postgresql://me:{SECRET}@host/db"}})
    monkeypatch.setenv("SEGFRAME_TRACKER_URI", f"postgresql://me:{SECRET}@elsewhere/db")
    with pytest.raises(SegframeError, match="got another address there") as refused:
        with_secrets(written)
    assert "Geheim" not in str(refused.value)


@pytest.mark.parametrize("name", hiding.VARIABLES)
def test_what_trackers_take_from_the_environment_is_hidden_too(name, monkeypatch):
    monkeypatch.setenv(name, "in-the-environment")
    assert hide("401 for in-the-environment") == "401 for ***"


def test_a_password_of_common_letters_spoils_no_text_but_is_hidden_in_addresses():
    without_secrets({"tracker": {"uri": "postgresql://a:a@host/data"}})
    assert hide("banana of postgresql://a:a@host/data") == "banana of postgresql://a:***@host/data"


@pytest.mark.parametrize("quotes", ["", "'", '"'])
def test_hydra_gets_the_name_of_a_variable_in_place_of_a_secret(quotes):
    words = [f"tracker.uri={quotes}{URI}{quotes}", "tracker.experiment=x", "seed=1,2"]
    assert from_environment(words) == ["tracker.uri='${oc.env:SEGFRAME_TRACKER_URI}'", *words[1:]]
    assert os.environ["SEGFRAME_TRACKER_URI"] == URI


def test_what_a_config_file_of_the_users_holds_does_not_stay_in_a_sweeps_folder(tmp_path):
    file = tmp_path / "multirun.yaml"
    file.write_text(f"tracker:\n  uri: {URI}\n  token: {SECRET}\nseed: 0\n")
    without_secrets({"tracker": {"uri": URI, "token": SECRET}})
    _hide_in(file)
    assert file.read_text() == ("tracker:\n  uri: http://anna:***@127.0.0.1:9\n  token: ***\nseed: 0\n")
    _hide_in(tmp_path / "not there.yaml")


def secret_in(folder):
    """Files that hold the secret in any form."""
    return [
        file
        for file in Path(folder).rglob("*")
        if file.is_file() and any(word in file.read_bytes() for word in (b"Geheim", b"token-of-mine"))
    ]


def test_a_run_leaves_no_secret_behind_resumes_and_is_handed_in_later(
    plugins, config, tmp_path, monkeypatch, empty_database, caplog
):
    """Nobody listens at the address. MLflow's own message has all of it, password included."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token-of-mine")
    tracker = {"name": "mlflow", "uri": URI, "experiment": "segframe", "log_model": True}
    given = config("train.epochs=1", f"run_dir='{tmp_path}/run'") | {"tracker": tracker}
    monkeypatch.setattr(sys, "argv", ["segframe", f"tracker.uri={URI}", "token-of-mine"])
    caplog.set_level(logging.INFO, "segframe")
    result = run_experiment(plugins, given)
    assert "Geheim" in caplog.text, "the line that the record has to hide"
    assert "http://anna:***@127.0.0.1:9" in (tmp_path / "run" / "run.log").read_text()
    assert "uri: http://anna:***@127.0.0.1:9" in (tmp_path / "run" / "config.yaml").read_text()
    assert (tmp_path / "run" / "model.weights.h5").exists() and not secret_in(tmp_path / "run")
    assert run_experiment(plugins, given) == result
    with pytest.raises(SegframeError, match="export SEGFRAME_TRACKER_URI="):
        track_command.run([str(tmp_path / "run")])
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    assert track_command.run([str(tmp_path / "run"), "--uri", f"sqlite:///{tmp_path}/mlflow.db"]) == 0
    assert not secret_in(tmp_path)


@pytest.mark.bundled
def test_the_command_line_shows_no_secret_whatever_goes_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    word = f"tracker.uri={URI}"
    for words, code in (
        ([word, "--cfg", "job"], 0),
        ([word, "model=nonsense"], 2),
        ([word, "--debug", "model.depth=-1"], 2),
        ([f"tracker.uri={URI.replace('http:', 'http')}"], 2),
    ):
        assert main(words) == code
        out, err = capsys.readouterr()
        assert "Geheim" not in out + err
    assert not secret_in(tmp_path)


@pytest.mark.bundled
@pytest.mark.slow
def test_a_sweep_leaves_no_secret_in_its_folder_and_its_jobs_get_it(tmp_path):
    for command in (["git", "init", "-q"], ["git", "add", "."]):
        (tmp_path / "notes.txt").write_text("x\n")
        subprocess.run(command, cwd=tmp_path, check=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, "commit", "-qm", "x"], cwd=tmp_path, check=True)
    (tmp_path / "notes.txt").write_text(f"{URI}\n")
    words = ["-m", "seed=0,1", f"tracker.uri={URI}", "train.epochs=1", "model.filters=2", "model.depth=1",
             "dataset.samples_train=4", "dataset.samples_val=2", "dataset.samples_test=2",
             "dataset.size=32"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "segframe", *words], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert "Geheim" not in done.stdout + done.stderr
    assert "http://anna:***@127.0.0.1:9" in done.stderr, "each job has tried its tracker"
    runs = sorted((tmp_path / "runs").glob("*/run.log"))
    assert len(runs) == 2 and all("anna:***@127.0.0.1" in log.read_text() for log in runs)
    assert json.loads((runs[0].parent / "record.json").read_text())["git"]["folder_diff"].endswith(
        "+http://anna:***@127.0.0.1:9\n"
    )
    assert len(list((tmp_path / "runs" / "sweeps").glob("*/job_?.yaml"))) == 2
    assert not secret_in(tmp_path / "runs")
