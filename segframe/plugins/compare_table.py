"""A comparison as tables: on the terminal, and for the report in HTML."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from segframe.plugins.compare_pairs import seen_from, turned
from segframe.plugins.compare_run import COSTS

if TYPE_CHECKING:
    from rich.table import Table


def print_comparison(found: Mapping[str, Any]) -> None:
    """Tables of the scores, the differences to the first, the costs; then what follows from them."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    for table in tables(found):
        console.print(_rich(*table))
    for note in found["notes"]:
        console.print(f"Note: {note}.", markup=False)
    for sentence in found["conclusions"]:
        console.print(sentence, markup=False, style="bold")


def tables(found: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, headings, rows of text), for the terminal and for HTML."""
    rows = found.get("recipes") or found["models"]
    made = [_recipes(found) if "recipes" in found else _models(found)]
    if found["pairs"]:
        made.append(_differences(found))
    # A column only where every run has recorded it.
    keys = [key for key in COSTS if all(key in row["cost"] for row in rows)]
    if keys:
        name = "recipe" if "recipes" in found else "model"
        lines = [[row[name], *(_cost(key, row["cost"][key]) for key in keys)] for row in rows]
        made.append(("Cost, median of the runs", [name, *(COSTS[key] for key in keys)], lines))
    return made


def _recipes(found: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    score, better = found["score"], "higher" if found["larger_is_better"] else "lower"
    title = f"Which recipe is better? {found['ranked_by']}, {better} is better; {found['population']}"
    sizes = len({row["train_samples"] for row in found["recipes"]}) > 1
    lines = [
        [
            "" if row["ranks"] is None else _range(row["ranks"]),
            row["recipe"],
            *[f"{row['train_samples']:,}"] * sizes,
            str(len(row["runs"])) + (f" (+{len(row['unfinished'])} unfinished)" if row["unfinished"] else ""),
            _mean(row["val"]),
            _limits(row["val"]),
            _mean(row["test"]),
            _limits(row["test"]),
        ]
        for row in found["recipes"]
    ]
    headings = [
        "rank",
        "recipe",
        *["train images"] * sizes,
        "runs",
        f"val/{score}",
        "95 % interval",
        f"test/{score}, final",
        "95 % interval",
    ]
    return title, headings, lines


def _models(found: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    better = "higher" if found["larger_is_better"] else "lower"
    title = f"Which of these models is better on this test set? test/{found['score']}, {better} is better"
    lines = [
        [
            row["model"],
            row["recipe"],
            str(row["seed"]),
            str(row["images"]),
            _number(row["mean"]),
            _limits(row),
            _number(row["median"]),
            _number(row["pooled"]),
        ]
        for row in found["models"]
    ]
    return title, ["model", "recipe", "seed", "images", "mean", "95 % interval", "median", "pooled"], lines


def _differences(found: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    """To the baseline, or to the first; all pairs are in the JSON."""
    rows = found.get("recipes") or found["models"]
    first = found["baseline"] or rows[0]["recipe" if "recipes" in found else "model"]
    about = [turned(pair) for pair in seen_from(first, found["pairs"])]
    tests = ", ".join(dict.fromkeys(pair["test"] for pair in about))
    title = f"Difference to {first}: {tests}; p by Holm over {len(found['pairs'])} pairs"
    detectable = any("detectable" in pair for pair in about)
    headings = [
        "",
        "difference",
        "95 % interval",
        "p",
        "p (Holm)",
        "effect size",
        *["detectable"] * detectable,
        "it is",
    ]
    lines = [
        [
            pair["a"],
            f"{pair['difference']:+.4f}",
            _limits(pair),
            _p(pair["p"]),
            _p(pair["p_holm"]),
            "" if pair["effect"] is None else f"{pair['effect']:+.2f}",
            *[_number(pair.get("detectable"))] * detectable,
            pair["verdict"],
        ]
        for pair in about
    ]
    return title, headings, lines


def _rich(title: str, headings: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for heading in headings:
        text = heading in ("", "recipe", "model", "it is")
        table.add_column(heading, justify="left" if text else "right", overflow="fold")
    for line in lines:
        table.add_row(*(escape(cell) for cell in line))
    return table


def _range(ranks: Sequence[int]) -> str:
    return str(ranks[0]) if ranks[0] == ranks[1] else f"{ranks[0]}-{ranks[1]}"


def _mean(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    return _number(one["mean"]) + ("" if one["std"] is None else f" ± {one['std']:.4f}")


def _limits(one: Mapping[str, Any] | None) -> str:
    return "" if one is None or one["low"] is None else f"{one['low']:.4f} to {one['high']:.4f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _cost(key: str, value: float) -> str:
    return f"{value:,.0f}" if key in ("parameters", "epoch") or value >= 1000 else f"{value:.3g}"
