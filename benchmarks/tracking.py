"""What tracking costs a run: how long the training waits for MLflow, and what processor time MLflow takes.

The same run three times in one process, MLflow on SQLite: told by the training thread itself (`in turn`, as
with mlflow.log_metrics), told by the thread that segframe has for it (`outbox`), and so with a store that
takes two seconds more for each call (`late`). Time counts from the first step, without start-up.

    python benchmarks/tracking.py [--out benchmarks/results/tracking_cpu.json] [key=value ...]

    waits       share of the training in which it waits for the tracker
    processor   processor time of telling during the training, over the training's time
    whole       time from the first step to the end in which the run waits for the tracker, files and model
                handed in, over all of that time
    deliveries  calls for the epochs

Goal: waits and processor at most 0.01. The last lines are the rows of the JSON that is written.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import timing

from segframe import hookimpl
from segframe.console import set_up_console
from segframe.experiment import run_experiment
from segframe.manager import plugin_manager
from segframe.outbox import Outbox
from segframe.plugins.mlflow_run import MlflowRun
from segframe.tracking import Telling


class Watch:
    """A plugin that knows when the training is, and what telling costs meanwhile and after."""

    def __init__(self):
        self.training = False
        self.waited = {"training": 0.0, "end": 0.0}
        self.processor, self.deliveries = 0.0, 0

    @hookimpl(wrapper=True, tryfirst=True)
    def segframe_fit(self, run):
        self.begin, self.training = time.perf_counter(), True
        result = yield
        self.training, self.trained = False, time.perf_counter()
        return result

    def waiting(self, method):
        def timed(*arguments):
            start = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                if hasattr(self, "begin"):
                    self.waited["training" if self.training else "end"] += time.perf_counter() - start

        return timed

    def working(self, method):
        def timed(*arguments):
            start, training = time.thread_time(), self.training
            try:
                return method(*arguments)
            finally:
                self.processor += (time.thread_time() - start) * training

        return timed


def measure(config: dict, *, in_turn: bool = False, late_s: float = 0.0) -> dict:
    """One run; what is patched for it is put back."""
    watch, plugins = Watch(), plugin_manager()
    plugins.register(watch, name="watch")
    kept = {(cls, name): getattr(cls, name) for cls, name in (
        (Telling, "epoch"), (Telling, "result"), (Telling, "close"), (Telling, "_deliver"),
        (Outbox, "post"), (MlflowRun, "epochs"),
    )}  # fmt: skip

    def epochs(run, scores):
        watch.deliveries += watch.training
        time.sleep(late_s)
        kept[MlflowRun, "epochs"](run, scores)

    try:
        for name in ("epoch", "result", "close"):
            setattr(Telling, name, watch.waiting(kept[Telling, name]))
        Telling._deliver = watch.working(kept[Telling, "_deliver"])
        MlflowRun.epochs = epochs
        if in_turn:
            Outbox.post = lambda box, message: box._deliver([message])
        with tempfile.TemporaryDirectory() as folder:
            uri = f"sqlite:///{folder}/mlflow.db"
            section = {**config["tracker"], "name": "mlflow", "uri": uri}
            run_experiment(plugins, config | {"tracker": section, "runs_dir": f"{folder}/runs"})
        end = time.perf_counter()
    finally:
        for (cls, name), method in kept.items():
            setattr(cls, name, method)
    training, whole = watch.trained - watch.begin, end - watch.begin
    return {
        "waits": round(watch.waited["training"] / training, 5),
        "processor": round(watch.processor / training, 5),
        "whole": round(sum(watch.waited.values()) / whole, 5),
        "deliveries": watch.deliveries,
        "epochs": config["train"]["epochs"],
        "seconds_of_an_epoch": round(training / config["train"]["epochs"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("overrides", nargs="*", help="config keys, as on segframe's command line")
    arguments = parser.parse_intermixed_args()
    from hydra import compose, initialize_config_module

    from segframe.compose import register
    from segframe.train_command import plain

    set_up_console()
    register()
    with initialize_config_module("segframe.conf", version_base="1.3"):
        config = plain(compose("config", arguments.overrides))
    ways = {"in turn": {"in_turn": True}, "outbox": {}, "late": {"late_s": 2.0}}
    rows = [{"way": name, **measure(config, **options)} for name, options in ways.items()]
    for row in rows:
        print(json.dumps(row))
    timing.write(arguments.out, rows, what="shares of the time, 0 to 1, of one run each")


if __name__ == "__main__":
    main()
