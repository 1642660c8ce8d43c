"""Figures of a comparison's report, each as the bytes of a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from segframe.plugins.compare_run import COSTS, ComparedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
MOST_STRIPS = 24
Groups = Mapping[str, Sequence[ComparedRun]]
"""{label: its runs}, in the order of the table."""


def curves(groups: Groups, score: str) -> bytes | None:
    """val/SCORE over the epochs: a thin line for each run, a thick one for their mean. None without any."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    figure, axis = new_figure(8, 4)
    drawn = False
    for colour, (label, runs) in zip(colours(len(groups)), groups.items(), strict=True):
        lines: dict[int, list[float]] = {}
        for run in runs:
            found = [
                (e["epoch"], e[f"val/{score}"]) for e in run.history if e.get(f"val/{score}") is not None
            ]
            for epoch, value in found:
                lines.setdefault(epoch, []).append(value)
            if found:
                axis.plot(*np.transpose(found), color=colour, alpha=0.3, lw=0.8)
        # Where a run has ended the mean would jump: it is drawn as far as all of them go.
        mean = [
            (epoch, float(np.mean(lines[epoch]))) for epoch in sorted(lines) if len(lines[epoch]) == len(runs)
        ]
        if mean:
            drawn = True
            axis.plot(*np.transpose(mean), color=colour, lw=2.2, label=label, marker="o", ms=3)
    if not drawn:
        return None
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylabel(f"val/{score}")
    legend(figure)
    return as_png(figure)


def strips(groups: Groups, score: str) -> bytes | None:
    """Each test image's score as a point, a strip for each run; None where no run keeps them."""
    import numpy as np

    tables = [
        (label, run, values)
        for label, runs in groups.items()
        for run in runs
        if (values := [value for value in run.image_scores(score).values() if value is not None])
    ][:MOST_STRIPS]
    if not tables:
        return None
    figure, axis = new_figure(max(6.0, 0.45 * len(tables) + 2), 4.2)
    colour_of = dict(zip(groups, colours(len(groups)), strict=True))
    random = np.random.default_rng(0)
    seen: set[str] = set()
    for place, (label, _, values) in enumerate(tables):
        across = place + random.uniform(-0.25, 0.25, len(values))
        named = "_nolegend_" if label in seen else label
        seen.add(label)
        axis.scatter(across, values, s=9, alpha=0.55, color=colour_of[label], linewidths=0, label=named)
        axis.hlines(np.median(values), place - 0.35, place + 0.35, color="black", lw=1.5)
    names = [f"seed {run.seed}" for _, run, _ in tables]
    axis.set_xticks(range(len(tables)), names, rotation=60, ha="right", fontsize=7)
    axis.set_ylabel(f"test/{score} of an image")
    legend(figure)
    return as_png(figure)


def pareto(rows: Sequence[Mapping[str, Any]], key: str, ranked_by: str, larger: bool) -> bytes | None:
    """The score over a cost, with the front: what nothing cheaper beats. None where it is not recorded."""
    if not all(key in row["cost"] for row in rows) or len({row["cost"][key] for row in rows}) < 2:
        return None
    figure, axis = new_figure(7, 4)
    for colour, row in zip(colours(len(rows)), rows, strict=True):
        x, y = row["cost"][key], row["val"]["mean"]
        half = None if row["val"]["low"] is None else [[y - row["val"]["low"]], [row["val"]["high"] - y]]
        axis.errorbar([x], [y], half, fmt="o", color=colour, capsize=3, label=row["recipe"])
    front = pareto_front([(row["cost"][key], row["val"]["mean"]) for row in rows], larger)
    axis.step(*zip(*front, strict=True), where="post", color="grey", lw=1, ls="--")
    axis.set_xlabel(COSTS[key])
    axis.set_ylabel(ranked_by)
    legend(figure)
    return as_png(figure)


def pareto_front(points: Sequence[tuple[float, float]], larger: bool) -> list[tuple[float, float]]:
    """The (cost, score) that no cheaper or equally cheap one reaches, cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1] if larger else point[1])):
        if not front or (score > front[-1][1] if larger else score < front[-1][1]):
            front.append((cost, score))
    return front


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axis = figure.subplots()
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def colours(count: int) -> list[str]:
    from segframe.figures import PALETTE

    order = ("#0072B2", "#D55E00", *(colour for colour in PALETTE if colour not in ("#0072B2", "#D55E00")))
    return [order[index % len(order)] for index in range(count)]


def legend(figure: Figure) -> None:
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)


def as_png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()
