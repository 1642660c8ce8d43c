"""The learning curve: a recipe's score over the number of samples that it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from segframe.plugins.compare_figures import as_png, colours, legend, new_figure
from segframe.plugins.compare_recipes import FRACTION


def learning_curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """{label without the share of the data: its rows, fewest training samples first}.

    Only recipes that were trained on several shares; one that was not is a point in no curve.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        others = {key: value for key, value in row["differs"].items() if key != FRACTION}
        groups.setdefault(json.dumps(others, sort_keys=True), []).append(row)
    found = {}
    for group in groups.values():
        if len({row["train_samples"] for row in group}) > 1:
            words = [word for word in group[0]["recipe"].split() if not word.startswith(f"{FRACTION}=")]
            found[" ".join(words) or "all recipes"] = sorted(group, key=lambda row: row["train_samples"])
    return found


def learning_curve(rows: Sequence[Mapping[str, Any]], score: str) -> bytes | None:
    """val/SCORE over training samples (logarithmic), with 95 % intervals over the seeds, and test/SCORE
    dashed; None where no recipe was trained on several shares of the data."""
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    found = learning_curves(rows)
    if not found:
        return None
    figure, axis = new_figure(7, 4.2)
    for colour, (label, group) in zip(colours(len(found)), found.items(), strict=True):
        samples = [row["train_samples"] for row in group]
        means = [row["val"]["mean"] for row in group]
        low = [
            mean if row["val"]["low"] is None else row["val"]["low"]
            for mean, row in zip(means, group, strict=True)
        ]
        high = [
            mean if row["val"]["high"] is None else row["val"]["high"]
            for mean, row in zip(means, group, strict=True)
        ]
        axis.plot(samples, means, color=colour, marker="o", ms=4, lw=2, label=f"{label}, val")
        axis.fill_between(samples, low, high, color=colour, alpha=0.15, linewidth=0)
        scored = [row for row in group if row["test"]]
        if scored:
            axis.plot(
                [row["train_samples"] for row in scored],
                [row["test"]["mean"] for row in scored],
                color=colour, lw=1.2, ls="--", label=f"{label}, test",
            )  # fmt: skip
    axis.set_xscale("log")
    axis.set_xticks(sorted({row["train_samples"] for group in found.values() for row in group}))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("training images")
    axis.set_ylabel(score)
    legend(figure)
    return as_png(figure)
