"""The attributes of an HDF5 data set: classes, void id, spacing."""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segframe.dataset import IGNORED
from segframe.errors import SegframeError

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("segframe")


def strings(values: Any) -> tuple[str, ...] | None:
    """Names from a one-dimensional array of text, bytes or integers; None for anything else."""
    if getattr(values, "ndim", None) != 1 or values.dtype.kind not in "OSUTiu":
        return None
    return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist())


def default_names(num_classes: int) -> list[str]:
    """What classes are called where nobody named them."""
    return ["background", *(f"class {index}" for index in range(1, num_classes))]


class Classes(NamedTuple):
    """The classes of a file."""

    names: tuple[str, ...]
    """Of the network's outputs: an ignored class is not among them."""
    in_all: int
    """How many classes the file counts, an ignored one included."""
    ignore_index: int | None
    """The file's own void id."""
    ignored_name: str
    """The name of the class that is taken out, if one is."""

    def in_file(self) -> tuple[str, ...]:
        """Names as the file counts the classes."""
        at = self.ignore_index or 0
        return (*self.names[:at], self.ignored_name, *self.names[at:]) if self.ignored_name else self.names

    def is_class(self) -> list[bool]:
        """256 values: whether an id may stand in the file's masks."""
        return [value < self.in_all or value == self.ignore_index for value in range(256)]


def read_classes(
    attrs: Mapping[str, Any], path: Path, fault: Callable[[SegframeError], None]
) -> Classes | None:
    """The classes that the attributes tell; None, and `fault` told why, where they do not."""
    faults: list[SegframeError] = []
    names = strings(attrs["class_names"]) if "class_names" in attrs else None
    if "class_names" in attrs and (names is None or len(set(names)) != len(names) or not all(names)):
        got = repr(attrs["class_names"])
        expected = "a list of different names, in the order of ids"
        faults.append(_attribute_error(path, "class_names", expected, got))
    count = ignored = None
    for name in ("num_classes", "ignore_index"):
        try:
            value = _integer(attrs, name, path)
        except SegframeError as error:
            faults.append(error)
            continue
        if name == "num_classes":
            count = value
        elif value is not None and not 0 <= value <= 255:
            faults.append(_attribute_error(path, name, "an id of 0 to 255", str(value)))
        else:
            ignored = value
    if count is None and names is None and not faults:
        remapped = path.with_name(path.stem + "-named" + path.suffix)
        faults.append(
            SegframeError(
                f"data file {path}",
                expected="an attribute class_names or num_classes",
                got=", ".join(attrs) or "no attributes",
                remedy=f"python -m segframe data remap {shlex.quote(str(path))} "
                f"{shlex.quote(str(remapped))} --class-names background,NAME",
            )
        )
    for found in faults:
        fault(found)
    if faults:
        return None
    if count is None:
        count = len(names or ())
    if not 0 < count <= 256:
        fault(_attribute_error(path, "num_classes", "2 to 255 classes, background included", str(count)))
        return None
    if names is None:
        names = tuple(default_names(count))
        log.info("%s has no class_names: its %d classes are called %s", path, count, ", ".join(names))
    if len(names) != count:
        got = f"{count} and {len(names)} names"
        fault(_attribute_error(path, "num_classes", "as many as class_names", got))
        return None
    taken_out = ""
    if ignored is not None and ignored < count:
        taken_out = names[ignored]
        names = names[:ignored] + names[ignored + 1 :]
    if not 2 <= len(names) <= 255:
        got = str(len(names))
        fault(_attribute_error(path, "num_classes", "2 to 255 classes, background included", got))
        return None
    return Classes(names, count, ignored, taken_out)


def read_spacing(attrs: Mapping[str, Any], path: Path) -> tuple[float, float] | None:
    """(row, column) in mm, or None where the file does not say.

    Raises:
        SegframeError: it is not two positive numbers.
    """
    value = attrs.get("spacing")
    if value is None:
        return None
    try:
        row, column = (float(part) for part in value)
        right = all(math.isfinite(part) and part > 0 for part in (row, column))
    except (TypeError, ValueError):
        right = False
    if not right:
        raise _attribute_error(path, "spacing", "two positive numbers (row, column) in mm", repr(value))
    return row, column


def _integer(attrs: Mapping[str, Any], name: str, path: Path) -> int | None:
    value = attrs.get(name)
    if value is None:
        return None
    if getattr(value, "shape", ()) not in ((), (1,)) or getattr(value, "dtype", None) is None:
        raise _attribute_error(path, name, "one integer", repr(value))
    if value.dtype.kind not in "iu":
        raise _attribute_error(path, name, "one integer", repr(value))
    return int(value.reshape(())[()]) if value.shape else int(value)


def _attribute_error(path: Path, name: str, expected: str, got: str) -> SegframeError:
    remedy = f"Set it: python -c \"import h5py; h5py.File({str(path)!r}, 'a').attrs[{name!r}] = ...\""
    return SegframeError(f"data file {path}, attribute {name}", expected=expected, got=got, remedy=remedy)


def id_tables(classes: Classes) -> tuple[np.ndarray, np.ndarray]:
    """(256,) uint8: the file's id -> ours; (256,) bool: ids that may stand in the file."""
    import numpy as np

    new_ids = np.arange(256, dtype=np.uint8)
    if classes.ignore_index is not None:
        new_ids[classes.ignore_index + 1 :] -= np.uint8(classes.ignore_index < classes.in_all)
        new_ids[classes.ignore_index] = IGNORED
    return new_ids, np.array(classes.is_class())
