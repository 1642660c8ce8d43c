"""Run, RunResult, and one run from config to scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe import identity
from segframe.assemble import facts, put_together
from segframe.catalog import build, check
from segframe.check_values import probe_values
from segframe.console import log_file
from segframe.dataset import Dataset, corner
from segframe.errors import SegframeError
from segframe.folds import seen_as_fold
from segframe.hiding import with_secrets, without_secrets
from segframe.interrupt import Interrupt, catching
from segframe.manager import Plugins
from segframe.order import order_facts
from segframe.quiet import import_tensorflow
from segframe.record import FINISHED, RUNNING, Record, ending
from segframe.resume import run_folder
from segframe.settings import check_settings
from segframe.split import check_same, parts
from segframe.tracking import Telling, link

if TYPE_CHECKING:
    import keras

    from segframe.evaluator import Evaluator
    from segframe.pipeline import Pipeline

log = logging.getLogger("segframe")


@dataclass(frozen=True)
class Run:
    """Everything of one run, put together: what `segframe_fit` and `segframe_callbacks` are given."""

    config: Mapping[str, Any]
    """The resolved config, as in RUN_DIR/config.yaml: without the tracker's secrets."""
    out_dir: Path
    plugins: Plugins
    dataset: Dataset
    pipeline: Pipeline
    model: keras.Model
    loss: Any
    metrics: Evaluator
    """Scores and predicts with the model's present weights: `run.metrics.score("val")`."""
    optimizer: keras.optimizers.Optimizer
    tracker: Telling
    """Told of epochs and files; never raises."""
    interrupt: Interrupt
    """Whether somebody asked the run to stop; `segframe_fit` looks after each step."""


@dataclass(frozen=True)
class RunResult:
    """What a finished run is judged by. JSON-able; nan stands as None."""

    objective: float | None
    """val/dice of the chosen epoch, to be maximised; None without a validation part."""
    epoch: int
    """The epoch whose weights are kept, counted from 1."""
    chosen_by: str
    """"val/dice", or "last epoch" where there is no validation part."""
    scores: dict[str, float | None]
    """"val/..." and "test/..." of the chosen weights."""
    test_at: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Test scores of train.score_test_at, by epoch."""
    per_image: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    """By part: "id", "loss" and the keys of segframe.metrics.image_scores and of the requested metrics,
    one entry per image."""
    per_image_test_at: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    """The same of the test part, by epoch of train.score_test_at, without the requested metrics."""
    confusion: dict[str, list[list[int]]] = field(default_factory=dict)
    """By part: confusion counts of the chosen weights over all its images, true class by predicted class."""
    out_dir: str = ""


def check_config(plugins: Plugins, config: Mapping[str, Any]) -> None:
    """Everything about a config that can be said without data and TensorFlow.

    Raises:
        SegframeError: the first fault.
    """
    check_settings(config)
    for kind in ("dataset", "model", "loss", "optimizer", "tracker"):
        check(plugins, kind, config[kind])
    for kind, example in (("augment", "flips"), ("metrics", "surface")):
        for label, section in config[kind].items():
            if not isinstance(section, Mapping):
                raise SegframeError(
                    f"{kind}.{label}",
                    expected="a section with a name",
                    got=repr(section),
                    remedy=f"See conf/{kind}/{example}.yaml.",
                )
            check(plugins, kind, section, f"{kind}.{label}")


def run_experiment(
    plugins: Plugins,
    config: Mapping[str, Any],
    parent: str | None = None,
    started: Callable[[Path], None] = lambda folder: None,
    wait: bool = False,
) -> RunResult:
    """Train, validate, score and record what a config describes; a run that is there already goes on.

    Args:
        parent: the tracker's id of the sweep that this run is a job of.
        started: called with the run's folder, once that is known.
        wait: for another process that is working on this very run, instead of refusing.

    Raises:
        SegframeError: something that the user can mend, found before training wherever possible.
        Interrupted: somebody stopped it; its state is saved.
        Pruned: so did a sweeper that has seen enough of it.
    """
    check_config(plugins, config)
    tracker = build(plugins, "tracker", with_secrets(config)["tracker"])
    config = without_secrets(config)
    dataset = seen_as_fold(build(plugins, "dataset", config["dataset"]), config)
    own = identity.identity_of(config, dataset.content_hash, identity.code_hash())
    chosen = parts(dataset, config["split"])
    own |= order_facts(dataset, chosen["train"])
    probe_values(plugins, config, dataset, chosen)
    record, _ = run_folder(config, own)
    with record.lock(wait):
        fresh = record.read("record.json") is None  # now: another process may have made it meanwhile
        started(record.folder)
        if parent:
            record.write("sweep.json", {"parent": parent})
        if record.status() == FINISHED:
            log.info(
                "This very run is finished already; here is its result. train.resume=never trains it anew."
            )
            if parent:
                link(tracker, record, parent)
            return RunResult(**record.read("result.json"))
        with ExitStack() as stack:
            stack.enter_context(log_file(record.folder / "run.log"))
            interrupt = stack.enter_context(catching())
            if fresh:
                record.write("record.json", facts(plugins, dataset, own, chosen))
            else:
                check_same(chosen, record.read("record.json")["data"]["samples"], str(record.folder))
            if not (record.folder / "config.yaml").exists():  # new, or killed between these two lines
                record.write_config(config)
            record.set_status(RUNNING)
            told = Telling(tracker, record, parent)
            try:
                import_tensorflow()
                interrupt.leave()  # asked to stop meanwhile: nothing is there to save yet
                told.open()
                run = put_together(plugins, config, record, dataset, chosen, told, interrupt)
                interrupt.leave()
                result = plugins.hook.segframe_fit(run=run)
                _finish(run, record, result)
                record.set_status(FINISHED)
                told.close()
            except BaseException as error:
                record.set_status(*ending(error))
                told.close(error)
                raise
    return result


def _finish(run: Run, record: Record, result: RunResult) -> None:
    """What the run leaves: weights, the exported model, the result; all of it told to the tracker."""
    from segframe.checkpoint import digest_of, values_of
    from segframe.export import EXAMPLE_SIDE, save_model, save_weights

    facts = record.read("record.json")
    save_weights(
        run.out_dir / "model.weights.h5",
        run.model,
        {
            "config": run.config,
            "normalisation": facts["normalisation"],
            "versions": facts["versions"],
            "class_names": list(run.dataset.class_names),
            "image_shape": list(run.dataset.image_shape),
            "xla": facts["xla"],
            "operations": facts["operations"],
        },
    )
    part = next(iter(run.pipeline.parts.values()))
    save_model(
        run.out_dir / "saved_model",
        run.model,
        run.pipeline.normalisation,
        num_classes=run.dataset.num_classes,
        channels=run.dataset.image_shape[2],
        example=corner(run.dataset, part.split, part.indices[0], EXAMPLE_SIDE),
    )
    digest = digest_of({"model": values_of(run.model.weights)})
    record.write("record.json", {**facts, "weights_sha256": digest})
    record.write("result.json", vars(result))
    run.tracker.result(result)
