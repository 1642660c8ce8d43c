"""A run and the same run again: bit-identical, within a tolerance, or different, with the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segframe.identity import differences
from segframe.plugins.reproduce_record import Recorded

IDENTICAL, WITHIN, DIFFERS = "bit-identical", "within tolerance", "differs"


def compared(before: Recorded, after: Recorded, tolerance: float) -> dict[str, Any]:
    """What `reproduce` finds, as JSON.

    Losses and learning rates differ by |a - b| / max(|a|, |b|), scores and weights by |a - b|; "largest" has
    the largest of each with its place. Weights decide on bit-identity only, not on the tolerance.
    """
    numbers = [*_of_history(before, after), *_of_result(before, after)]
    unlike = [(place, a, b) for place, a, b in numbers if a != b]
    largest: dict[str, dict[str, Any]] = {}
    for place, a, b in unlike:
        kind = "loss" if place.rpartition("/")[2] == "loss" or place.endswith("learning_rate") else "score"
        size = _difference(a, b, relative=kind == "loss")
        if kind not in largest or size > largest[kind]["difference"]:
            largest[kind] = {"difference": size, "at": place, "was": a, "is": b}
    weights = _weights(before, after)
    identical = not unlike and weights["identical"] is not False
    worst = max((one["difference"] for one in largest.values()), default=0.0)
    epochs = sorted({int(place.split()[1]) for place, _, _ in unlike if place.startswith("epoch ")})
    return {
        "verdict": IDENTICAL if identical else WITHIN if worst <= tolerance else DIFFERS,
        "tolerance": tolerance,
        "numbers": len(numbers),
        "unlike": len(unlike),
        "first_epoch_that_differs": epochs[0] if epochs else None,
        "largest": largest,
        "weights": weights,
        "epochs": _epochs(before, after),
    }


def operations_that_differ(before: Recorded, after: Recorded) -> list[str]:
    """Those that were computed by another implementation the second time; known once both have run."""
    now = after.facts["operations"]
    return [f"operation {told}" for told in differences(now, before.facts.get("operations", now))]


def _of_history(before: Recorded, after: Recorded) -> Iterator[tuple[str, Any, Any]]:
    """(place, before, after) of every number of an epoch that does not depend on the clock."""
    theirs = {entry["epoch"]: entry for entry in before.history}
    ours = {entry["epoch"]: entry for entry in after.history}
    for epoch in sorted({**theirs, **ours}):
        a, b = theirs.get(epoch, {}), ours.get(epoch, {})
        for key in dict.fromkeys([*a, *b]):
            if key in ("step", "learning_rate", "train/loss") or key.startswith(("val/", "test/")):
                yield f"epoch {epoch} {key}", a.get(key), b.get(key)


def _of_result(before: Recorded, after: Recorded) -> Iterator[tuple[str, Any, Any]]:
    a, b = before.result, after.result
    yield "chosen epoch", a["epoch"], b["epoch"]
    for key in dict.fromkeys([*a["scores"], *b["scores"]]):
        yield f"final {key}", a["scores"].get(key), b["scores"].get(key)
    for part, table in a["per_image"].items():
        again = b["per_image"].get(part, {})
        for key, values in table.items():
            for name, one, other in zip(
                table["id"], values, again.get(key, [None] * len(values)), strict=False
            ):
                if key != "id" or one != other:
                    yield f"image {name} {part}/{key}", one, other


def _difference(a: Any, b: Any, relative: bool) -> float:
    """Infinite where one of them is undefined, missing or no number: no tolerance covers that."""
    if not all(isinstance(value, int | float) for value in (a, b)):
        return float("inf")
    return abs(a - b) / max(abs(a), abs(b)) if relative else float(abs(a - b))


def _weights(before: Recorded, after: Recorded) -> dict[str, Any]:
    """By the files where both are here, else by the digests of the records; identical is None if neither."""
    files = [run.folder / "model.weights.h5" for run in (before, after)]
    if all(file.is_file() for file in files):
        return _of_files(*files)
    digests = [run.facts.get("weights_sha256") for run in (before, after)]
    if None in digests:
        return {
            "identical": None,
            "by": "nothing: the weights are not here, and the record has no digest of them",
        }
    return {"identical": digests[0] == digests[1], "by": "their digest"}


def _of_files(first: Path, second: Path) -> dict[str, Any]:
    import h5py
    import numpy as np

    count, largest, at, identical = 0, 0.0, None, True
    with h5py.File(first) as a, h5py.File(second) as b:
        names: list[str] = []
        a.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        others: list[str] = []
        b.visititems(lambda name, item: others.append(name) if isinstance(item, h5py.Dataset) else None)
        if sorted(names) != sorted(others):
            return {"identical": False, "by": "the files: they are of other networks"}
        for name in names:
            one, other = a[name][()], b[name][()]
            count += int(np.size(one))
            if np.shape(one) != np.shape(other) or one.tobytes() != other.tobytes():
                identical = False
                difference = np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).max()
                if difference >= largest:
                    largest, at = float(difference), name
    told = {"identical": identical, "by": "the files", "numbers": count}
    return told if identical else told | {"largest": largest, "at": at}


def _epochs(before: Recorded, after: Recorded) -> list[Mapping[str, Any]]:
    """Loss and objective of each epoch, then and now."""
    ours = {entry["epoch"]: entry for entry in after.history}
    return [
        {
            "epoch": entry["epoch"],
            **{
                key: [entry.get(key), ours.get(entry["epoch"], {}).get(key)]
                for key in ("train/loss", "val/dice")
                if key in entry
            },
        }
        for entry in before.history
    ]
