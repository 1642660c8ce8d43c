"""segframe_unet.ops_build and compiler: built once, kept whole, and never in the way."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from segframe import SegframeError
from segframe_unet import compiler, ops_build, ops_trial

WRITES_RUBBISH = 'while [ "$1" != -o ]; do shift; done; echo rubbish > "$2"'
NO_COMPILER = compiler.toolchain().cxx is None
needs_compiler = pytest.mark.skipif(NO_COMPILER, reason="no C++ compiler is installed")


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache folder; nothing remembered from before or for after."""

    def forget():
        for function in (compiler.toolchain, ops_build.build, ops_build.operations):
            function.cache_clear()

    monkeypatch.setenv("SEGFRAME_CACHE", str(tmp_path / "cäche with spaces"))
    monkeypatch.setenv("NVCC", "there-is-no-such-command")
    forget()
    yield tmp_path / "cäche with spaces" / "ops"
    forget()


@pytest.fixture
def fake_cxx(tmp_path, monkeypatch):
    """Write a compiler in a line of shell; each call adds a line to the file that is returned."""

    def write(line):
        calls, script = tmp_path / "calls", tmp_path / "cxx"
        script.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo fake 1.0 && exit\necho "$@" >> "{calls}"\n{line}\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("CXX", str(script))
        return calls

    return write


def folders(ops):
    return [path for path in ops.iterdir() if path.is_dir()]


def test_a_compiler_that_fails_is_asked_once_and_its_words_are_kept(fresh, fake_cxx):
    calls = fake_cxx("echo 'error: no such header' >&2; exit 1")
    first = ops_build.build()
    assert first.problem == "cxx ended with exit code 1"
    [folder] = folders(fresh)
    assert "error: no such header" in (folder / "build.log").read_text()
    asked = calls.read_text()
    ops_build.build.cache_clear()  # as another process would
    assert ops_build.build() == first and calls.read_text() == asked
    with pytest.raises(SegframeError, match="(?s)exit code 1.*segframe ops build"):
        ops_build.operations()


def test_a_library_that_cannot_be_loaded_fails_its_trial(fresh, fake_cxx):
    fake_cxx(WRITES_RUBBISH)
    assert ops_build.build().problem.startswith("it failed its trial (exit code")
    [folder] = folders(fresh)
    assert "ops_trial" in (folder / "build.log").read_text()


def test_a_trial_without_memory_is_tried_again_by_the_next_process(fresh, fake_cxx, tmp_path, monkeypatch):
    fake_cxx(WRITES_RUBBISH)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexit {ops_build.NO_MEMORY}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert ops_build.build().problem == "its trial found too little memory free on the GPU"
    assert not folders(fresh)


class WrongPlace:
    """An op that puts the parts the other way round."""

    def segframe_concat(self, parts, data_format):
        return tf.concat(parts[::-1], 3 if data_format == "NHWC" else 1)

    def segframe_split(self, whole, sizes, N, data_format):
        return tf.split(whole, sizes, 3 if data_format == "NHWC" else 1)


def test_an_op_that_is_wrong_fails_its_trial():
    with pytest.raises(ops_trial.WrongError, match="float32 NHWC"):
        ops_trial.check(WrongPlace())


