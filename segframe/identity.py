"""Who a run is: the hash of its config, data and code, by which it is found again."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

OUTSIDE = ("tracker", "device", "runs_dir", "run_dir", "train.resume", "train.checkpoint_seconds", "sweep")
"""Config keys that do not change what is computed."""


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"depth": 4}} -> {"model.depth": 4}: the keys that the command line takes."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def identity_of(config: Mapping[str, Any], data_hash: str, code: str) -> dict[str, Any]:
    """What makes two runs the same run: flat config keys without OUTSIDE, data hash, code hash."""
    flat = {key: value for key, value in flatten(config).items() if not is_outside(key)}
    return {**flat, "data": data_hash, "code": code}


def is_outside(key: str) -> bool:
    """Whether a flat key, or the name of a section, is one of OUTSIDE."""
    return any(key == outside or key.startswith(f"{outside}.") for outside in OUTSIDE)


def run_name(identity: Mapping[str, Any]) -> str:
    """MODEL-DATASET-HASH: readable, and the same for the same identity."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{identity['model.name']}-{identity['dataset.name']}-{digest[:12]}"


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Keys in which two identities differ, as `key: theirs -> ours`."""
    keys = sorted(ours.keys() | theirs.keys())
    return [
        f"{key}: {theirs.get(key, 'none')} -> {ours.get(key, 'none')}"
        for key in keys
        if ours.get(key) != theirs.get(key)
    ]


@cache
def code_hash() -> str:
    """sha256 over the Python source of segframe and of every installed plugin's package."""
    digest = hashlib.sha256()
    for folder in _packages():
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]
        for file in files:
            digest.update(f"{folder.name}/{file.name}".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _packages() -> Iterable[Path]:
    """segframe's folder, then each plugin's package folder or single file, found without importing it."""
    yield Path(__file__).parent
    for top in sorted({entry.module.split(".")[0] for entry in entry_points(group="segframe")}):
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.submodule_search_locations:
            yield from (Path(location) for location in spec.submodule_search_locations)
        elif spec is not None and spec.origin:
            yield Path(spec.origin)
