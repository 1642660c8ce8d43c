"""What `evaluate` leaves: RUN_DIR/evaluations/NAME.json and NAME.csv."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.atomic import writable, write_json
from segframe.errors import SegframeError

if TYPE_CHECKING:
    from segframe.evaluator import PartScores

REMEDY = "Name a folder that you may write to: --out DIR."


class Evaluations:
    """One evaluation's files.

    Raises:
        SegframeError: the name is none for a file.
    """

    def __init__(self, folder: Path, name: str):
        if not re.fullmatch(r"[\w][\w.-]*", name):
            raise SegframeError(
                "--name",
                expected="letters, digits, dots, dashes",
                got=repr(name),
                remedy="Choose another name.",
            )
        self.json, self.csv = folder / f"{name}.json", folder / f"{name}.csv"

    def check(self, data: Mapping[str, Any], contract: Mapping[str, Any], force: bool) -> None:
        """Whether they may be written; before anything is computed.

        Raises:
            SegframeError: there are some of other data, split, classes or metrics, or the folder takes none.
        """
        with writable(str(self.json.parent), REMEDY):
            self.json.parent.mkdir(parents=True, exist_ok=True)
            (self.json.parent / ".writable").touch()
            (self.json.parent / ".writable").unlink()
        if not self.json.exists() or force:
            return
        there = json.loads(self.json.read_text(encoding="utf-8"))
        keys = ("content_hash", "split", "classes")
        differing = [key for key in keys if there["data"].get(key) != data.get(key)]
        differing += ["metrics"] if there["metric_contract"] != contract else []
        if differing:
            raise SegframeError(
                str(self.json),
                expected="no evaluation of this name, or one of the same",
                got=f"one that differs in {', '.join(differing)}",
                remedy="Give this one a --name of its own, or replace that with --force.",
            )

    def write(self, facts: Mapping[str, Any], ids: Sequence[str], found: PartScores) -> dict[str, Any]:
        """The JSON, as it is written: scores, and those of each image, an undefined one null."""
        from segframe.plugins.predict_scores import defined, write_images

        by_image = {
            key: list(defined({str(n): value for n, value in enumerate(values.tolist())}).values())
            for key, values in found.per_image.items()
        }
        written = {
            "name": self.json.stem,
            **facts,
            "images": len(ids),
            "scores": defined(found.scores),
            "per_image": {"id": list(ids), **by_image},
            "confusion": found.counts.sum(0).tolist(),
        }
        with writable(str(self.json), REMEDY):
            write_images(self.csv, ids, found.per_image)
            write_json(self.json, written)
        return written
