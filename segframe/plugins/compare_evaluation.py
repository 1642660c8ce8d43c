"""A run as `compare --evaluation NAME` sees it: by its scores on other data (the verb `evaluate`)."""

from __future__ import annotations

from dataclasses import replace

from segframe.errors import SegframeError
from segframe.plugins.compare_run import ComparedRun
from segframe.record import Record


def as_evaluated(run: ComparedRun, name: str) -> ComparedRun:
    """The run with these scores in the place of those on its test part.

    Raises:
        SegframeError: it has no evaluation of that name.
    """
    found = Record(run.folder).read(f"evaluations/{name}.json")
    if found is None or run.result is None:
        there = [file.stem for file in sorted((run.folder / "evaluations").glob("*.json"))]
        raise SegframeError(
            f"--evaluation {name}",
            expected=f"an evaluation of that name in {run.folder}",
            got=", ".join(there) or "none",
            remedy=f"Make it: python -m segframe evaluate {run.folder} DATA --name {name}",
        )
    scores = {f"test/{key}": value for key, value in found["scores"].items()}
    return replace(
        run,
        data=found["data"]["content_hash"],
        contract=found["metric_contract"],
        result={**run.result, "scores": scores, "per_image": {"test": found["per_image"]}},
    )
