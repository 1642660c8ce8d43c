"""Passwords and tokens of the tracker: taken out of all that is written and said, found again when needed.

They stand in the config section `tracker`: in an address (`postgresql://user:SECRET@host/db`), or under a
key that says so (`token`, `api_key`). Records hold `***` in their place. Whoever reads such a record gets the
value back from the environment: `tracker.uri` from SEGFRAME_TRACKER_URI, if that is the same but for the
secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from segframe.errors import SegframeError

HIDDEN = "***"
VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PGPASSWORD",
    "MYSQL_PWD",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
"""Environment variables that trackers and databases take secrets from."""
SHORTEST = 5
"""Shorter secrets are hidden where they stand in an address, not wherever their letters occur."""
_SECRET_KEY = re.compile(r"(password|passwd|token|secret|api_?key)$", re.IGNORECASE)
_QUERY = re.compile(r"([?&]\w*(?:password|passwd|token|secret|key)=)([^&#\s]+)", re.IGNORECASE)
_WORD = re.compile(r"(\+{0,2}tracker\.([\w.]+)=)(['\"]?)(.+)\3", re.DOTALL)
_known: set[str] = set()


def without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as it may be written; what is hidden is remembered, for `hide`."""
    return {**config, "tracker": _hidden(config["tracker"])}


def with_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config that was written, with its secrets from the environment.

    Raises:
        SegframeError: they are not there.
    """
    found = {**config, "tracker": _revealed(config["tracker"], "tracker")}
    without_secrets(found)  # so that they are known
    return found


def expose(config: Mapping[str, Any]) -> None:
    """Put the tracker's secrets into this process's environment, which the processes it starts inherit."""
    for key, value in _values(config["tracker"]):
        if _hidden_value(key, value) != value:
            os.environ[variable(key)] = value


def variable(key: str) -> str:
    """The environment variable for a key of the tracker section: `uri` -> SEGFRAME_TRACKER_URI."""
    return f"SEGFRAME_TRACKER_{key.replace('.', '_').upper()}"


def from_environment(words: Sequence[str]) -> list[str]:
    """Words of the command line; secrets in them are moved to the environment, so that Hydra writes none."""
    found = []
    for word in words:
        match = _WORD.fullmatch(word)
        if match and _hidden_value(match[2], match[4]) != match[4]:
            os.environ[variable(match[2])] = match[4]
            word = f"{match[1]}'${{oc.env:{variable(match[2])}}}'"
        found.append(word)
    return found


def hide(text: str) -> str:
    """The text without the secrets that this process knows, and without passwords in any address."""
    secrets = _known | {os.environ.get(name, "") for name in VARIABLES}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return re.sub(r"(//[^\s:/@'\"]*):[^\s@/'\"]+@", rf"\1:{HIDDEN}@", text)


def hidden_address(address: str) -> str:
    """The address with *** for its password, for a token before the host, and for secrets in its query."""
    scheme, separator, rest = address.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
        return address
    if scheme in ("http", "https"):
        authority = re.match(r"[^/?#]*", rest)[0]  # type: ignore[index]
        user, at, _ = authority.rpartition("@")
        if at:
            name, colon, _ = user.partition(":")
            rest = (f"{name}:{HIDDEN}" if colon else HIDDEN) + rest[len(user) :]
    else:  # as SQLAlchemy reads it, where a password may hold slashes
        rest = re.sub(r"^([^:/@]*):.*@", rf"\1:{HIDDEN}@", rest)
    rest = _QUERY.sub(rf"\1{HIDDEN}", rest)
    return f"{scheme}://{rest}"


def _hidden(section: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _hidden(value) if isinstance(value, Mapping) else _remembered(key, value)
        for key, value in section.items()
    }


def _remembered(key: str, value: Any) -> Any:
    hidden = _hidden_value(key, value)
    if hidden != value:
        # What stands in the place of each ***.
        pattern = "(.+?)".join(re.escape(part) for part in hidden.split(HIDDEN))
        match = re.fullmatch(pattern, value, re.DOTALL)
        for secret in match.groups() if match else ():
            _known.update({secret, unquote(secret), quote(secret, safe="")} - {HIDDEN})
    return hidden


def _hidden_value(key: str, value: Any) -> Any:
    if not isinstance(value, str) or not value:
        return value
    return HIDDEN if _SECRET_KEY.search(key) else hidden_address(value)


def _values(section: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in section.items():
        found += (
            _values(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
        )
    return found


def _revealed(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in section.items():
        path = f"{where}.{key}"
        if isinstance(value, Mapping):
            found[key] = _revealed(value, path)
        elif isinstance(value, str) and HIDDEN in value:
            name = variable(path.removeprefix("tracker."))
            kept = os.environ.get(name, "")
            if HIDDEN in kept or _hidden_value(key, kept) != value:
                raise SegframeError(
                    path,
                    expected=f"its secret in the environment, {name}, since no record keeps it",
                    got="another address there" if kept else f"{value}, and nothing there",
                    remedy=f"export {name}=..., with all of the address.",
                )
            found[key] = kept
        else:
            found[key] = value
    return found
