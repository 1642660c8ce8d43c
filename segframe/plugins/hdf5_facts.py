"""The attributes of an HDF5 data set: classes, void id, spacing."""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segframe.errors import SegframeError

log = logging.getLogger("segframe")


def strings(values: Any) -> tuple[str, ...] | None:
    """Names from a one-dimensional array of text, bytes or integers; None for anything else."""
    if getattr(values, "ndim", None) != 1 or values.dtype.kind not in "OSUTiu":
        return None
    return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist())


def default_names(num_classes: int) -> list[str]:
    """What classes are called where nobody named them."""
    return ["background", *(f"class {index}" for index in range(1, num_classes))]


def read_classes(attrs: Mapping[str, Any], path: Path) -> tuple[tuple[str, ...], int, int | None, str]:
    """(names of the outputs, classes the file counts, its void id or None, name of the class taken out).

    Raises:
        SegframeError: neither number nor names are there, or they do not fit each other.
    """
    named = f"data file {path}"
    names = strings(attrs["class_names"]) if "class_names" in attrs else None
    if "class_names" in attrs and (names is None or len(set(names)) != len(names) or not all(names)):
        got = repr(attrs["class_names"])
        raise _attribute_error(path, "class_names", "a list of different names, in the order of ids", got)
    count = _integer(attrs, "num_classes", path)
    if count is None:
        if names is None:
            raise SegframeError(
                named,
                expected="an attribute class_names or num_classes",
                got=", ".join(attrs) or "no attributes",
                remedy=f"python -m segframe data remap {shlex.quote(str(path))} "
                f"{shlex.quote(str(path.with_name(path.stem + '-named' + path.suffix)))} "
                "--class-names background,NAME",
            )
        count = len(names)
    if names is None:
        names = tuple(default_names(count))
        log.info("%s has no class_names: its %d classes are called %s", path, count, ", ".join(names))
    if len(names) != count:
        got = f"{count} and {len(names)} names"
        raise _attribute_error(path, "num_classes", "as many as class_names", got)
    ignored = _integer(attrs, "ignore_index", path)
    if ignored is not None and not 0 <= ignored <= 255:
        raise _attribute_error(path, "ignore_index", "an id of 0 to 255", str(ignored))
    taken_out = ""
    if ignored is not None and ignored < count:
        taken_out = names[ignored]
        names = names[:ignored] + names[ignored + 1 :]
    if not 2 <= len(names) <= 255 or count > 256:
        raise _attribute_error(path, "num_classes", "2 to 255 classes, background included", str(len(names)))
    return names, count, ignored, taken_out


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
