"""What `reproduce` says of its finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from segframe.plugins.reproduce_compare import IDENTICAL

MOST_EPOCHS = 10


def told(found: Mapping[str, Any]) -> Iterator[str]:
    """Lines: the verdict, the numbers behind it, and what may be the cause."""
    weights, alike = found["weights"], found["numbers"] - found["unlike"]
    if found["verdict"] == IDENTICAL:
        by = (
            f"all {weights['numbers']:,} weights"
            if "numbers" in weights
            else f"the weights by {weights['by']}"
        )
        known = by if weights["identical"] else f"the weights are unknown ({weights['by']})"
        yield f"{found['run']}: bit-identical: the same {found['numbers']:,} losses and scores, and {known}"
        return
    verdict = f"{found['verdict']} (tolerance {found['tolerance']:g})"
    yield f"{found['run']}: {verdict}: {alike:,} of {found['numbers']:,} losses and scores are the same"
    for kind, one in found["largest"].items():
        share = "share of a loss" if kind == "loss" else "difference of a score"
        yield f"  largest {share}: {one['difference']:.3g}, {one['at']}: {one['was']} -> {one['is']}"
    if weights["identical"] is False:
        largest = (
            f": largest difference {weights['largest']:.3g}, {weights['at']}" if "largest" in weights else ""
        )
        yield f"  the weights differ (by {weights['by']}){largest}"
    if found["first_epoch_that_differs"] is not None:
        yield f"  the first epoch that differs: {found['first_epoch_that_differs']}"
    for epoch in found["epochs"][:MOST_EPOCHS]:
        values = ", ".join(
            f"{key} {_number(pair[0])} -> {_number(pair[1])}" for key, pair in epoch.items() if key != "epoch"
        )
        yield f"  epoch {epoch['epoch']}: {values}"
    if len(found["epochs"]) > MOST_EPOCHS:
        yield f"  and {len(found['epochs']) - MOST_EPOCHS} more epochs"
    if found["not_as_it_was"]:
        yield "because of what is not as it was:"
        yield from (f"  {line}" for line in found["not_as_it_was"])
    else:
        yield "Nothing that is recorded differs. On a GPU train.determinism=strict makes runs bit-identical."


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
