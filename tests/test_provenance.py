"""segframe.provenance: commit and changes of a repository, versions, the machine."""

import json
import platform
import shutil
import subprocess
from importlib.metadata import version

import pytest

from segframe.manager import plugin_manager
from segframe.provenance import ENVIRONMENT, environment, git, machine, versions


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit, whatever the machine's git is set to."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    folder = tmp_path / "mein Projekt"
    folder.mkdir()
    (folder / "net.py").write_text("depth = 4  # Tiefe ß\n", encoding="utf-8")
    run = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*run, *words], check=True)
    head = subprocess.run([*run, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return folder, head.stdout.strip()


def test_a_clean_repository_has_a_commit_and_no_changes(repository):
    folder, head = repository
    assert git(folder) == (head, "")
    (folder / "below").mkdir()
    assert git(folder / "below") == (head, "")


def test_uncommitted_changes_are_kept_as_a_diff_that_applies(repository):
    folder, head = repository
    (folder / "net.py").write_text("depth = 5  # Tiefe ß\n", encoding="utf-8")
    commit, diff = git(folder)
    assert commit == head
    assert "-depth = 4  # Tiefe ß" in diff and "+depth = 5  # Tiefe ß" in diff
    subprocess.run(["git", "-C", str(folder), "checkout", "-q", "."], check=True)
    subprocess.run(["git", "-C", str(folder), "apply"], input=diff, text=True, check=True)
    assert "depth = 5" in (folder / "net.py").read_text(encoding="utf-8")


def test_changes_that_are_staged_count_too(repository):
    folder, _ = repository
    (folder / "new.py").write_text("x = 1\n")
    subprocess.run(["git", "-C", str(folder), "add", "new.py"], check=True)
    assert "+x = 1" in git(folder)[1]


def test_new_python_files_are_among_the_changes_and_others_are_not(repository):
    folder, _ = repository
    (folder / "below").mkdir()
    (folder / "below/new ö.py").write_text("x = 'ß'\n", encoding="utf-8")
    (folder / "large.py").write_text("#" * 300_000)
    (folder / "secret.txt").write_text("password\n")
    (folder / ".gitignore").write_text("ignored.py\n")
    (folder / "ignored.py").write_text("y = 1\n")
    _, diff = git(folder / "below")
    assert "+x = 'ß'" in diff and "1 more untracked Python files" in diff
    assert "password" not in diff and "+y = 1" not in diff
    (folder / "below/new ö.py").unlink()
    subprocess.run(["git", "-C", str(folder), "apply"], input=diff, text=True, check=True)
    assert (folder / "below/new ö.py").read_text(encoding="utf-8") == "x = 'ß'\n"


def test_the_environment_is_what_chooses_kernels_and_nothing_else(monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    assert environment() == {"TF_ENABLE_ONEDNN_OPTS": "0"}


def test_outside_of_a_repository_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git(tmp_path) == (None, "")
    assert git(tmp_path / "not there") == (None, "")


def test_without_git_there_is_none(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git(repository[0]) == (None, "")


@pytest.mark.bundled
def test_versions_name_what_a_result_depends_on():
    plugins = plugin_manager()
    found = versions(plugins)
    assert found["python"] == platform.python_version()
    assert found["keras"] == version("keras") and found["segframe"] == version("segframe")
    for name, distribution in plugins.distributions.items():
        assert found[f"plugin {name}"] == distribution
    assert plugins.distributions


def test_the_machine_can_be_written_as_json():
    found = machine()
    assert json.loads(json.dumps(found)) == found
    assert isinstance(found["cpu"], str)
    assert found["memory_gib"] > 0 and isinstance(found["gpus"], list)
