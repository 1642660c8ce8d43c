"""conf/hydra/sweeper/optuna.yaml: keys, types and ranges; whether what they name is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from segframe.errors import SegframeError
from segframe.validate import validate


def _from(low: float) -> Any:
    from pydantic import Field

    return Field(ge=low)


def _above(low: float) -> Any:
    from pydantic import Field

    return Field(gt=low)


class Settings(TypedDict):
    """How a search is made."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]
    n_trials: Annotated[int, _from(1)]
    timeout_seconds: Annotated[float, _above(0)] | None
    n_jobs: Annotated[int, _from(1)]
    sampler: Literal["tpe", "random", "cmaes", "grid", "qmc"]
    startup_trials: Annotated[int, _from(0)]
    seed: Annotated[int, _from(0)]
    pruner: Literal["median", "hyperband", "none"]
    pruner_startup_trials: Annotated[int, _from(0)]
    min_epochs: Annotated[int, _from(1)]
    study: str | None
    storage: str | None
    params: dict[str, str | int | float | bool | None] | None


def check_settings(given: Mapping[str, Any]) -> Settings:
    """The settings as validated.

    Raises:
        SegframeError: a value is wrong, or a name is no name of a folder.
    """
    settings: Settings = validate(Settings, dict(given), "hydra.sweeper")
    study, storage = settings["study"], settings["storage"]
    if study is not None and (not study or study in (".", "..") or set(study) & set("/\\\0")):
        raise SegframeError(
            "hydra.sweeper.study",
            expected="a name that a folder can have",
            got=repr(study),
            remedy="The search lies in RUNS_DIR/sweeps/NAME; storage=... says where the study is kept.",
        )
    if storage is not None and "://" not in storage:
        raise SegframeError(
            "hydra.sweeper.storage",
            expected="an address such as sqlite:///studies.db or postgresql+psycopg://host/database",
            got=repr(storage),
            remedy=f"For a file of this machine give hydra.sweeper.storage=sqlite:///{storage}.",
        )
    if storage is not None and "@" in storage and ":" in storage.partition("://")[2].rpartition("@")[0]:
        raise SegframeError(
            "hydra.sweeper.storage",
            expected="an address without a password: it is kept with every run",
            got=storage.partition("://")[0] + "://...",
            remedy="Leave the password to the database's own means (PGPASSWORD or ~/.pgpass for PostgreSQL).",
        )
    return settings


def check_installed(sampler: str) -> None:
    """Raises SegframeError: Optuna, or what the sampler needs of it, is not installed."""
    needed = {"optuna": "hydra/sweeper=optuna"}
    if sampler == "cmaes":
        needed["cmaes"] = "hydra.sweeper.sampler=cmaes"
    for package, subject in needed.items():
        if find_spec(package) is None:
            raise SegframeError(
                subject,
                expected=f"the package {package}",
                got="none installed",
                remedy="pip install 'optuna>=5,<6' cmaes (or pip install -e '.[optuna]').",
            )


def storage_uri(settings: Settings, folder: Path) -> str:
    """Where the study is kept; a file's path made absolute, since jobs may run in other folders."""
    uri = settings["storage"] or f"sqlite:///{folder / 'study.db'}"
    if uri.startswith("sqlite:///"):
        return "sqlite:///" + str(Path(uri.removeprefix("sqlite:///")).expanduser().absolute())
    return uri
