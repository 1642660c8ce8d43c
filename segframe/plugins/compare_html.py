"""A comparison as one HTML file that needs no other: tables, figures, worst cases."""

from __future__ import annotations

import base64
import html
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segframe.atomic import writable, write_text
from segframe.errors import SegframeError
from segframe.plugins.compare_cases import MOST_MODELS, worst_cases
from segframe.plugins.compare_figures import MOST_STRIPS, curves, pareto, strips
from segframe.plugins.compare_files import REMEDY
from segframe.plugins.compare_learning import learning_curve
from segframe.plugins.compare_run import COSTS, NO_AXIS, ComparedRun
from segframe.plugins.compare_table import tables

log = logging.getLogger("segframe")

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }
table { border-collapse: collapse; margin: 0.6em 0 1.6em } td, th { padding: 0.25em 0.8em; text-align: right }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left } th { border-bottom: 2px solid #444 }
tr:nth-child(even) td { background: #f3f3f3 } img { max-width: 100% }
.said { font-weight: 600 } .note { color: #774400 }
"""


def write_html(found: Mapping[str, Any], runs: Sequence[ComparedRun], path: Path, worst: int) -> None:
    """Write the report.

    Args:
        found: of compare_recipes or compare_models.
        worst: how many of the worst test images are drawn; where that cannot be done, the report says why.

    Raises:
        SegframeError: the file cannot be written.
    """
    by_folder = {str(run.folder): run for run in runs}
    if "recipes" in found:
        groups = {row["recipe"]: [by_folder[run["run"]] for run in row["runs"]] for row in found["recipes"]}
    else:
        groups = {row["model"]: [by_folder[row["run"]]] for row in found["models"]}
    score, parts = found["score"], [f"<h1>{_text(found['question'].capitalize())}?</h1>"]
    parts.append(f"<p>Population: {_text(found['population'])}.</p>")
    parts += [f'<p class="said">{_text(sentence)}</p>' for sentence in found["conclusions"]]
    parts += [f'<p class="note">Note: {_text(note)}.</p>' for note in found["notes"]]
    parts += [_table(*table) for table in tables(found)]
    parts.append(_figure(f"val/{score} over the epochs", curves(groups, score)))
    runs_drawn = sum(map(len, groups.values()))
    title = f"test/{score}, image by image"
    if runs_drawn > MOST_STRIPS:
        title += f" (the first {MOST_STRIPS} of {runs_drawn} runs)"
    parts.append(
        _figure(f"{title}; the line is the median. These points are images, not runs", strips(groups, score))
    )
    if "recipes" in found:
        title = f"Learning curve: {score} over the number of training images, with 95 % intervals"
        parts.append(_figure(title, learning_curve(found["recipes"], score)))
        for key in (key for key in COSTS if key not in NO_AXIS):
            picture = pareto(found["recipes"], key, found["ranked_by"], found["larger_is_better"])
            parts.append(_figure(f"{found['ranked_by']} over {COSTS[key]}, with 95 % intervals", picture))
    if worst:
        parts.append(_worst(groups, score, worst))
    whole = html.escape(json.dumps(found, indent=1, ensure_ascii=False), quote=False)
    parts.append(f"<details><summary>All numbers (JSON)</summary><pre>{whole}</pre></details>")
    title = _text(found["question"])
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    )
    with writable(str(path), REMEDY):
        write_text(path, head + "\n".join(part for part in parts if part) + "</html>\n")
    log.info("Report: %s", path)


def _worst(groups: Mapping[str, Sequence[ComparedRun]], score: str, count: int) -> str:
    try:
        cases = worst_cases(groups, score, count)
    except SegframeError as error:
        log.warning("The worst cases are not drawn: %s", error)
        return f'<h2>Worst cases</h2><p class="note">Not drawn: {_text(str(error))}</p>'
    told = f"the worst mean; of each of the first {MOST_MODELS} recipes the run that validation likes best"
    pictures = "".join(f"<h3>{_text(name)}</h3>{_image(picture)}" for name, picture in cases)
    return f"<h2>Worst cases</h2><p>Test images with {told}.</p>{pictures}"


def _figure(title: str, picture: bytes | None) -> str:
    return "" if picture is None else f"<h2>{_text(title)}</h2>{_image(picture)}"


def _image(picture: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def _table(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{_text(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<h2>{_text(title)}</h2><table><tr>{top}</tr>{body}</table>"


def _text(text: str) -> str:
    return html.escape(text)
