"""Prediction by a trained U-Net: latency of an image, images/s of a batch, the same in PyTorch beside it.

Raw uint8 images to class ids, by what segframe.load_model gives (the verb `predict` calls it) and by the same
U-Net of cars_pytorch.py (channels-last, no gradients), float32. PyTorch runs in a process of its own, by
turns with ours; a ratio is the median over the rounds of ours / theirs, with its quartiles: where these lie
far apart, the machine was not quiet enough to conclude anything. "command" is the verb's work on a folder of
such images once its network is loaded: reading PNG, predicting, writing masks. On a GPU "training" is the
peak of memory of training steps at 256 x 256, batch 1.

    python benchmarks/predict.py [--out benchmarks/results/predict_cpu.json] [--filters 64] [--size 512]

Goal: one image of 512 x 512 with 64 filters below 1 s on two CPU cores; training within 12 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from predict_torch import CLASSES, Torch, images

DEPTH = 4


def saved(folder: Path, filters: int, size: int, xla: bool):
    """A run's weights file, of a network that was not trained."""
    from segframe.catalog import build
    from segframe.export import save_weights
    from segframe.manager import plugin_manager
    from segframe.normalisation import Normalisation
    from segframe.provenance import versions

    section = {"name": "unet", "filters": filters, "depth": DEPTH}
    shape = (size, size, 3)
    model = build(plugin_manager(), "model", section, image_shape=shape, num_classes=CLASSES)
    facts = {
        "config": {"model": section, "train": {"precision": "float32", "batch_size": 4}, "metrics": {}},
        "normalisation": Normalisation(1 / 255, (0.5,) * 3, (0.25,) * 3).as_json(),
        "class_names": ["background", "object"],
        "image_shape": shape,
        "versions": versions(plugin_manager()),
        "xla": xla,
    }
    save_weights(folder / "model.weights.h5", model, facts)
    return model


def seconds_of(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def compare(model, torch: Torch | None, batch: int, size: int, rounds: int, calls: int) -> dict:
    raw = images(batch, size)
    ways = {"ours": lambda: seconds_of(lambda: model.predict(raw, batch_size=batch), calls)}
    if torch:
        ways["torch"] = lambda: torch.seconds(batch, calls)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in list(ways) if number % 2 else reversed(list(ways)):
            seconds = ways[name]()
            if number:  # the first compiles, and chooses kernels
                times[name].append(seconds)
    row: dict = {
        "batch": batch,
        "seconds": {name: statistics.quantiles(each) for name, each in times.items()},
    }
    row["images_per_second"] = {name: batch / statistics.median(each) for name, each in times.items()}
    if torch:
        ratios = [ours / theirs for ours, theirs in zip(times["ours"], times["torch"], strict=True)]
        row["ours / torch"] = statistics.quantiles(ratios)
    return row


def command_seconds(folder: Path, model, size: int, count: int) -> float:
    """Seconds an image of reading, predicting and writing a folder, the network loaded and traced."""
    from PIL import Image

    from segframe.interrupt import catching
    from segframe.plugins.predict_batches import run_batches
    from segframe.plugins.predict_files import Files, Wanted
    from segframe.plugins.predict_outputs import Outputs
    from segframe.plugins.predict_sources import find_items
    from segframe.plugins.predicting import Predictor, Window

    (folder / "images").mkdir()
    for number, image in enumerate(images(count, size)):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
    predictor = Predictor(model, largest=size * size, window=Window(None, 0.25), views="none")
    seconds = []
    for out in ("first", "second"):
        start = time.perf_counter()
        items = find_items([str(folder / "images")], None).items
        files = Files(folder / out, model.class_names, Wanted("palette", False, False))
        outputs = Outputs(files, {})
        with outputs.lock(), catching() as interrupt:
            outputs.prepare(items, force=False)
            names = {item.name for item in items}
            run_batches(predictor, predictor.batches(items), files, names, interrupt)
        seconds.append((time.perf_counter() - start) / count)
    return seconds[-1]


def training_memory(network, size: int = 256) -> float:
    """GiB at the peak of steps of Adam on one image, on a GPU."""
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.Adam()
    optimizer.build(network.trainable_variables)
    image, mask = tf.random.normal((1, size, size, 3)), tf.zeros((1, size, size), tf.int32)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = network(image, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(mask, logits))
        variables = [variable.value for variable in network.trainable_variables]
        optimizer.apply(tape.gradient(loss, variables), network.trainable_variables)

    tf.config.experimental.reset_memory_stats("GPU:0")
    for _ in range(3):
        step()
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=1, help="of a way in a round")
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    import tensorflow as tf
    from timing import share_gpus

    from segframe import load_model
    from segframe.manager import plugin_manager
    from segframe.provenance import machine, versions

    share_gpus()
    gpu = bool(tf.config.list_physical_devices("GPU"))
    torch = Torch(arguments.filters, arguments.size)
    comparable = torch.facts.get("cuda") == gpu  # otherwise one of the two would run on the CPU
    with tempfile.TemporaryDirectory() as folder:
        network = saved(Path(folder), arguments.filters, arguments.size, xla=gpu)  # as train.xla=auto
        model = load_model(folder)
        beside = torch if comparable else None
        rows = [
            compare(model, beside, batch, arguments.size, arguments.rounds, arguments.calls)
            for batch in (1, 4)
        ]
        seconds = command_seconds(Path(folder), model, arguments.size, count=32 if gpu else 8)
    torch.close()
    report = {
        "command": " ".join(["python benchmarks/predict.py", *_given(arguments)]),
        "network": f"U-Net, depth {DEPTH}, {arguments.filters} filters, {network.count_params():,} weights",
        "size": arguments.size,
        "xla": gpu,
        "rows": rows,
        "command_seconds_per_image": seconds,
        "training_peak_gib_256_batch_1": training_memory(network) if gpu else None,
        "load_before": load_before,
        "quartiles": "lower, median, upper, over the rounds",
        "torch": torch.facts if comparable else "left out: not installed, or on another device",
        "versions": versions(plugin_manager()),
        "machine": {key: value for key, value in machine().items() if key != "command"},
    }
    print(json.dumps(report, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def _given(arguments: argparse.Namespace) -> list[str]:
    names = ("filters", "size", "rounds", "calls")
    return [word for name in names for word in (f"--{name}", str(getattr(arguments, name)))]


if __name__ == "__main__":
    main()
