"""OUT.h5 of `predict`: what was written to a folder, in one HDF5 file.

/masks/NAME           (height, width) uint8 class ids
/probabilities/NAME   (height, width, num_classes) float16, where asked for
/ attributes          class_names, num_classes, predict (JSON: run, hash of the weights, options)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.atomic import replacing, writable
from segframe.hdf5_sink import Hdf5Sink

if TYPE_CHECKING:
    from segframe.plugins.predict_files import Files
    from segframe.plugins.predict_sources import Item

ROWS = 256


def pack(path: Path, files: Files, facts: Mapping[str, Any], items: Sequence[Item]) -> None:
    """Write the file, whole or not at all, of items that are done.

    Raises:
        SegframeError: the disk is full, or may not be written.
    """
    import h5py
    import numpy as np

    remedy = "Make room and give the same command again: it goes on with what is there."
    with (
        writable(str(path), remedy),
        replacing(path) as temporary,
        Hdf5Sink(temporary) as sink,
        h5py.File(sink, "w") as file,
    ):
        file.attrs["class_names"] = list(files.class_names)
        file.attrs["num_classes"] = len(files.class_names)
        file.attrs["predict"] = json.dumps(facts)
        for item in items:
            ids = files.ids(item)
            _add(file, f"masks/{item.name}", ids, item.stamp())
            if files.wanted.probabilities:
                kept = np.load(files.paths(item)[-1], mmap_mode="r")
                _add(file, f"probabilities/{item.name}", kept, item.stamp())
            sink.check()


def _add(file: Any, name: str, values: Any, stamp: str) -> None:
    """In chunks of some rows, so that readers can do with a part of a large image."""
    height, width = values.shape[:2]
    chunks = (min(ROWS, height), min(ROWS, width), *values.shape[2:])
    added = file.create_dataset(name, values.shape, values.dtype, chunks=chunks, compression="lzf")
    for start in range(0, height, ROWS):
        added[start : start + ROWS] = values[start : start + ROWS]
    added.attrs["source"] = stamp


def packed(path: Path, facts: Mapping[str, Any]) -> dict[str, str] | None:
    """{masks/NAME, probabilities/NAME: stamp of the image} of a file; None if another command made it."""
    import h5py

    found: dict[str, str] = {}

    def look(name: str, value: Any) -> None:
        if isinstance(value, h5py.Dataset):
            found[name] = value.attrs["source"]

    try:
        with h5py.File(path, "r") as file:
            if json.loads(file.attrs.get("predict", "null")) != facts:
                return None
            file.visititems(look)
    except (OSError, ValueError, KeyError):
        return None
    return found
