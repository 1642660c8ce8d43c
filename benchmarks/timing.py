"""What the benchmarks share: things timed by turns, ratios with their quartiles, and the result's file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import tensorflow as tf

from segframe import __version__
from segframe.gpus import visible_gpus

GPU = bool(tf.config.list_physical_devices("GPU"))


def by_turns(functions: dict, rounds: int, calls: int = 1) -> dict[str, list[float]]:
    """Seconds of a call of each function in each round; two rounds before do not count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 2):
        for name, function in functions.items():
            tf.test.experimental.sync_devices()
            start = time.perf_counter()
            for _ in range(calls):
                function()
            tf.test.experimental.sync_devices()
            times[name].append((time.perf_counter() - start) / calls)
    return {name: each[2:] for name, each in times.items()}


def over(times: dict[str, list[float]], one: str, other: str) -> list[float]:
    """[lower quartile, median, upper quartile] of one / other, round by round."""
    by_round = [a / b for a, b in zip(times[one], times[other], strict=True)]
    return [round(quartile, 3) for quartile in statistics.quantiles(by_round)]


def share_gpus() -> None:
    """Leave half of the memory to other programs: to a trial in a process of its own, to PyTorch.

    Memory that grows as it is needed would not do: XLA tries kernels with all that there is, and keeps it.
    """
    smallest = min((gpu.memory_mib for gpu in visible_gpus()), default=0)
    for gpu in tf.config.list_physical_devices("GPU"):
        half = tf.config.LogicalDeviceConfiguration(memory_limit=smallest // 2)
        tf.config.set_logical_device_configuration(gpu, [half])


def write(
    out: Path | None,
    rows: list[dict],
    what: str = "quartiles of the ratio over the rounds: lower, median, upper",
) -> None:
    """The rows with device, versions and command, as JSON."""
    device = f"CPU, {len(os.sched_getaffinity(0))} threads"
    if GPU:
        gpu = tf.config.list_physical_devices("GPU")[0]
        device = tf.config.experimental.get_device_details(gpu)["device_name"]
    report = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "device": device,
        "versions": {
            "segframe": __version__,
            "tensorflow": tf.__version__,
            "python": platform.python_version(),
        },
        "what": what,
        "rows": rows,
    }
    if out:
        out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
