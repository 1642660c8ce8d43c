"""A study opened, or gone on with if it is of the same search."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from hydra_plugins.segframe_optuna.space import Space
from segframe.errors import SegframeError
from segframe.identity import code_hash, is_outside
from segframe.plugins.trial import open_storage

log = logging.getLogger("segframe")


def open_study(
    name: str, uri: str, pruner: optuna.pruners.BasePruner, space: Space, fixed: Sequence[str]
) -> optuna.Study:
    """The study of this name, made if it is not there.

    Raises:
        SegframeError: the storage cannot be opened, or the study is of another space or of other fixed
            overrides: values of other searches are no help to this one.
    """
    try:
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name=name,
            storage=open_storage(uri),
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
    except Exception as error:
        raise SegframeError(
            "hydra.sweeper.storage",
            expected="a database that can be opened",
            got=f"{uri}: {type(error).__name__}: {str(error).splitlines()[0]}",
            remedy="Name another: hydra.sweeper.storage=sqlite:///PATH.",
        ) from error
    essential = [word for word in fixed if not is_outside(word.partition("=")[0].lstrip("+~"))]
    ours: dict[str, Any] = {
        "space": {key: [type(part).__name__, *map(_plain, part)] for key, part in space.items()},
        "fixed": sorted(essential),
    }
    theirs = study.user_attrs.get("search")
    if theirs is None:
        study.set_user_attr("search", ours)
        study.set_user_attr("code", code_hash())
    elif theirs != ours:
        keys = sorted(space.keys() | theirs["space"].keys())
        differing = [key for key in keys if ours["space"].get(key) != theirs["space"].get(key)]
        differing += sorted(set(essential) ^ set(theirs["fixed"]))
        raise SegframeError(
            f"study {name!r}",
            expected="the search that it began with",
            got=f"one that differs in {', '.join(differing)}",
            remedy="Repeat that command, or name another hydra.sweeper.study (and hydra.sweep.dir).",
        )
    elif study.user_attrs.get("code") != code_hash():
        log.warning("segframe or a plugin has changed since this study began: its values are of both.")
    return study


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
