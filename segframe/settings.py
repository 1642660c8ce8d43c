"""The config's own sections (all but those that plugins take): keys, types and ranges. No defaults here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from segframe.errors import SegframeError, nearest
from segframe.folds import check_fold
from segframe.validate import validate


def _at_least(low: float) -> Any:
    from pydantic import Field

    return Field(ge=low)


def _between(low: float, high: float) -> Any:
    from pydantic import Field

    return Field(gt=low, lt=high)


def _within(low: float, high: float) -> Any:
    from pydantic import Field

    return Field(ge=low, le=high)


def _two() -> Any:
    from pydantic import Field

    return Field(min_length=2, max_length=2)


def _share() -> Any:
    from pydantic import Field

    return Field(gt=0, le=1)


def _seed() -> Any:
    from pydantic import Field

    return Field(ge=0, lt=2**32)  # what NumPy and Keras take


def _not_empty() -> Any:
    from pydantic import Field

    return Field(min_length=1)


class Split(TypedDict):
    """conf/split."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]
    val: Literal["auto", "none"]
    val_fraction: Annotated[float, _between(0, 1)]
    train_fraction: Annotated[float, _share()]
    seed: Annotated[int, _at_least(0)]
    folds: Annotated[int, _at_least(2)] | None
    fold: Annotated[int, _at_least(0)] | None
    repeat: Annotated[int, _at_least(0)]
    fold_splits: list[Literal["train", "val", "test"]]


class Patch(TypedDict):
    """conf/patch."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]
    size: Annotated[list[Annotated[int, _at_least(1)]], _two()] | None
    per_image: Annotated[int, _at_least(1)]
    foreground_share: Annotated[float, _within(0, 1)]
    overlap: Annotated[float, _within(0, 0.9)]


class Train(TypedDict):
    """conf/train."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]
    epochs: Annotated[int, _at_least(1)]
    steps_per_epoch: Annotated[int, _at_least(1)] | None
    batch_size: Annotated[int, _at_least(1)]
    precision: Literal["float32", "bfloat16", "float16"]
    xla: bool | Literal["auto"]
    determinism: Literal["auto", "strict"]
    weight_average: Annotated[float, _between(0, 1)] | None
    norm_statistics: Literal["auto", "running", "recomputed"]
    early_stopping_epochs: Annotated[int, _at_least(1)] | None
    score_test_at: list[Annotated[int, _at_least(1)]]
    resume: Literal["auto", "must", "never"]
    checkpoint_seconds: Annotated[float, _at_least(0)]


class Device(TypedDict):
    """conf/device."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]
    threads: Annotated[int, _at_least(1)] | None
    cache: Literal["none", "memory", "disk"]
    gpu_memory_share: Annotated[float, _share()] | None


class Trial(TypedDict):
    """sweep.trial: which trial of an Optuna study a job is, and when it is given up."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]
    study: str
    storage: str
    number: Annotated[int, _at_least(0)]
    pruner: Literal["median", "hyperband", "none"]
    pruner_startup_trials: Annotated[int, _at_least(0)]
    min_epochs: Annotated[int, _at_least(1)]


class Sweep(TypedDict):
    """The section sweep of conf/config.yaml."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]
    preflight: bool | Literal["auto", "only"]
    resume: bool
    retry_failed: bool
    trial: Trial | None


OWN: dict[str, Any] = {
    "seed": Annotated[int, _seed()],
    "runs_dir": Annotated[str, _not_empty()],
    "run_dir": str | None,
    "split": Split,
    "patch": Patch,
    "train": Train,
    "device": Device,
    "sweep": Sweep,
}
SECTIONS = ("dataset", "model", "loss", "optimizer", "augment", "metrics", "tracker")
"""The sections that plugins take."""


def steps_per_epoch(train: Mapping[str, Any], samples: int) -> int:
    """Weight updates of an epoch: train.steps_per_epoch, or one pass over the training samples.

    Args:
        samples: of a pass, as `pass_length` says.
    """
    return train["steps_per_epoch"] or -(-samples // train["batch_size"])


def pass_length(patch: Mapping[str, Any], images: int) -> int:
    """Samples of one pass over the training part: its images, or their patches."""
    return images * patch["per_image"] if patch["size"] is not None else images


def check_settings(config: Mapping[str, Any]) -> None:
    """Check everything in the config that is the core's own.

    Raises:
        SegframeError: a key is missing or unknown, or a value has the wrong type or lies outside its range.
    """
    known = [*OWN, *SECTIONS]
    for key in config:
        if key not in known:
            raise SegframeError(
                key, expected="a key of conf/config.yaml", got=repr(key), remedy=nearest(key, known)
            )
    for key in known:
        if key not in config:
            raise SegframeError(
                key, expected="this key in the config", got="none", remedy="Restore it from conf/."
            )
    for key, annotation in OWN.items():
        validate(annotation, config[key], key)
    check_fold(config["split"])
    for key in SECTIONS:
        if not isinstance(config[key], Mapping):
            raise SegframeError(
                key,
                expected="a section with a name",
                got=repr(config[key]),
                remedy=f"Choose {key}=OPTION on the command line.",
            )
    train = config["train"]
    late = [epoch for epoch in train["score_test_at"] if epoch > train["epochs"]]
    if late:
        raise SegframeError(
            "train.score_test_at",
            expected=f"epochs up to train.epochs={train['epochs']}",
            got=str(late),
            remedy="Train longer or leave them out.",
        )
    if config["split"]["val"] == "none" and train["early_stopping_epochs"] is not None:
        raise SegframeError(
            "train.early_stopping_epochs",
            expected="null with split.val=none",
            got=str(train["early_stopping_epochs"]),
            remedy="Stopping early needs a validation split.",
        )
