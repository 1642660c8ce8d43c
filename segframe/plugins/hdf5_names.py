"""The names of a split's samples, and of the groups that must not be split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segframe.errors import SegframeError
from segframe.plugins.hdf5_facts import strings
from segframe.plugins.hdf5_file import Fault, layout_error, member, understood
from segframe.plugins.hdf5_storage import NAMES_LIMIT, check_storage

if TYPE_CHECKING:
    import numpy as np


def read_names(group: Any, kind: str, count: int, where: str, fault: Fault) -> tuple[str, ...] | None:
    """The names of /SPLIT/ids or /SPLIT/groups; None where there are none, or none that can be used."""
    where = f"{where}/{kind}"
    try:
        with understood(where):
            found = member(group, kind, where)
            values = _values(found, count, where) if found is not None else group.attrs.get(kind)
            if values is None:
                return None
            names = strings(values)
            if names is None or len(names) != count:
                got = f"{len(names)}" if names is not None else "something else"
                raise layout_error(where, f"{count} names, one per sample", got)
            return names
    except SegframeError as error:
        fault(error)
        return None


def _values(found: Any, count: int, where: str) -> np.ndarray:
    """Names as stored, read in steps: a file may have each of them be the same gigabyte."""
    import numpy as np

    shape = getattr(found, "shape", None)
    if shape != (count,):
        got = "something else" if not shape or len(shape) > 1 else str(shape[0])
        raise layout_error(where, f"{count} names, one per sample", got)
    check_storage(found, 0, where)
    parts, met = [], 0
    for start in range(0, count, 64):
        part = found[start : start + 64]
        met += sum(map(len, part)) if part.dtype.kind == "O" else part.nbytes
        if met > NAMES_LIMIT:
            raise layout_error(where, f"names of at most {NAMES_LIMIT} bytes", "more")
        parts.append(part)
    return np.concatenate(parts)
