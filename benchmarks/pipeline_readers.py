"""The readers that benchmarks/pipeline.py compares, each in a process of its own that answers requests.

    python pipeline_readers.py READER CORES

A request is a line of JSON: {"file", "augment", "batch", "skip", "count"}. A reader is an endless stream of
batches in shuffled order, as in a training; `skip` batches are taken first, which were read ahead while
others had their turn, then `count` are timed. The answer: images, seconds by the clock and of the processor,
largest resident memory, and for a new stream the sums of all bytes of its first pass, the same for all.
"""

from __future__ import annotations

import itertools
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
    key, stream = "", iter(())
    for line in sys.stdin:
        request = json.loads(line)
        known, key = key, json.dumps([request["file"], request["augment"]])
        sums = None
        if key != known:
            del stream
            stream = iter(make(request["file"], request["batch"], request["augment"])())
            sums = first_pass(stream, len(opened(request["file"])[0]))
        answer(timed(stream, request["skip"], request["count"]) | {"sums": sums})


def first_pass(stream: Iterator[tuple[Any, Any]], samples: int) -> list[int]:
    sums = [0, 0]
    while samples > 0:
        image, mask = next(stream)
        samples -= len(mask)
        for place, values in enumerate((image, mask)):
            sums[place] += int(np.asarray(values).sum(dtype=np.float64))
    return sums


def timed(stream: Iterator[tuple[Any, Any]], skip: int, count: int) -> dict[str, Any]:
    for _ in range(skip):
        next(stream)
    cpu, start, images = cpu_seconds(), time.perf_counter(), 0
    for _ in range(count):
        images += len(next(stream)[1])
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"images": images, "seconds": seconds, "cpu": cpu_seconds() - cpu, "peak_mb": peak}


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
        return lambda: ((each["image"], each["mask"]) for each in pipeline.stream(0))

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
            data = tf.data.Dataset.from_tensor_slices((images[()], masks[()]))
            data = data.shuffle(len(images)).repeat()
        else:

            def samples():
                while True:
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


class Endless:
    """A sampler for PyTorch: pass after pass, so that its workers need not stop between them."""

    def __init__(self, count: int):
        self.count = count

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from np.random.permutation(self.count).tolist()


def torch_reader(cores: int) -> tuple[Callable[..., Pass], str]:
    """PyTorch's DataLoader with as many worker processes as cores."""
    import torch

    torch.set_num_threads(cores)

    def make(file: str, batch: int, augment: bool) -> Pass:
        samples = Samples(file, augment)
        loader = torch.utils.data.DataLoader(samples, batch, sampler=Endless(len(samples)), num_workers=cores)
        return lambda: iter(loader)

    return make, torch.__version__


def grain_reader(cores: int) -> tuple[Callable[..., Pass], str]:
    """Grain with as many threads as cores."""
    from importlib.metadata import version

    import grain

    def make(file: str, batch: int, augment: bool) -> Pass:
        data = grain.MapDataset.source(Samples(file, augment)).shuffle(seed=0).repeat()
        data = data.to_iter_dataset(grain.ReadOptions(num_threads=cores, prefetch_buffer_size=4 * batch))
        return lambda: iter(data.batch(batch))

    return make, version("grain")


def memcpy_reader(cores: int) -> tuple[Callable[..., Pass], str]:
    """The same bytes copied from memory by one thread: what nothing can beat."""

    def make(file: str, batch: int, augment: bool) -> Pass:
        arrays = [array[()] for array in opened(file)]
        outs = [np.ones((batch, *array.shape[1:]), np.uint8) for array in arrays]

        def batches():
            for start in itertools.cycle(range(0, len(arrays[0]), batch)):
                for array, out in zip(arrays, outs, strict=True):
                    np.copyto(out, array[start : start + batch])
                yield tuple(outs)

        return batches

    return make, np.__version__


def bare_reader(cores: int) -> tuple[Callable[..., Pass], str]:
    """The file's bytes and their filters alone, by pread and imagecodecs, a batch in each of `cores` threads.

    Into memory that is used again, without a framework, a check or a flip: what these bytes allow.
    """
    from collections import deque
    from concurrent.futures import ThreadPoolExecutor

    import imagecodecs

    undo = {
        "gzip": imagecodecs.deflate_decode,
        "lzf": imagecodecs.lzf_decode,
        "32001": imagecodecs.blosc_decode,
    }

    def make(file: str, batch: int, augment: bool) -> Pass:
        arrays = opened(file)
        descriptor = os.open(file, os.O_RDONLY)
        places, packed_by = [], []
        for array in arrays:
            filters = array._filters
            packed_by.append(next((undo[name] for name in filters if name in undo), None))
            if array.chunks is None:
                size = array[0].nbytes
                start = array.id.get_offset()
                places.append([(start + index * size, size, 0) for index in range(len(array))])
            else:
                chunks = [array.id.get_chunk_info(index) for index in range(len(array))]
                chunks.sort(key=lambda chunk: chunk.chunk_offset)
                places.append([(chunk.byte_offset, chunk.size, chunk.filter_mask) for chunk in chunks])

        def one(job: tuple[Any, list[Any]]) -> list[Any]:
            indices, outs = job
            for place, decode, out in zip(places, packed_by, outs, strict=True):
                for index, row in zip(indices, out, strict=False):
                    offset, size, skipped = place[index]
                    if decode is None or skipped:
                        os.preadv(descriptor, [row.data], offset)
                    else:
                        decode(os.pread(descriptor, size, offset), out=row.reshape(-1))
            return [out[: len(indices)] for out in outs]

        def batches():
            rotating = itertools.cycle(
                [
                    [np.empty((batch, *array.shape[1:]), np.uint8) for array in arrays]
                    for _ in range(2 * cores + 2)
                ]
            )
            jobs = (
                (order[start : start + batch], next(rotating))
                for order in (np.random.permutation(len(arrays[0])).tolist() for _ in itertools.count())
                for start in range(0, len(order), batch)
            )
            with ThreadPoolExecutor(cores) as pool:
                ahead = deque(pool.submit(one, next(jobs)) for _ in range(2 * cores))
                while True:
                    yield tuple(ahead.popleft().result())
                    ahead.append(pool.submit(one, next(jobs)))

        return batches

    return make, imagecodecs.__version__


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
    "bare": bare_reader,
    "memcpy": memcpy_reader,
}

if __name__ == "__main__":
    main()
