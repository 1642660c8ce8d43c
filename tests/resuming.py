"""A run that is stopped, started again and compared with one that was not."""

import os
import signal
from pathlib import Path

import pytest

from segframe import checkpoint, hookimpl
from segframe.experiment import run_experiment
from segframe.interrupt import Interrupted
from segframe.record import Record

TIMINGS = ("images_per_second", "data_wait", "train_seconds")


def fingerprint(out_dir):
    """Everything that a run ends with, timings apart."""
    arrays, state = checkpoint.load(Path(out_dir) / "checkpoint.h5")
    bits = {kind: [value.tobytes() for value in values] for kind, values in arrays.items()}
    history = [{key: v for key, v in entry.items() if key not in TIMINGS} for entry in state["history"]]
    result = {**Record(Path(out_dir)).read("result.json"), "out_dir": ""}
    weights = (Path(out_dir) / "model.weights.h5").read_bytes()
    return bits, history, result, len(weights)


class StopAt:
    """Sends this process a signal after a step."""

    def __init__(self, step, number):
        self.step, self.number = step, number

    @hookimpl
    def segframe_callbacks(self, run):
        return [self]

    def on_step(self, step, logs):
        if step == self.step:
            os.kill(os.getpid(), self.number)


def check_stopped_at(step, plugins, made, whole_in):
    """Stopped after this step and started again it ends bit for bit as undisturbed."""
    whole = run_experiment(plugins, made | {"runs_dir": str(whole_in)})
    stopper = StopAt(step, signal.SIGTERM)
    plugins.register(stopper)
    with pytest.raises(Interrupted):
        run_experiment(plugins, made)
    plugins.unregister(stopper)
    again = run_experiment(plugins, made)
    assert fingerprint(again.out_dir) == fingerprint(whole.out_dir)
