"""The values of a config, checked with its data and before TensorFlow is imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from segframe.builder_facts import loss_facts, mask_facts, model_facts
from segframe.catalog import build
from segframe.dataset import Dataset
from segframe.errors import SegframeError
from segframe.folds import seen_as_fold
from segframe.manager import Plugins
from segframe.probe import probe
from segframe.settings import pass_length, steps_per_epoch
from segframe.split import Part, parts
from segframe.terms import labelled, without_weight


def probe_values(
    plugins: Plugins, config: Mapping[str, Any], dataset: Dataset, chosen: Mapping[str, Part]
) -> None:
    """What builders find wrong with their values, before anything is written and TensorFlow is imported.

    Raises:
        SegframeError: a value is outside its range, or does not fit the data.
    """
    train = config["train"]
    if train["score_test_at"] and "test" not in chosen:
        raise SegframeError(
            "train.score_test_at",
            expected="data with a test split",
            got="none",
            remedy="Leave it out, or give the file a test split.",
        )
    samples = pass_length(config["patch"], len(chosen["train"].ids))
    steps = steps_per_epoch(train, samples) * train["epochs"]
    probe(plugins, "model", config["model"], "model", **model_facts(dataset))
    known_of_data = loss_facts(dataset, chosen["train"])
    probe(plugins, "loss", config["loss"], "loss", **known_of_data)
    if "terms" in config["loss"]:
        # The loss itself reaches TensorFlow with its first term.
        for label, term in labelled(config["loss"]["terms"], "loss").items():
            probe(plugins, "loss", without_weight(term), f"loss.terms.{label}", **known_of_data)
    probe(plugins, "optimizer", config["optimizer"], "optimizer", total_steps=steps)
    for label, section in config["augment"].items():
        probe(plugins, "augment", section, f"augment.{label}")
    for label, section in config["metrics"].items():
        probe(plugins, "metrics", section, f"metrics.{label}", **mask_facts(dataset))


def check_with_data(
    plugins: Plugins, config: Mapping[str, Any], opened: dict[str, Any]
) -> tuple[Dataset, dict[str, Part]]:
    """What can be said of a job once its data are open; `opened` keeps them for the next job with the same.

    Returns:
        The data and their parts.

    Raises:
        SegframeError: the data are wrong, or a value is outside its range or does not fit them.
    """
    key = json.dumps([config["dataset"], config["split"], config["runs_dir"]])
    if key not in opened:
        dataset = build(plugins, "dataset", config["dataset"])
        _ = dataset.content_hash  # reads every sample, once for a file
        dataset = seen_as_fold(dataset, config)
        opened[key] = dataset, parts(dataset, config["split"])
    dataset, chosen = opened[key]
    probe_values(plugins, config, dataset, chosen)
    return dataset, chosen
