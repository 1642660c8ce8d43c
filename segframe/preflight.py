"""A few steps of each of some configs, before hours are spent: python -m segframe.preflight CONFIGS RESULTS.

TensorFlow is imported once; each config then has a forked process of its own (a new one where there is no
fork), so that one that takes all memory or crashes is one result among others.
"""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segframe.atomic import write_json
from segframe.console import set_up_console
from segframe.errors import SegframeError
from segframe.manager import Plugins, plugin_manager
from segframe.out_of_memory import told_of_a_run

log = logging.getLogger("segframe")

STEPS = 3
"""Weight updates that are tried: the first one compiles, the fastest other one is the time of a step."""


class PreflightOnly(Exception):
    """sweep.preflight=only: it is done, and nothing else was asked for."""


def try_out(plugins: Plugins, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Put a run together as it will be, and take some of its steps on its own batches; imports TensorFlow.

    Args:
        folder: an empty one, for what parts of a run write; nothing in it is a run.

    Returns:
        JSON: seconds of "building", the "first_step", a later "step", the "first_evaluation" of a batch (by
        tiles, and of one image, in a run on patches) and a later "evaluation", of one image; where batch
        normalisation's statistics are taken anew, the "first_statistics" of a batch and later "statistics";
        the "batch" (images, height, width, channels); "parameters"; "gpu_memory_mib", TensorFlow's peak, or
        None.

    Raises:
        Exception: whatever would stop the run.
    """
    import tensorflow as tf

    from segframe.assemble import put_together
    from segframe.batch import target_of
    from segframe.catalog import build
    from segframe.folds import seen_as_fold
    from segframe.interrupt import Interrupt
    from segframe.record import Record
    from segframe.split import parts
    from segframe.tracking import Telling

    start = time.perf_counter()
    dataset = seen_as_fold(build(plugins, "dataset", config["dataset"]), config)
    record = Record(folder)
    record.write("record.json", {})
    told = Telling(build(plugins, "tracker", {"name": "none"}), record, None)
    run = put_together(plugins, config, record, dataset, parts(dataset, config["split"]), told, Interrupt())
    batches = (
        run.pipeline.full_batches(0) if config["train"]["steps_per_epoch"] else run.pipeline.stream(0, 0)
    )
    batch = next(batches)
    found: dict[str, Any] = {
        "batch": [int(size) for size in batch["image"].shape],
        "parameters": int(run.model.count_params()),
        "building": time.perf_counter() - start,
    }

    def train() -> None:
        loss, _ = run.metrics.steps.train(batch["image"], target_of(batch))
        if not math.isfinite(float(loss)):
            raise SegframeError(
                "the first steps",
                expected="a finite loss",
                got=f"{float(loss):g}",
                remedy="Lower optimizer.learning_rate, set optimizer.clip_norm=1.0 or look at the data.",
            )

    found["first_step"], found["step"] = _timed(train, STEPS)
    statistics = run.metrics.steps.norm_statistics
    if statistics:

        def recompute() -> None:
            statistics.recompute([batch["image"]])

        found["first_statistics"], found["statistics"] = _timed(recompute, 2)
    part = next((name for name in ("val", "test") if name in run.pipeline.parts), None)
    if part is not None:
        images = 1 if run.pipeline.patches else config["train"]["batch_size"]
        positions = range(min(images, len(run.pipeline.parts[part].ids)))
        found["first_evaluation"], seconds = _timed(lambda: run.metrics.predict(part, positions), 2)
        found["evaluation"] = seconds / len(positions)
    gpus = tf.config.list_logical_devices("GPU")
    peaks = [
        tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:"))["peak"] for gpu in gpus
    ]
    found["gpu_memory_mib"] = round(max(peaks) / 2**20) if peaks else None
    return found


def _timed(what: Any, times: int) -> tuple[float, float]:
    """Seconds of the first call, and of the fastest of the others."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        what()
        seconds.append(time.perf_counter() - start)
    return seconds[0], min(seconds[1:])


def _one(config: Mapping[str, Any], file: Path, imported_mib: float) -> None:
    """Try a config and leave what was found, or {"error": ...}, in a file."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    before = _peak_mib()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = try_out(plugin_manager(), config, Path(folder))
        # A forked process counts what it touches of its parent's pages: TensorFlow's are added here.
        found["memory_mib"] = round(_peak_mib() - before + max(before, imported_mib))
    except SegframeError as error:
        found = {"error": str(error)}
    except Exception as error:
        found = {"error": told_of_a_run(error)[:2000]}
    write_json(file, found)


def _peak_mib() -> float:
    """The most memory that this process has had so far."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss, per MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(configs_file: str, results_file: str) -> int:
    """Try each config of a JSON list; the results so far are in the other file after each."""
    from segframe.quiet import import_tensorflow

    set_up_console()
    log.setLevel(logging.WARNING)
    # The processes of this one end with it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    start = time.perf_counter()
    import_tensorflow()
    import segframe.assemble
    import segframe.evaluator  # noqa: F401
    import segframe.pipeline  # noqa: F401

    importing, imported = time.perf_counter() - start, _peak_mib()
    forks = sys.platform == "linux"
    context: Any = multiprocessing.get_context("fork" if forks else "spawn")
    results: list[dict[str, Any]] = []
    for config in json.loads(Path(configs_file).read_text()):
        file = Path(f"{results_file}.one")
        file.unlink(missing_ok=True)
        process = context.Process(target=_one, args=(config, file, imported if forks else 0.0), daemon=True)
        process.start()
        process.join()
        if file.exists():
            found = json.loads(file.read_text())
        elif process.exitcode == -signal.SIGKILL:
            found = {"error": "ended by SIGKILL, as the system does when no memory is left"}
        else:
            found = {"error": f"the process ended with {process.exitcode} and left nothing"}
        results.append({**found, "importing": importing})
        write_json(Path(results_file), results)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
