"""What train.determinism=strict costs, and what it brings: bits that are the same each time.

Two processes train with `auto` and two with `strict`, each its own run of the framework from the same seed;
they take turns, an epoch each, while the others wait. A ratio is (both strict) / (both auto), round by round,
with its quartiles: where they lie far apart, the machine was too busy to conclude anything. In the end
the weights of the two of a kind are compared, bit for bit. Built-in data; no data folder is needed.

    python benchmarks/determinism.py [--out FILE] [--rows unet,uresnet_lovasz] [key=value ...]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROWS = {
    "unet": ["model=unet"],
    "unet_bilinear": ["model=unet", "model.upsample=bilinear"],
    "unet_subpixel_augmented": ["model=unet", "model.upsample=subpixel", "augment=full"],
    "uresnet_distance_aware": ["model=uresnet", "loss=distance_aware"],
    "uresnet_lovasz": ["model=uresnet", "loss=lovasz_softmax"],
}
WAYS = ("auto", "auto again", "strict", "strict again")


def worker(pipe: Connection, words: list[str]) -> None:
    """A run whose epochs start when the pipe says so: answers with seconds, in the end with its weights."""
    from hydra import compose, initialize_config_module

    from segframe import hookimpl
    from segframe.compose import register
    from segframe.experiment import RunResult, run_experiment
    from segframe.manager import plugin_manager
    from segframe.train_command import plain

    class ByTurns:
        @hookimpl
        def segframe_fit(self, run):
            from segframe.checkpoint import digest_of, values_of
            from segframe.plugins.fit import Loop

            loop = Loop(run)
            pipe.send("ready")
            while pipe.recv() == "epoch":
                start = time.perf_counter()
                loop._steps()  # reads the last loss: the device has nothing left to do then
                pipe.send(time.perf_counter() - start)
                loop.state.epoch += 1
                loop.state.step_in_epoch = 0
            loop.call("close")
            digest = digest_of({"model": values_of(run.model.weights)})
            pipe.send(
                (digest, bool(run.metrics.steps.xla), loop.steps_per_epoch, int(run.model.count_params()))
            )
            return RunResult(objective=None, epoch=1, chosen_by="none", scores={}, out_dir=str(run.out_dir))

    register()
    with initialize_config_module("segframe.conf", version_base="1.3"):
        config = plain(compose("config", words))
    plugins = plugin_manager()
    plugins.register(ByTurns(), name="by turns")
    try:
        run_experiment(plugins, config)
    except Exception as error:  # an op without a deterministic kernel is a finding, not the end of all rows
        pipe.send(f"{type(error).__name__}: {error}"[:500])


def measured(label: str, words: list[str], rounds: int) -> dict[str, Any]:
    """One row of the report."""
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        for number, way in enumerate(WAYS):
            pipes[way], theirs = spawn.Pipe()
            own = [f"train.determinism={way.split()[0]}", f"run_dir={folder}/{number}", f"runs_dir={folder}"]
            processes.append(spawn.Process(target=worker, args=(theirs, [*words, *own])))
            processes[-1].start()
        for way, pipe in pipes.items():
            said = pipe.recv()
            if said != "ready":
                return _failed(label, words, way, said, processes)
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for pipe in pipes.values():
            pipe.send("epoch")  # the first compiles, and is not timed: all at once
        for number in range(rounds + 1):
            for way, pipe in pipes.items():
                if number:
                    pipe.send("epoch")
                answer = pipe.recv()
                if isinstance(answer, str):
                    return _failed(label, words, way, answer, processes)
                if number:
                    times[way].append(answer)
        for pipe in pipes.values():
            pipe.send("stop")
        ends = {way: pipe.recv() for way, pipe in pipes.items()}
        for process in processes:
            process.join()
    ratio = [
        (times["strict"][i] + times["strict again"][i]) / (times["auto"][i] + times["auto again"][i])
        for i in range(rounds)
    ]
    _, _, steps, parameters = ends["strict"]
    return {
        "row": label,
        "config": words,
        "strict_over_auto": [round(quartile, 3) for quartile in statistics.quantiles(ratio)],
        "auto_bit_identical": ends["auto"][0] == ends["auto again"][0],
        "strict_bit_identical": ends["strict"][0] == ends["strict again"][0],
        "strict_is_auto": ends["strict"][0] == ends["auto"][0],
        "steps": steps * (rounds + 1),
        "xla": {way: bool(ends[way][1]) for way in ("auto", "strict")},
        "parameters": parameters,
        "rounds": rounds,
        "seconds_per_epoch": times,
    }


def _failed(label: str, words: list[str], way: str, said: Any, processes: list) -> dict[str, Any]:
    for process in processes:
        process.kill()
        process.join()
    return {"row": label, "config": words, "failed": f"{way}: {said}"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("overrides", nargs="*", help="config keys, as on segframe's command line")
    arguments = parser.parse_intermixed_args()
    rows = []
    for label in arguments.rows:
        words = [*ROWS[label], "tracker=none", *arguments.overrides]
        rows.append(measured(label, words, arguments.rounds))
        print({key: value for key, value in rows[-1].items() if key not in ("config", "seconds_per_epoch")})
    from timing import write  # imports TensorFlow, which the workers had to themselves

    write(arguments.out, rows)


if __name__ == "__main__":
    main()
