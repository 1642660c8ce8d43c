"""The readers that benchmarks/pipeline.py compares, each in a process of its own that answers requests.

    python pipeline_readers.py READER CORES

A request is a line of JSON: {"file", "augment", "batch"}; one pass over the file's train split in shuffled
order. The answer: images after the first batch, the seconds they took, the processor's seconds of all, the
largest resident memory so far and, with "check", sums of all bytes, which must be the same for all readers.
The clock starts at the first batch, so that nobody's set-up counts.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Pass = Callable[[], Iterator[tuple[Any, Any]]]


def main() -> None:
    name, cores = sys.argv[1], int(sys.argv[2])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    make, version = READERS[name](cores)
    answer({"version": version, "cores": len(os.sched_getaffinity(0))})
    passes: dict[str, Pass] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = json.dumps([request["file"], request["augment"]])
        if key not in passes:
            passes.clear()
            passes[key] = make(request["file"], request["batch"], request["augment"])
        answer(one_pass(passes[key], request.get("check", False)))


def one_pass(batches: Pass, check: bool) -> dict[str, Any]:
    cpu, start, images, sums = cpu_seconds(), 0.0, 0, [0, 0]
    for number, (image, mask) in enumerate(batches()):
        if number:
            images += len(mask)
        else:
            start = time.perf_counter()
        if check:
            for place, values in enumerate((image, mask)):
                sums[place] += int(np.asarray(values).sum(dtype=np.int64))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"images": images, "seconds": seconds, "cpu": cpu_seconds() - cpu, "peak_mb": peak, "sums": sums}


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def answer(what: Any) -> None:
    print(json.dumps(what), flush=True)


def quiet_tensorflow(cores: int) -> Any:
    from segframe.quiet import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    return tf


def segframe_reader(cores: int) -> tuple[Callable[..., Pass], str]:
    """segframe's training batches."""
    quiet_tensorflow(cores)
    from segframe import __version__
    from segframe.pipeline import Pipeline
    from segframe.plugins.augmentations import build_flip
    from segframe.plugins.hdf5 import open_hdf5
    from segframe.split import Part

    def make(file: str, batch: int, augment: bool) -> Pass:
        dataset = open_hdf5(path=file)
        ids = tuple(dataset.ids("train"))
        parts = {"train": Part("train", tuple(range(len(ids))), ids)}
        augmentations = (build_flip(),) if augment else ()
        pipeline = Pipeline(dataset, parts, batch_size=batch, seed=0, augmentations=augmentations)
        return lambda: ((each["image"], each["mask"]) for each in pipeline.train(0))

    return make, __version__


def tensorflow_reader(cores: int, in_memory: bool) -> tuple[Callable[..., Pass], str]:
    """tf.data as its guides write it: h5py in from_generator, or arrays in memory."""
    tf = quiet_tensorflow(cores)

    def flip(image, mask):
        image = tf.cast(image, tf.float32) / 255
        for axis in (0, 1):
            coin = tf.random.uniform(()) < 0.5
            image = tf.cond(
                coin, lambda image=image, axis=axis: tf.reverse(image, [axis]), lambda image=image: image
            )
            mask = tf.cond(
                coin, lambda mask=mask, axis=axis: tf.reverse(mask, [axis]), lambda mask=mask: mask
            )
        return image, mask

    def make(file: str, batch: int, augment: bool) -> Pass:
        images, masks = opened(file)
        if in_memory:
            data = tf.data.Dataset.from_tensor_slices((images[()], masks[()])).shuffle(len(images))
        else:

            def samples():
                for index in np.random.permutation(len(images)):
                    yield images[index], masks[index]

            specs = [tf.TensorSpec(array.shape[1:], tf.uint8) for array in (images, masks)]
            data = tf.data.Dataset.from_generator(samples, output_signature=tuple(specs))
        if augment:
            data = data.map(flip, num_parallel_calls=tf.data.AUTOTUNE)
        data = data.batch(batch).prefetch(2)
        return lambda: iter(data)

    return make, tf.__version__


class Samples:
    """What PyTorch and Grain index: one sample of the file, flipped if asked for."""

    def __init__(self, file: str, augment: bool):
        self.file, self.augment, self.arrays = file, augment, None
        self.count = len(opened(file)[0])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self.arrays is None:  # in each worker
            self.arrays = opened(self.file)
        image, mask = (array[int(index)] for array in self.arrays)
        if self.augment:
            image = image.astype(np.float32) / 255
            for axis in (0, 1):
                if np.random.random() < 0.5:
                    image, mask = np.flip(image, axis), np.flip(mask, axis)
            image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
        return image, mask


def torch_reader(cores: int) -> tuple[Callable[..., Pass], str]:
    """PyTorch's DataLoader with as many worker processes as cores."""
    import torch

    torch.set_num_threads(cores)

    def make(file: str, batch: int, augment: bool) -> Pass:
        loader = torch.utils.data.DataLoader(
            Samples(file, augment), batch, shuffle=True, num_workers=cores, persistent_workers=True
        )
        return lambda: iter(loader)

    return make, torch.__version__


def grain_reader(cores: int) -> tuple[Callable[..., Pass], str]:
    """Grain with as many threads as cores."""
    from importlib.metadata import version

    import grain

    def make(file: str, batch: int, augment: bool) -> Pass:
        data = grain.MapDataset.source(Samples(file, augment)).shuffle(seed=0)
        data = data.to_iter_dataset(grain.ReadOptions(num_threads=cores, prefetch_buffer_size=4 * batch))
        return lambda: iter(data.batch(batch))

    return make, version("grain")


def memcpy_reader(cores: int) -> tuple[Callable[..., Pass], str]:
    """The same bytes copied from memory by one thread: what nothing can beat."""

    def make(file: str, batch: int, augment: bool) -> Pass:
        arrays = [array[()] for array in opened(file)]
        outs = [np.ones((batch, *array.shape[1:]), np.uint8) for array in arrays]

        def batches():
            for start in range(0, len(arrays[0]), batch):
                for array, out in zip(arrays, outs, strict=True):
                    count = len(array[start : start + batch])
                    np.copyto(out[:count], array[start : start + batch])
                yield outs[0][:count], outs[1][:count]

        return batches

    return make, np.__version__


def opened(file: str) -> tuple[Any, Any]:
    import contextlib

    import h5py

    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  (Blosc)
    group = h5py.File(file)["train"]
    return group["images"], group["masks"]


READERS: dict[str, Callable[[int], tuple[Callable[..., Pass], str]]] = {
    "segframe": segframe_reader,
    "from_generator": lambda cores: tensorflow_reader(cores, in_memory=False),
    "tensor_slices": lambda cores: tensorflow_reader(cores, in_memory=True),
    "torch": torch_reader,
    "grain": grain_reader,
    "memcpy": memcpy_reader,
}

if __name__ == "__main__":
    main()
