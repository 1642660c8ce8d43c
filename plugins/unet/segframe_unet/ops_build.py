"""The compiled operations of this machine: built once, tried, and kept in the user's cache folder.

CACHE/ops/KEY/operations.so     KEY: see compiler.Toolchain.key
              build.log     the compilers' commands and output
              facts.json    written last: what was built, or why not, and how the trial went
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from segframe import SegframeError, cache_folder
from segframe_unet.compiler import CompilerError, compile_op, toolchain

log = logging.getLogger("segframe.unet")
TRIAL_TIMEOUT_S = 300
NO_MEMORY = 75
"""The trial's exit code when memory ran out."""


@dataclass(frozen=True)
class Build:
    """What is known of the library.

    problem: why there is none, one line; "" if it is there and passed its trial.
    without_cuda: why it has no CUDA part; "" if it has one.
    ratios: {device: {dtype: {"concat" | "split": [(bytes, time of the op / time of TensorFlow's)]}}}.
    conv: {"code": for which instruction set, "same" | "double": [(shape, three such ratios)]} of conv_trial.
    sha256: of the library, so that a damaged one is never loaded.
    """

    problem: str = ""
    without_cuda: str = ""
    ratios: dict[str, Any] = field(default_factory=dict)
    conv: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    folder: Path | None = None  # where it lies; not among the facts, as a cache folder may move

    def library(self) -> Path:
        assert self.folder
        return self.folder / "operations.so"


@cache
def build() -> Build:
    """The library of this machine, built now if it is not there yet. Says a line when that takes time."""
    if os.environ.get("SEGFRAME_OPS") == "off":
        return Build(problem="SEGFRAME_OPS=off")
    return make(again=False)


@cache
def operations() -> Any:
    """The module with segframe_concat, segframe_split, segframe_conv and segframe_conv_filters.

    Raises:
        SegframeError: they are not there.
    """
    import tensorflow as tf

    found = build()
    if found.problem:
        raise SegframeError(
            "the compiled operations",
            expected="a library that is built and passed its trial",
            got=found.problem,
            remedy="See what the compiler says: python -m segframe ops build",
        )
    return tf.load_op_library(str(found.library()))


def preload() -> None:
    """Have them at hand, if they are there."""
    if not build().problem:
        operations()


def make(*, again: bool) -> Build:
    """Find the library in the cache, or build it there; `again` builds it in any case."""
    from filelock import FileLock

    tools = toolchain()
    if not tools.cxx and not again:
        return Build(problem="no C++ compiler is installed")
    try:
        folder = cache_folder() / "ops" / tools.key()
        found = None if again else _read(folder)
        if found is None:
            folder.parent.mkdir(exist_ok=True)
            lock = FileLock(f"{folder}.lock")  # whoever comes second finds it built
            try:
                lock.acquire()
            except NotImplementedError:
                log.warning("%s cannot lock files: another process may compile it too.", folder.parent)
            try:
                found = (None if again else _read(folder)) or _make(folder, tools)
            finally:
                lock.release()
        return found
    except SegframeError as error:
        return Build(problem=str(error).replace("\n", " "))
    except OSError as error:
        return Build(problem=f"{error.filename or 'cache folder'}: {error.strerror or error}")


def _read(folder: Path) -> Build | None:
    """What an earlier process built; None if nothing, or if it is not whole."""
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        found = Build(**facts, folder=folder)
        if not found.problem and _sha256(folder / "operations.so") != found.sha256:
            raise ValueError("the library is not the one that was built")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s is damaged (%s): building the operations again.", folder, error)
        return None


def _make(folder: Path, tools) -> Build:
    """Compile beside `folder` and try; the folder appears when all of it is there."""
    log.info(
        "Compiling segframe's operations for this TensorFlow, once on this machine (about half a minute) ..."
    )
    for left in folder.parent.glob(f"{folder.name}.*.tmp"):  # by a process that was killed; we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        facts: dict[str, Any] = {}
        try:
            facts["without_cuda"] = compile_op(temporary, tools) or ""
            facts |= _try(temporary, cuda=not facts["without_cuda"])
            facts["sha256"] = _sha256(temporary / "operations.so")
        except NoMemory as error:
            return Build(problem=str(error))  # not kept: the next process tries again
        except CompilerError as error:
            facts["problem"] = str(error)
        (temporary / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        return Build(**facts, folder=folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class NoMemory(Exception):
    """Another program has it."""


def _try(folder: Path, *, cuda: bool) -> dict[str, Any]:
    """What the trial measured; CompilerError if an operation is wrong, crashes or hangs."""
    result = folder / "trial.json"
    command = [sys.executable, "-m", "segframe_unet.ops_trial", str(folder / "operations.so"), str(result)]
    command += ["cuda"] if cuda else []
    try:
        process = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            timeout=TRIAL_TIMEOUT_S, text=True, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CompilerError(f"its trial took longer than {TRIAL_TIMEOUT_S} s") from None
    if process.returncode == NO_MEMORY:
        raise NoMemory("its trial found too little memory free on the GPU")
    if process.returncode:
        with (folder / "build.log").open("a", encoding="utf-8") as log_file:
            print("$", *command, file=log_file)
            print(process.stdout, file=log_file, end="")
        raise CompilerError(f"it failed its trial (exit code {process.returncode})")
    measured: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    result.unlink()
    return measured


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
