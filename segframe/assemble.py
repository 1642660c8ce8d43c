"""The parts of a run put together: from a checked config and an open data set to a Run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe import metrics, provenance
from segframe.builder_facts import loss_facts, mask_facts, model_facts
from segframe.catalog import build
from segframe.custom_ops import custom_ops
from segframe.dataset import Dataset
from segframe.folds import fold_facts
from segframe.identity import differences
from segframe.interrupt import Interrupt
from segframe.loss_maps import maps_of, warping
from segframe.manager import Plugins
from segframe.patches import Patches
from segframe.record import Record
from segframe.settings import steps_per_epoch
from segframe.split import Part
from segframe.tracking import Telling

if TYPE_CHECKING:
    from segframe.experiment import Run

log = logging.getLogger("segframe")


def facts(
    plugins: Plugins, dataset: Dataset, own: Mapping[str, Any], chosen: Mapping[str, Part]
) -> dict[str, Any]:
    """record.json of a new run, as far as it is known before TensorFlow is there."""
    commit, diff = provenance.git(Path(__file__).parent)
    work_commit, work_diff = provenance.git(Path.cwd())
    return {
        "identity": dict(own),
        "started_in": str(Path.cwd()),
        "versions": provenance.versions(plugins),
        "environment": provenance.environment(),
        "git": {"segframe": commit, "segframe_diff": diff, "folder": work_commit, "folder_diff": work_diff},
        "data": {
            "content_hash": dataset.content_hash,
            "class_names": list(dataset.class_names),
            "foreground": metrics.foreground(dataset.class_names),
            "spacing_mm": dataset.spacing and list(dataset.spacing),
            "samples": {name: list(part.ids) for name, part in chosen.items()},
            **({"train_of": list(chosen["train"].whole)} if chosen["train"].whole else {}),
            **fold_facts(dataset),
        },
        "metric_contract": metrics.CONTRACT,
    }


def put_together(
    plugins: Plugins,
    config: Mapping[str, Any],
    record: Record,
    dataset: Dataset,
    chosen: Mapping[str, Part],
    told: Telling,
    interrupt: Interrupt,
) -> Run:
    """Import TensorFlow, set it up and build all parts of the run."""
    from segframe.runtime import set_up

    xla = set_up(config, record)
    from segframe import norm_statistics
    from segframe.evaluator import Evaluator
    from segframe.experiment import Run
    from segframe.outputs import check_outputs
    from segframe.pipeline import Pipeline
    from segframe.requested_metrics import build_requested
    from segframe.sample_cache import cached
    from segframe.step import Steps
    from segframe.weight_average import WeightAverage

    train = config["train"]
    augmentations = {
        label: build(plugins, "augment", section, f"augment.{label}")
        for label, section in config["augment"].items()
    }
    with custom_ops(
        allowed=not xla
    ) as operations:  # so that layers fetch theirs now, before batches are read
        model = build(plugins, "model", config["model"], **model_facts(dataset))
        check_outputs(model, f"model {config['model']['name']!r}", **model_facts(dataset))
    known_of_data = loss_facts(dataset, chosen["train"], warped=bool(warping(augmentations)))
    loss = build(plugins, "loss", config["loss"], **known_of_data)
    patches = Patches.of(config["patch"], metrics.foreground(dataset.class_names))
    maps = maps_of(plugins, loss, config["loss"]["name"], dataset, augmentations, interrupt.leave)
    pipeline = Pipeline(
        cached(dataset, chosen, config["device"]["cache"], interrupt.leave),
        chosen,
        batch_size=train["batch_size"],
        seed=config["seed"],
        augmentations=joined(augmentations.values()),
        size_multiple=getattr(model, "size_multiple", 1),
        maps=maps,
        patches=patches,
    )
    total_steps = steps_per_epoch(train, pipeline.pass_length) * train["epochs"]
    optimizer = build(plugins, "optimizer", config["optimizer"], total_steps=total_steps)
    if train["precision"] == "float16":
        import keras

        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    anew, why = norm_statistics.needed(train["norm_statistics"], model, train["weight_average"] is not None)
    if why:
        log.info(
            "train.norm_statistics=%s: %s (%s).",
            train["norm_statistics"],
            f"taken anew over up to {norm_statistics.MOST_BATCHES} training batches" if anew else "running",
            why,
        )
    steps = Steps(
        model,
        loss,
        optimizer,
        pipeline.normalisation,
        num_classes=dataset.num_classes,
        scaled=pipeline.scaled,
        xla=xla,
        full_size=pipeline.full_size,
        average=WeightAverage(model, train["weight_average"]) if train["weight_average"] else None,
        norm_statistics=anew,
    )
    requested = build_requested(plugins, config["metrics"], dataset.class_names, **mask_facts(dataset))
    known = record.read("record.json")
    now = {"versions": provenance.versions(plugins), "xla": xla, "machine": provenance.machine()}
    now["operations"] = operations
    changes = _warn_of_changes(known, now)
    if changes:  # of what no single machine can reproduce
        known["went_on_elsewhere"] = [*known.get("went_on_elsewhere", []), *changes]
    known |= {
        "norm_statistics": "recomputed" if anew else "running",
        "normalisation": pipeline.normalisation.as_json(),
        "parameters": int(model.count_params()),
        **now,
    }
    if requested:
        known["metric_contract"] = {**metrics.CONTRACT, "requested": requested.contract()}
    if patches:
        known["patch"] = patches.facts(list(maps), dataset.image_shape[:2], pipeline.size_multiple)
    if maps:
        known["maps"] = {name: {"version": kept.version, "kept": kept.where()} for name, kept in maps.items()}
    record.write("record.json", known)
    told.facts(known)
    return Run(
        config=config,
        out_dir=record.folder,
        plugins=plugins,
        dataset=dataset,
        pipeline=pipeline,
        model=model,
        loss=loss,
        metrics=Evaluator(steps, pipeline, requested),
        optimizer=optimizer,
        tracker=told,
        interrupt=interrupt,
    )


def joined(augmentations: Iterable[Any]) -> tuple[Any, ...]:
    """The augmentations in their order, neighbours in one where the second offers that (`after`)."""
    found: list[Any] = []
    for augment in augmentations:
        both = augment.after(found[-1]) if found and hasattr(augment, "after") else None
        found[-1:] = [both] if both is not None else [*found[-1:], augment]
    return tuple(found)


def _warn_of_changes(known: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A run that began elsewhere goes on, but its bits will not be those of an undisturbed one."""
    if "machine" not in known:
        return []  # it begins here
    changes = differences(now["versions"], known["versions"])
    changes += differences({"xla": now["xla"]}, {"xla": known["xla"]})
    changes += differences(now["operations"], known.get("operations", now["operations"]))
    changes += differences({"gpus": now["machine"]["gpus"]}, {"gpus": known["machine"]["gpus"]})
    if changes:
        log.warning("This run began with other software, operations or devices: %s.", "; ".join(changes))
    return changes