def test_a_file_system_without_locks_is_enough_and_is_said(fresh, fake_cxx, monkeypatch, caplog):
    def refuse(self, *_, **__):
        raise NotImplementedError("this file system does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    fake_cxx("exit 1")
    assert ops_build.build().problem == "cxx ended with exit code 1"
    assert "cannot lock files" in caplog.text and len(folders(fresh)) == 1


def test_another_compiler_is_another_key(fresh, fake_cxx):
    fake_cxx("exit 1")
    one = compiler.toolchain().key()
    compiler.toolchain.cache_clear()
    fake_cxx("exit 1 # another").parent.joinpath("cxx").write_text("#!/bin/sh\necho fake 2.0")
    assert compiler.toolchain().key() != one


def test_another_source_is_another_key(fresh, tmp_path, monkeypatch):
    one = compiler.toolchain().key()
    copy = shutil.copytree(compiler.SOURCES, tmp_path / "cc")
    monkeypatch.setattr(compiler, "SOURCES", copy)
    assert compiler.toolchain().key() == one
    (copy / "concat.h").open("a").write("// changed\n")
    assert compiler.toolchain().key() != one


def test_without_a_compiler_nothing_is_written(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", "")
    assert ops_build.build().problem == "no C++ compiler is installed"
    assert not fresh.exists()


def test_it_can_be_switched_off(fresh, monkeypatch):
    monkeypatch.setenv("SEGFRAME_OPS", "off")
    assert ops_build.build().problem == "SEGFRAME_OPS=off" and not fresh.exists()


def test_a_cache_folder_that_cannot_be_made_is_a_problem_in_words(tmp_path, monkeypatch, fresh):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGFRAME_CACHE", str(tmp_path / "file"))
    if NO_COMPILER:
        pytest.skip("no C++ compiler is installed")
    assert "cache folder" in ops_build.build().problem
    assert "\n" not in ops_build.build().problem


@needs_compiler
@pytest.mark.parametrize("harm", ["library", "facts"])
def test_a_damaged_op_is_built_again(fresh, fake_cxx, caplog, harm):
    good = ops_build  # the session's own op, copied, stands for one that was built earlier
    calls = fake_cxx("exit 1")
    folder = fresh / compiler.toolchain().key()
    folder.mkdir(parents=True)
    (folder / "operations.so").write_bytes(b"whole")
    facts = {"sha256": good._sha256(folder / "operations.so"), "ratios": {}}
    (folder / "facts.json").write_text(json.dumps(facts))
    assert not good.build().problem and not calls.exists()
    good.build.cache_clear()
    if harm == "library":
        (folder / "operations.so").write_bytes(b"whol")
    else:
        (folder / "facts.json").write_text('{"sha256": ')
    with caplog.at_level("WARNING"):
        assert good.build().problem == "cxx ended with exit code 1"
    assert "damaged" in caplog.text and calls.exists()


def test_what_a_killed_build_left_is_cleared_away(fresh, fake_cxx):
    fake_cxx("exit 1")
    left = fresh / f"{compiler.toolchain().key()}.abc.tmp"
    left.mkdir(parents=True)
    ops_build.build()
    assert not left.exists() and len(folders(fresh)) == 1


@needs_compiler
@pytest.mark.slow
def test_processes_that_start_together_build_it_once(fresh, fake_cxx):
    real = shutil.which("g++") or shutil.which("c++")
    calls = fake_cxx(f'exec "{real}" "$@"')
    words = "from segframe_unet import ops_build as c; b = c.build(); print(b.problem or b.sha256)"
    command = [sys.executable, "-c", words]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = {process.communicate()[0] for process in started}
    assert len(told) == 1 and len(told.pop().strip()) == 64
    assert sum("concat_op.cc" in line for line in calls.read_text().splitlines()) == 1


@needs_compiler
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not installed")
def test_a_cuda_part_that_does_not_compile_leaves_the_cpu_part(fresh, tmp_path, monkeypatch):
    script = tmp_path / "nvcc"
    script.write_text("#!/bin/sh\n[ $1 = --version ] && echo fake release 1.0 && exit\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setenv("NVCC", str(script))
    built = ops_build.build()
    assert not built.problem and built.without_cuda == "nvcc ended with exit code 3"
    assert list(built.ratios) == ["CPU"]


@needs_compiler
def test_the_command_says_what_is_in_use():
    told = subprocess.run(
        [sys.executable, "-m", "segframe", "ops"], capture_output=True, text=True, env=os.environ
    )
    assert told.returncode == 0, told.stderr
    for words in ("self-test: passed", "CUDA part: ", "float32", "transposed convolution: ", "TensorFlow's."):
        assert words in told.stdout
    assert "oneDNN" not in told.stderr


def test_the_command_shows_the_compilers_words(fresh, fake_cxx):
    fake_cxx("echo 'error: no such header' >&2; exit 1")
    told = subprocess.run(
        [sys.executable, "-m", "segframe", "ops", "build"], capture_output=True, text=True, env=os.environ
    )
    assert told.returncode == 1, told.stderr
    assert "error: no such header" in told.stdout and "exit code 1" in told.stdout
