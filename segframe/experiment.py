"""Run, RunResult, and one run from config to scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe import identity, metrics, provenance
from segframe.catalog import build, check
from segframe.console import log_file
from segframe.dataset import IGNORED, Dataset
from segframe.errors import SegframeError
from segframe.interrupt import Interrupt, catching
from segframe.manager import Plugins
from segframe.quiet import import_tensorflow
from segframe.record import FINISHED, RUNNING, Record, ending
from segframe.resume import run_folder
from segframe.settings import check_settings
from segframe.split import parts
from segframe.tracking import Telling

if TYPE_CHECKING:
    import keras

    from segframe.evaluator import Evaluator
    from segframe.pipeline import Pipeline

log = logging.getLogger("segframe")


@dataclass(frozen=True)
class Run:
    """Everything of one run, put together: what `segframe_fit` and `segframe_callbacks` are given."""

    config: Mapping[str, Any]
    """The resolved config, as in RUN_DIR/config.yaml."""
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
    """By part: "id", "loss" and the keys of segframe.metrics.image_scores, one entry per image."""
    out_dir: str = ""


def check_config(plugins: Plugins, config: Mapping[str, Any]) -> None:
    """Everything about a config that can be said without data and TensorFlow.

    Raises:
        SegframeError: the first fault.
    """
    check_settings(config)
    for kind in ("dataset", "model", "loss", "optimizer", "tracker"):
        check(plugins, kind, config[kind])
    for label, section in config["augment"].items():
        if not isinstance(section, Mapping):
            raise SegframeError(
                f"augment.{label}",
                expected="a section with a name",
                got=repr(section),
                remedy="See conf/augment/flips.yaml.",
            )
        check(plugins, "augment", section, f"augment.{label}")


def run_experiment(
    plugins: Plugins,
    config: Mapping[str, Any],
    parent: str | None = None,
    started: Callable[[Path], None] = lambda folder: None,
) -> RunResult:
    """Train, validate, score and record what a config describes; a run that is there already goes on.

    Args:
        parent: the tracker's id of the sweep that this run is a job of.
        started: called with the run's folder, once that is known.

    Raises:
        SegframeError: something that the user can mend, found before training wherever possible.
        Interrupted: somebody stopped it; its state is saved.
    """
    check_config(plugins, config)
    dataset = build(plugins, "dataset", config["dataset"])
    tracker = build(plugins, "tracker", config["tracker"])
    own = identity.identity_of(config, dataset.content_hash, identity.code_hash())
    chosen = parts(dataset, config["split"])
    record, fresh = run_folder(config, own)
    started(record.folder)
    with record.lock():
        if record.status() == FINISHED:
            log.info(
                "This very run is finished already; here is its result. train.resume=never trains it anew."
            )
            return RunResult(**record.read("result.json"))
        with ExitStack() as stack:
            stack.enter_context(log_file(record.folder / "run.log"))
            interrupt = stack.enter_context(catching())
            if fresh:
                record.write_config(config)
                record.write("record.json", _facts(plugins, dataset, own, chosen))
            record.set_status(RUNNING)
            told = Telling(tracker, record, parent)
            try:
                import_tensorflow()
                told.open()
                run = _put_together(plugins, config, record, dataset, chosen, told, interrupt)
                result = plugins.hook.segframe_fit(run=run)
                _finish(run, record, result)
                record.set_status(FINISHED)
                told.close()
            except BaseException as error:
                record.set_status(*ending(error))
                told.close(error)
                raise
    return result


def _facts(
    plugins: Plugins, dataset: Dataset, own: Mapping[str, Any], chosen: Mapping[str, Any]
) -> dict[str, Any]:
    commit, diff = provenance.git(Path(__file__).parent)
    work_commit, work_diff = provenance.git(Path.cwd())
    return {
        "identity": dict(own),
        "versions": provenance.versions(plugins),
        "git": {"segframe": commit, "segframe_diff": diff, "folder": work_commit, "folder_diff": work_diff},
        "data": {
            "content_hash": dataset.content_hash,
            "class_names": list(dataset.class_names),
            "foreground": metrics.foreground(dataset.class_names),
            "spacing_mm": dataset.spacing and list(dataset.spacing),
            "samples": {name: list(part.ids) for name, part in chosen.items()},
        },
        "metric_contract": metrics.CONTRACT,
    }


def _put_together(plugins, config, record, dataset, chosen, told, interrupt) -> Run:
    """Import TensorFlow, set it up and build all parts of the run."""
    from segframe.runtime import set_up

    xla = set_up(config, record)
    from segframe.evaluator import Evaluator
    from segframe.pipeline import Pipeline
    from segframe.step import Steps

    train = config["train"]
    augmentations = [
        build(plugins, "augment", section, f"augment.{label}") for label, section in config["augment"].items()
    ]
    model = build(
        plugins, "model", config["model"], image_shape=dataset.image_shape, num_classes=dataset.num_classes
    )
    pipeline = Pipeline(
        dataset,
        chosen,
        batch_size=train["batch_size"],
        seed=config["seed"],
        augmentations=augmentations,
        size_multiple=getattr(model, "size_multiple", 1),
    )
    loss = build(
        plugins,
        "loss",
        config["loss"],
        num_classes=dataset.num_classes,
        ignore_index=IGNORED,
        spacing=dataset.spacing,
    )
    optimizer = build(
        plugins, "optimizer", config["optimizer"], total_steps=pipeline.steps("train") * train["epochs"]
    )
    if train["precision"] == "float16":
        import keras

        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    steps = Steps(
        model,
        loss,
        optimizer,
        pipeline.normalisation,
        num_classes=dataset.num_classes,
        augmented=bool(augmentations),
        xla=xla,
    )
    facts = record.read("record.json")
    facts |= {
        "normalisation": pipeline.normalisation.as_json(),
        "parameters": int(model.count_params()),
        "xla": xla,
        "machine": provenance.machine(),
    }
    record.write("record.json", facts)
    told.facts(facts)
    return Run(
        config=config,
        out_dir=record.folder,
        plugins=plugins,
        dataset=dataset,
        pipeline=pipeline,
        model=model,
        loss=loss,
        metrics=Evaluator(steps, pipeline),
        optimizer=optimizer,
        tracker=told,
        interrupt=interrupt,
    )


def _finish(run: Run, record: Record, result: RunResult) -> None:
    """What the run leaves: weights, the exported model, the result; all of it told to the tracker."""
    from segframe.export import save_model, save_weights

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
        },
    )
    save_model(
        run.out_dir / "saved_model",
        run.model,
        run.pipeline.normalisation,
        num_classes=run.dataset.num_classes,
        channels=run.dataset.image_shape[2],
    )
    record.write("result.json", vars(result))
    run.tracker.result(result)
