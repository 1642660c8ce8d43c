"""All of a run's state in one file, written atomically, read back exactly.

checkpoint.h5:  /model/N, /optimizer/N, /average/N, /best/N   variables in their order, as they are in memory
                /state        JSON: identity of the run, epoch, step, history, early stopping, callbacks
                attrs sha256  over the names, dtypes, shapes and bytes of all of it

One file, so that weights, optimizer, data position and the best weights so far can never be of different
moments. Random state is in it too: the seeds of dropout are model variables, and order and augmentation
follow from seed, epoch and sample (segframe.pipeline).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from segframe.atomic import replacing
from segframe.errors import SegframeError
from segframe.hdf5_sink import Hdf5Sink

Arrays = Mapping[str, Sequence[np.ndarray]]


def save(path: Path, arrays: Arrays, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; a kill at any moment leaves the last one or this one, whole.

    Raises:
        SegframeError: the disk is full or cannot be written; the last checkpoint is still there.
    """
    text = json.dumps(state)
    try:
        with replacing(path) as temporary, Hdf5Sink(temporary) as sink, h5py.File(sink, "w") as file:
            for kind, values in arrays.items():
                group = file.create_group(kind)
                for number, value in enumerate(values):
                    group.create_dataset(str(number), data=value)
            # As a data set: an attribute ends at 64 KiB, and a history grows.
            file.create_dataset("state", data=np.frombuffer(text.encode(), np.uint8))
            file.attrs["sha256"] = digest_of(arrays, text)
    except OSError as error:
        raise SegframeError(
            str(path),
            expected="a place to write the checkpoint to",
            got=str(error),
            remedy="Make room and give the same command again: it goes on from the last checkpoint.",
        ) from error


def load(path: Path) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]]:
    """The arrays by kind, and the state.

    Raises:
        SegframeError: it cannot be read, or its checksum does not fit: it was damaged after it was written.
    """
    try:
        with h5py.File(path, "r") as file:
            text = bytes(file["state"][()]).decode()
            arrays = {
                kind: [group[str(number)][()] for number in range(len(group))]
                for kind, group in file.items()
                if isinstance(group, h5py.Group)
            }
            expected = file.attrs["sha256"]
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    found = digest_of(arrays, text)
    if found != expected:
        raise _damaged(path, f"checksum {found[:12]} where {expected[:12]} was written")
    return arrays, json.loads(text)


def assign(variables: Sequence[Any], values: Sequence[np.ndarray], what: str) -> None:
    """Put values into Keras variables, one by one, exactly.

    Raises:
        SegframeError: their number or a shape differs: the values are of another network.
    """
    theirs, ours = [value.shape for value in values], [tuple(variable.shape) for variable in variables]
    if theirs != ours:
        raise SegframeError(
            f"checkpoint of the {what}",
            expected=f"{len(ours)} variables of the shapes of this run",
            got=f"{len(theirs)}",
            remedy="It is of other code. Use train.resume=never to start afresh.",
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """Copies of Keras variables' values, on the host."""
    return [variable.value.numpy() for variable in variables]


def digest_of(arrays: Arrays, text: str = "") -> str:
    """sha256 over the arrays' kinds, order, dtypes, shapes and bytes, and a text."""
    digest = hashlib.sha256(text.encode())
    for kind in sorted(arrays):
        for number, value in enumerate(arrays[kind]):
            value = np.ascontiguousarray(value)
            digest.update(f"{kind}/{number} {value.dtype} {value.shape}".encode())
            digest.update(value.tobytes())
    return digest.hexdigest()


def _damaged(path: Path, finding: str) -> SegframeError:
    return SegframeError(
        str(path),
        expected="a whole checkpoint",
        got=finding,
        remedy="It was damaged after it was written. Use train.resume=never to start afresh.",
    )
