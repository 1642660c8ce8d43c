"""The built-in data set "cells": touching, unevenly lit, textured cells on noise, made by seed.

Every pixel comes from integers and from +, -, *, / and square roots of one element at a time, which are
the same to the bit on every machine; there is no sine, no exponential and no sum of floats.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any, Literal

from segframe.cache import cache_folder
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.hooks import hookimpl

log = logging.getLogger("segframe")

VERSION = 1
"""Raised when a pixel changes: files of older versions are then not used."""

CLASS_NAMES = ("background", "cell", "nucleus")


@hookimpl
def segframe_datasets():
    return {"cells": build_cells}


def build_cells(
    *,
    samples_train: int = 48,
    samples_val: int = 12,
    samples_test: int = 12,
    size: int = 96,
    classes: Literal[2, 3] = 2,
    difficulty: float = 0.35,
    seed: int = 0,
) -> Dataset:
    """Grey images of cells, written once below the user's cache folder and read like any HDF5 file.

    Args:
        samples_train, samples_val, samples_test: how many; val and test may be 0.
        size: height and width in pixels.
        classes: 2 is background and cell; 3 has the nucleus as a class of its own, on the same images.
        difficulty: 0 easy to 1 hard: less contrast, more noise, light more uneven.
        seed: another seed gives other images.

    Raises:
        SegframeError: a number is out of range, or the cache folder cannot be written.
    """
    samples = {"train": samples_train, "val": samples_val, "test": samples_test}
    for name, least, value in (
        *((f"samples_{split}", int(split == "train"), count) for split, count in samples.items()),
        ("size", 8, size),
        ("seed", 0, seed),
    ):
        if value < least:
            remedy = f"Give dataset.{name}={least} or more."
            raise SegframeError(f"dataset.{name}", expected=f">= {least}", got=str(value), remedy=remedy)
    if not 0 <= difficulty <= 1:
        remedy = "Give dataset.difficulty=0.5, say."
        raise SegframeError(
            "dataset.difficulty", expected="0 (easy) to 1 (hard)", got=str(difficulty), remedy=remedy
        )
    from segframe.plugins.hdf5 import open_hdf5

    options = {"size": size, "classes": classes, "difficulty": float(difficulty), "seed": seed}
    return open_hdf5(path=str(_written({"samples": samples, **options}, samples, options)))


def _written(key: dict[str, Any], samples: dict[str, int], options: dict[str, Any]) -> Path:
    """The file of these parameters, made if there is none yet."""
    from filelock import FileLock

    digest = hashlib.sha256(json.dumps([VERSION, key], sort_keys=True).encode()).hexdigest()[:16]
    path = cache_folder() / "datasets" / f"cells-{digest}.h5"
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        return path
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():  # another process may have made it while this one waited
            for left_by_a_kill in path.parent.glob(f".*.{path.name}"):
                left_by_a_kill.unlink()
            _write(path, samples, options)
    return path


def _write(path: Path, samples: dict[str, int], options: dict[str, Any]) -> None:
    import numpy as np

    from segframe.plugins.cells import draw
    from segframe.plugins.hdf5_writer import writing

    start = time.monotonic()
    size, classes = options["size"], options["classes"]
    with writing(path) as writer:
        for index, (split, count) in enumerate(samples.items()):
            for sample in range(count):
                rng = np.random.Generator(np.random.PCG64([options["seed"], index, sample]))
                image, mask = draw(rng, size, options["difficulty"])
                writer.add(split, f"{split}-{sample:04d}", image[..., None], np.minimum(mask, classes - 1))
        writer.set(
            {
                "class_names": CLASS_NAMES[:classes],
                "num_classes": classes,
                "source": f"segframe's synthetic cells, version {VERSION}: {json.dumps(options)}",
                "licence": "CC0-1.0",
            }
        )
    seconds = time.monotonic() - start
    log.info("made %d images of cells in %.1f s: %s", sum(samples.values()), seconds, path)
