"""A value against a type, by pydantic, with the fault as a SegframeError."""

from __future__ import annotations

import os
from typing import Any

from segframe.errors import SegframeError, nearest


def validate(annotation: Any, value: Any, where: str) -> Any:
    """The value as that type: strict, but an integer counts as a float.

    Args:
        annotation: what pydantic takes: a type, a Literal, a TypedDict, an Annotated.
        where: the value's path in the config, for the message.

    Raises:
        SegframeError: it is of another type; the path goes down to the wrong part.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        # The first fault; a union reports one per member, each with the member's name behind the common path.
        first = error.errors()[0]
        alone = first["type"] in ("missing", "extra_forbidden")
        faults = [first] if alone else [fault for fault in error.errors() if fault["input"] is first["input"]]
        common = os.path.commonprefix([fault["loc"] for fault in faults])
        path = ".".join([where, *(str(part) for part in common)])
        if first["type"] == "extra_forbidden":
            keys = sorted(getattr(annotation, "__annotations__", {}))
            raise SegframeError(
                path,
                expected=f"one of the keys {', '.join(keys)}",
                got=repr(first["loc"][-1]),
                remedy=nearest(str(first["loc"][-1]), keys),
            ) from error
        told = "; or ".join(dict.fromkeys(_told(fault["msg"]) for fault in faults))
        got = "none" if first["type"] == "missing" else repr(first["input"])
        raise SegframeError(
            path, expected=told, got=got, remedy=f"Set {path}=... to such a value."
        ) from error


def _told(message: str) -> str:
    """pydantic's "Input should be a valid integer" -> "a valid integer"."""
    told = message.removeprefix("Input should be ").removeprefix("Value error, ")
    return told if told != message else message[0].lower() + message[1:]
