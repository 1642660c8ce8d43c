"""The package is found wherever a command is run; what the build backend adds for that."""

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def beside_a_clone(tmp_path):
    """A working directory with a folder of the package's name, as the one that holds a clone of segframe."""
    for name in ("segframe/segframe/plugins", "segframe/plugins/unet/segframe_unet", "segframe/conf"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def run(folder, *words):
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_run_beside_a_folder_called_segframe(beside_a_clone):
    assert "segframe.plugins.hdf5" in run(beside_a_clone, "-m", "segframe", "plugins")
    assert "learning_rate" in run(beside_a_clone, "-m", "segframe", "--cfg", "job")


def test_python_imports_the_package_beside_a_folder_called_segframe(beside_a_clone):
    said = run(
        beside_a_clone, "-c", "import segframe, segframe.conf; print(segframe.__file__, segframe.load_model)"
    )
    assert str(beside_a_clone) not in said


def test_a_package_of_the_name_in_the_working_directory_is_taken_as_ever(tmp_path):
    (tmp_path / "segframe").mkdir()
    (tmp_path / "segframe/__init__.py").write_text("mine = 1\n")
    assert run(tmp_path, "-c", "import segframe; print(segframe.mine)") == "1\n"


def test_nothing_else_of_the_clone_can_be_imported(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/mine.py").write_text("")
    run(tmp_path, "-c", "import conf.mine")
    code = (
        "import importlib.util as u; print([u.find_spec(name) for name in ('tests', 'conftest', 'plugins')])"
    )
    assert run(tmp_path, "-c", code) == "[None, None, None]\n"


def test_the_editable_wheel_is_whole(tmp_path):
    """Every file of the wheel is in its RECORD with its hash, and the clone's folder is in one of them."""
    code = "import editable_backend, sys; print(editable_backend.build_editable(sys.argv[1]))"
    source = tmp_path / "a clone ü"
    (source / "segframe").mkdir(parents=True)
    (source / "segframe/__init__.py").write_text("")
    (source / "pyproject.toml").write_text('[project]\nname = "segframe"\nversion = "0"\n')
    (source / "editable_backend.py").write_text((ROOT / "editable_backend.py").read_text())
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=source, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    assert str(source / "segframe/__init__.py") in files["__editable___segframe_clone.py"].decode()
    (record,) = (text.decode() for name, text in files.items() if name.endswith(".dist-info/RECORD"))
    rows = dict(line.split(",", 1) for line in record.splitlines())
    assert rows.keys() == files.keys()
    for name, row in rows.items():
        if not name.endswith("RECORD"):
            digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
            assert row == f"sha256={digest},{len(files[name])}"
