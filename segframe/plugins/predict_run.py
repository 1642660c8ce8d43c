"""RUN of `predict`: a run's folder, its weights file, or its id in MLflow."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from segframe.errors import SegframeError
from segframe.load_model import FILE, weights_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger("segframe")


def weights_of(run: str, runs_dir: Path, uri: str | None) -> Path:
    """The model.weights.h5 of a run.

    Args:
        run: a folder, a file, or an MLflow run id, which is sought in the runs of `runs_dir`, then in MLflow.
        uri: of the MLflow store; that of `runs_dir` if None.

    Raises:
        SegframeError: there is no such run, or it is not finished.
    """
    path = Path(run).expanduser()
    if not path.exists() and re.fullmatch("[0-9a-f]{32}", run):
        path = _of_id(run, runs_dir, uri)
    return weights_file(path)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_id(run_id: str, runs_dir: Path, uri: str | None) -> Path:
    """The folder of an MLflow run: the runs remember their id, and MLflow their folder."""
    if uri is None:
        for kept in sorted(runs_dir.glob("*/tracker.json")):
            if json.loads(kept.read_text(encoding="utf-8")).get("run_id") == run_id:
                return kept.parent
    client, folder = _tracked(run_id, uri or f"sqlite:///{runs_dir}/mlflow.db")
    return folder if folder.is_dir() else _fetched(client, run_id, folder)


def _fetched(client: MlflowClient, run_id: str, folder: Path) -> Path:
    """The run's weights from MLflow, kept in the cache folder: they never change."""
    from segframe.cache import cache_folder

    place = cache_folder() / "models" / run_id
    file = place / FILE
    if file.is_file():
        return file
    if FILE not in {artifact.path for artifact in client.list_artifacts(run_id)}:
        raise SegframeError(
            run_id,
            expected=f"a run whose folder is on this machine, or whose {FILE} is in MLflow",
            got=f"{folder}, which is not here, and no such file there",
            remedy="Copy the folder here and give its path.",
        )
    log.info("%s is not on this machine: the weights of run %s are fetched from MLflow.", folder, run_id)
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        os.replace(client.download_artifacts(run_id, FILE, scratch), file)
    return file


def _tracked(run_id: str, store: str) -> tuple[MlflowClient, Path]:
    """A client of the store, and the folder that the run was in."""
    from segframe.plugins.mlflow_store import absolute, database, for_mlflow, quiet, without_password

    address = absolute(store)
    file = database(address)
    remedy = "Give --runs-dir, or --uri of the store that has it."
    missing = SegframeError(
        run_id, expected="a run that MLflow has", got=f"none in {without_password(store)}", remedy=remedy
    )
    if file is not None and not file.exists():  # MLflow would make one
        raise missing
    quiet()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=for_mlflow(address))
        tags = client.get_run(run_id).data.tags
    except MlflowException as error:
        raise missing from error
    if "segframe.folder" not in tags:
        raise SegframeError(run_id, expected="a run of segframe", got="another one", remedy=remedy)
    return client, Path(tags["segframe.folder"])
