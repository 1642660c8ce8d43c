"""A finished run's network over a part of some data, by the very steps that scored it in the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from segframe.dataset import foreground
from segframe.evaluator import Evaluator, PartScores
from segframe.load_model import load_model
from segframe.manager import plugin_manager
from segframe.patches import Patches
from segframe.pipeline import Pipeline
from segframe.plugins.evaluate_data import EvaluatedData
from segframe.plugins.predict_run import sha256
from segframe.provenance import machine, versions
from segframe.record import Record
from segframe.requested_metrics import RequestedMetrics
from segframe.runtime import use_threads
from segframe.step import Steps
from segframe.trained_model import size_multiple


def evaluate(
    weights: Path, record: Record, data: EvaluatedData, requested: RequestedMetrics
) -> tuple[dict[str, Any], PartScores]:
    """(what scored: the run, its weights, software and machine; the scores).

    Batches, padding, graphs and threads are the run's, so on its own test part the scores are its own, bit
    for bit, with the same software on the same kind of device. There is no loss among them: a loss may need
    maps, or class weights of the training data.
    """
    threads = (record.read("record.json") or {}).get("threads")
    if threads:
        use_threads(threads)
    model = load_model(weights)
    patch = model.config.get("patch")  # None in a run from before there was this section
    pipeline = Pipeline(
        data.dataset,
        {data.facts["split"]: data.part},
        batch_size=model.config["train"]["batch_size"],
        seed=model.config["seed"],
        size_multiple=size_multiple(model.network),
        normalisation=model.normalisation,
        patches=Patches.of(patch, foreground(model.class_names)) if patch else None,
    )
    steps = Steps(
        model.network,
        lambda target, logits: tf.zeros(tf.shape(logits)[:1]),
        None,
        model.normalisation,
        num_classes=len(model.class_names),
        scaled=False,
        xla=model.xla,
        full_size=pipeline.full_size,
    )
    found = Evaluator(steps, pipeline, requested).score(data.facts["split"], requested=True)
    known = {key: value for key, value in machine().items() if key != "command"}
    facts = {
        "run": weights.parent.name,
        "weights_sha256": sha256(weights),
        "spacing_mm": data.dataset.spacing and list(data.dataset.spacing),
        "versions": versions(plugin_manager()),
        "machine": known | {"threads": tf.config.threading.get_intra_op_parallelism_threads()},
    }
    return facts, PartScores(
        {key: value for key, value in found.scores.items() if key != "loss"},
        {key: values for key, values in found.per_image.items() if key != "loss"},
        found.counts,
    )
