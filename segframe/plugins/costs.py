"""What a run costs: operations, time of a step, memory, energy; in RUN_DIR/costs.json, for `compare`.

    parameters             numbers that are trained or kept with the weights
    flops                  of the prediction of one image (flops.py), null where they cannot be counted
    flops_image_shape      (height, width, channels) of that image: the data's largest, padded for the network
    step_ms                median time from one training step to the next, data included, without the first;
                           an epoch of one or two steps counts with its mean
    steps_timed            over how many such times
    memory_mib             most that the process has held in main memory (resident set)
    gpu_memory_mib         most that TensorFlow has used of the GPU's
    energy_j, energy_of    Joules of the training, validation included, and the device that tells (energy.py)
    absent                 {key: why it is not there}

Times, memory and energy are of the training: the last process's where a run was resumed, but for the energy,
which is the sum.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from segframe.hooks import hookimpl
from segframe.plugins.energy import energy_meter
from segframe.record import Record

if TYPE_CHECKING:
    from segframe.experiment import Run, RunResult

FILE = "costs.json"
COLD_STEPS = 2
"""Steps that are not timed after each start: they wait for compilation and for the first batches."""
ENERGY_EVERY_S = 60.0


@hookimpl
def segframe_callbacks(run: Run) -> list[Any]:
    return [Costs(run)]


@hookimpl(wrapper=True)
def segframe_fit(run: Run) -> Generator[None, RunResult, RunResult]:
    result = yield
    from segframe.outputs import predictor
    from segframe.plugins.flops import forward_flops

    record = Record(run.out_dir)
    costs = record.read(FILE) or {"absent": {}}  # a plugin that trains in its own way may call no callbacks
    shape = (*run.pipeline.full_size, run.dataset.image_shape[2])
    costs |= {"flops": None, "flops_image_shape": list(shape)}
    try:
        costs["flops"] = forward_flops(predictor(run.model), shape)
    except Exception as error:  # an operation of a stranger's network that the profiler chokes on
        costs["absent"]["flops"] = f"{type(error).__name__}: {error}"
    record.write(FILE, costs)
    return result


class Costs:
    """Measures a training, and writes what it came to, however it ends."""

    def __init__(self, run: Run):
        import tensorflow as tf

        self.record, self.parameters = Record(run.out_dir), int(run.model.count_params())
        self.gpu = bool(tf.config.list_physical_devices("GPU"))
        if self.gpu:
            tf.config.experimental.reset_memory_stats("GPU:0")
        self.meter = energy_meter(self.gpu)
        self.joules_before = 0.0
        self.steps = 0
        self.intervals: list[float] = []
        self.of_epoch: list[float] = []
        self.last: float | None = None
        self.epoch_began: int | None = None
        self.metered = time.perf_counter()

    def on_step(self, step: int, logs: dict[str, Any]) -> None:
        now = time.perf_counter()
        self.steps += 1
        if self.last is not None and self.steps > COLD_STEPS:
            self.of_epoch.append(now - self.last)
        self.last = now
        if now - self.metered > ENERGY_EVERY_S:
            self.metered = now
            self.meter.joules()

    def on_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        # An epoch's last step is told when its loss is read, right behind the one before where steps end in
        # turn (on a CPU): the last interval is none.
        if len(self.of_epoch) > 1:
            self.intervals += self.of_epoch[:-1]
        elif self.epoch_began is not None:
            self.intervals.append(logs["train_seconds"] / (logs["step"] - self.epoch_began))
        self.of_epoch, self.epoch_began = [], logs["step"]
        self.last = None  # what comes between is validation
        self.meter.joules()

    def state(self) -> dict[str, Any]:
        return {"joules": self._joules()}

    def restore(self, state: dict[str, Any]) -> None:
        self.joules_before = state["joules"] or 0.0

    def close(self) -> None:
        absent = {}
        if not self.intervals:
            absent["step_ms"] = f"{self.steps} steps, none of them warm and timed"
        if self.meter.absent:
            absent["energy_j"] = self.meter.absent
        if not self.gpu:
            absent["gpu_memory_mib"] = "no GPU"
        self.record.write(
            FILE,
            {
                "parameters": self.parameters,
                "step_ms": 1000 * statistics.median(self.intervals) if self.intervals else None,
                "steps_timed": len(self.intervals),
                "memory_mib": _peak_memory() / 2**20,
                "gpu_memory_mib": self._peak_gpu_memory() / 2**20 if self.gpu else None,
                "energy_j": self._joules(),
                "energy_of": self.meter.devices,
                "absent": absent,
            },
        )

    def _joules(self) -> float | None:
        joules = self.meter.joules()
        return None if joules is None else joules + self.joules_before

    def _peak_gpu_memory(self) -> int:
        import tensorflow as tf

        return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def _peak_memory() -> int:
    """Bytes: the largest resident set that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
