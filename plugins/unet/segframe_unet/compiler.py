"""Compiles the operations in cc/ for the TensorFlow that is installed."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).with_name("cc")
TIMEOUT_S = 900


class CompilerError(Exception):
    """One line that says what failed; the compilers' own words are in the log."""


@dataclass(frozen=True)
class Toolchain:
    """What compiles, and for what; None where it is not there.

    cxx, nvcc: command and its version. cuda_arch: an H100's is "90"; "" takes code that newer GPUs translate.
    """

    cxx: tuple[str, str] | None
    nvcc: tuple[str, str] | None
    cuda_arch: str

    def key(self) -> str:
        """Of the built op: another TensorFlow, ABI, source, compiler or GPU makes another one."""
        import tensorflow as tf

        parts = [tf.version.VERSION, tf.version.GIT_VERSION, *tf.sysconfig.get_compile_flags()[1:]]
        parts += [repr((self.cxx, self.nvcc, self.cuda_arch))]
        parts += [file.name + file.read_text(encoding="utf-8") for file in sorted(SOURCES.iterdir())]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@cache
def toolchain() -> Toolchain:
    """The compilers of this machine: $CXX, g++, c++ or clang++; $NVCC, nvcc or /usr/local/cuda/bin/nvcc."""
    import tensorflow as tf

    arch = ""
    for gpu in tf.config.list_physical_devices("GPU"):
        capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
        arch = arch or "".join(map(str, capability or ""))
    cxx = _first(os.environ.get("CXX"), "g++", "c++", "clang++")
    return Toolchain(cxx, _first(os.environ.get("NVCC"), "nvcc", "/usr/local/cuda/bin/nvcc"), arch)


def compile_op(folder: Path, tools: Toolchain) -> str | None:
    """Write folder/operations.so and folder/build.log.

    Returns:
        None, or one line that says why the op has no CUDA part.

    Raises:
        CompilerError: there is no compiler, or it failed.
    """
    log = folder / "build.log"
    log.write_text("", encoding="utf-8")
    if not tools.cxx:
        raise CompilerError("no C++ compiler is installed (g++, c++ or clang++; CXX names another one)")
    without_cuda = None if tools.nvcc else "nvcc is not installed"
    if tools.nvcc:
        try:
            _compile(folder, tools, log, cuda=True)
            return None
        except CompilerError as error:
            without_cuda = str(error)
    _compile(folder, tools, log, cuda=False)
    return without_cuda


def _compile(folder: Path, tools: Toolchain, log: Path, *, cuda: bool) -> None:
    import tensorflow as tf

    cxx = [tools.cxx[0], "-fPIC"]
    # TensorFlow's headers warn by the page; as system headers they are quiet.
    flags = [flag.replace("-I", "-isystem", 1) for flag in tf.sysconfig.get_compile_flags()]
    own = [*cxx, "-O3", "-std=c++17", "-Wall", "-Wno-sign-compare", "-Wno-deprecated-declarations"]
    parts = {  # the slowest first
        "concat_op": ["concat_op.cc", *flags, *["-DSEGFRAME_CUDA"][:cuda]],
        "conv_op": ["conv_op.cc", *flags],
        "concat_cpu": ["concat_cpu.cc"],
        **{
            f"conv_{isa}": ["conv_cpu.cc", f"-DSEGFRAME_ISA={isa}", *more] for isa, more in instruction_sets()
        },
    }
    commands = [
        [*own, "-c", str(SOURCES / source), *more, "-o", str(folder / f"{name}.o")]
        for name, (source, *more) in parts.items()
    ]
    objects = [command[-1] for command in commands]
    if cuda:
        objects.append(str(folder / "concat_cuda.o"))
    link = [*cxx, "-shared", *objects, "-o", str(folder / "operations.so"), *tf.sysconfig.get_link_flags()]
    if cuda:
        arch = tools.cuda_arch
        code = f"arch=compute_{arch},code=sm_{arch}" if arch else "arch=compute_80,code=compute_80"
        nvcc = [tools.nvcc[0], "-std=c++17", "-ccbin", tools.cxx[0], "-Xcompiler", "-fPIC"]
        source = str(SOURCES / "concat_cuda.cu")
        commands.append([*nvcc, "-O3", f"-gencode={code}", "-c", source, "-o", objects[-1]])
        link = [*nvcc, "-shared", "--cudart=static", *link[link.index("-shared") + 1 :]]
    _run(commands, log)  # side by side
    _run([link], log)
    for name in objects:
        os.unlink(name)


def instruction_sets() -> list[tuple[str, list[str]]]:
    """All that this kind of processor may have, with the compiler's options; the library chooses at run time.

    One built for this very processor would crash on another that shares the cache folder.
    """
    sets: list[tuple[str, list[str]]] = [("Base", [])]
    if platform.machine() in ("x86_64", "AMD64"):
        sets += [("Avx2", ["-mavx2", "-mfma"]), ("Avx512", ["-mavx512f", "-mavx512vl", "-mfma"])]
    return sets


def _run(commands: list[list[str]], log: Path) -> None:
    """Run them side by side; their output goes to the log.

    They get a session of their own: a Ctrl-C is the run's, and must not look like a failed compilation.
    """
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True}
    failed = None
    started = []
    try:
        for command in commands:
            started.append(subprocess.Popen(command, text=True, errors="replace", **options))
        for command, process in zip(commands, started, strict=True):
            output, _ = process.communicate(timeout=TIMEOUT_S)
            with log.open("a", encoding="utf-8") as file:
                print("$", *command, file=file)
                print(output, file=file, end="")
            if process.returncode:
                failed = failed or f"{Path(command[0]).name} ended with exit code {process.returncode}"
    except subprocess.TimeoutExpired:
        failed = f"the compilation took longer than {TIMEOUT_S} s"
    except OSError as error:
        failed = f"{commands[len(started)][0]}: {error.strerror}"
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
    if failed:
        raise CompilerError(failed)


def _first(*names: str | None) -> tuple[str, str] | None:
    """(path, version) of the first command that is there and runs."""
    for name in names:
        path = shutil.which(name) if name else None
        if path:
            told = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace")
            if told.returncode == 0:
                lines = told.stdout.splitlines()  # nvcc says its version in the one before the last
                return path, next((line for line in lines if " release " in line), lines[0])
    return None
