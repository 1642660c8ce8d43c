"""What the framework costs: its training step beside a bare TensorFlow loop and beside Keras `fit`.

The same network, loss, optimizer, batch size and images; the bare loop and `fit` get them from memory, the
framework from its HDF5 file through its pipeline, with its progress, non-finite check and checkpoints. All in
one process, an epoch of each in turn; a ratio is the median over the rounds, with its quartiles: where they
lie far apart, the machine was not quiet enough to conclude anything.

    python benchmarks/overhead.py [--out benchmarks/results/overhead_cpu.json] [key=value ...]

Goal: framework / bare at most 1.02. The last lines are the JSON that is written.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from segframe import hookimpl
from segframe.console import set_up_console
from segframe.experiment import RunResult, run_experiment
from segframe.manager import plugin_manager


class Compare:
    """A plugin: trains by turns in three ways, and measures."""

    def __init__(self, rounds: int):
        self.rounds, self.report = rounds, {}

    @hookimpl
    def segframe_fit(self, run):
        import keras
        import tensorflow as tf

        from segframe.plugins.fit import Loop
        from segframe.step import normalise

        part = run.pipeline.parts["train"]
        samples = run.dataset.read(part.split, part.indices)
        images = np.stack([sample.image for sample in samples])
        masks = np.stack([sample.mask for sample in samples]).astype(np.int32)
        batch_size = run.config["train"]["batch_size"]
        data = tf.data.Dataset.from_tensor_slices((images, masks)).shuffle(len(images)).batch(batch_size)
        data = data.prefetch(2)
        xla = run.metrics.steps.xla

        def copy():
            optimizer = run.optimizer.__class__.from_config(run.optimizer.get_config())
            model = keras.models.clone_model(run.model)
            optimizer.build(model.trainable_variables)
            return model, optimizer

        model, optimizer = copy()

        @tf.function(jit_compile=xla, reduce_retracing=True)
        def step(image, mask):
            with tf.GradientTape() as tape:
                logits = model(normalise(image, run.pipeline.normalisation), training=True)
                loss = tf.reduce_mean(run.loss({"mask": mask}, logits))
            gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
            optimizer.apply(gradients, model.trainable_variables)
            return loss

        def bare():
            for image, mask in data:
                loss = step(image, mask)
            float(loss)

        fitted, fit_optimizer = copy()
        fitted.compile(
            optimizer=fit_optimizer,
            loss=lambda mask, logits: run.loss({"mask": tf.cast(mask, tf.int32)}, logits),
            jit_compile=bool(xla),
        )
        normalised = data.map(lambda image, mask: (normalise(image, run.pipeline.normalisation), mask))
        normalised = normalised.prefetch(2)

        def fit():
            fitted.fit(normalised, epochs=1, verbose=0)

        loop = Loop(run)

        def framework():
            loop._steps()
            loop.state.epoch += 1
            loop.state.step_in_epoch = 0

        ways = {"bare": bare, "framework": framework, "keras_fit": fit}
        times = {name: [] for name in ways}
        for number in range(self.rounds + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                if number:  # the first epoch of each compiles
                    times[name].append(time.perf_counter() - start)
        loop.call("close")
        ratios = {
            name: statistics.quantiles([a / b for a, b in zip(times[name], times["bare"], strict=True)], n=4)
            for name in ("framework", "keras_fit")
        }
        self.report = {
            "ratio_framework_to_bare": ratios["framework"][1],
            "ratio_keras_fit_to_bare": ratios["keras_fit"][1],
            "quartiles": {name: [found[0], found[2]] for name, found in ratios.items()},
            "data_wait": loop.state.wait_seconds / loop.state.seconds,
            "images": len(images),
            "batch_size": batch_size,
            "image_shape": list(images.shape[1:]),
            "parameters": int(run.model.count_params()),
            "xla": bool(xla),
            "rounds": self.rounds,
            "seconds_per_epoch": times,
        }
        return RunResult(objective=None, epoch=1, chosen_by="none", scores={}, out_dir=str(run.out_dir))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("overrides", nargs="*", help="config keys, as on segframe's command line")
    arguments = parser.parse_intermixed_args()
    from hydra import compose, initialize_config_module

    from segframe.compose import register
    from segframe.provenance import machine, versions
    from segframe.train_command import plain

    set_up_console()
    register()
    with tempfile.TemporaryDirectory() as folder:
        fixed = ["tracker=none", f"runs_dir={folder}", "train.checkpoint_seconds=60", "split.val=none"]
        with initialize_config_module("segframe.conf", version_base="1.3"):
            config = plain(compose("config", [*arguments.overrides, *fixed]))
        plugins = plugin_manager()
        compare = Compare(arguments.rounds)
        plugins.register(compare, name="compare")
        run_experiment(plugins, config)
    report = {
        "command": " ".join(["python benchmarks/overhead.py", *arguments.overrides]),
        **compare.report,
        "versions": versions(plugins),
        "machine": {key: value for key, value in machine().items() if key != "command"},
    }
    print(json.dumps({key: value for key, value in report.items() if key != "seconds_per_epoch"}, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
