"""Where MLflow keeps things: its address made absolute, and the store behind it opened safely."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from segframe.errors import SegframeError
from segframe.hiding import hidden_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"


def absolute(uri: str) -> str:
    """The URI with an SQLite file's path made absolute; other URIs as they are.

    The path is read as it stands, not percent-encoded: a folder called `50%` is written `50%`.

    Raises:
        SegframeError: it has no scheme (MLflow's folders of files are gone), or is SQLite without a file.
    """
    if not re.match(r"^[a-z][a-z0-9+.-]*:", uri):
        raise SegframeError(
            "tracker.uri",
            expected="a URI such as sqlite:///runs/mlflow.db or http://host:5000",
            got=repr(uri),
            remedy=f"For a file of this machine give tracker.uri=sqlite:///{uri}/mlflow.db.",
        )
    if not uri.startswith("sqlite:"):
        return uri
    if not uri.startswith(SQLITE) or uri[len(SQLITE) :] in ("", ":memory:"):
        raise SegframeError(
            "tracker.uri",
            expected="sqlite:///PATH (three slashes, a fourth if absolute)",
            got=repr(uri),
            remedy="Give tracker.uri=sqlite:///runs/mlflow.db.",
        )
    return SQLITE + os.path.abspath(os.path.expanduser(uri[len(SQLITE) :]))


def database(uri: str) -> Path | None:
    """The file of an SQLite store, None for other stores."""
    return Path(uri[len(SQLITE) :]) if uri.startswith(SQLITE) else None


def for_mlflow(uri: str) -> str:
    """The URI as MLflow wants it: SQLAlchemy decodes percent signs in the path."""
    file = database(uri)
    return SQLITE + str(file).replace("%", "%25").replace("?", "%3F") if file else uri


def without_password(uri: str) -> str:
    """The URI as it may be shown and stored: without user and password."""
    return re.sub(r"://[^/@]*@", "://", hidden_address(uri))


def quiet() -> None:
    """Settings to be made before MLflow is imported; what the user has set stays."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.getLogger("alembic").setLevel(logging.WARNING)


def artifacts_of(uri: str, artifacts: str | None) -> str | None:
    """Where a new experiment of the store keeps its files, as a URI; None: the server says.

    Raises:
        SegframeError: the store is a database that has no folder beside it, and none is given.
    """
    if artifacts:
        return artifacts if "://" in artifacts else Path(artifacts).expanduser().absolute().as_uri()
    file = database(uri)
    if file:
        return (file.parent / "artifacts").as_uri()
    if re.match(r"^(postgresql|mysql|mssql)\b", uri):  # MLflow would make ./mlruns, wherever that is
        raise SegframeError(
            "tracker.artifacts",
            expected="where files and models are kept, with a database as tracker.uri",
            got="null",
            remedy="Give tracker.artifacts=FOLDER (or s3://..., where all who look at the runs can read), or "
            "the address of an `mlflow server` that has the database behind it.",
        )
    return None


def check_model_name(name: str | None, log_model: bool) -> None:
    """Raises SegframeError: MLflow would not register a model of this name, or there will be none."""
    if name is not None and (not name.strip() or re.search(r"[/:'\"]", name)):
        raise SegframeError(
            "tracker.register_as",
            expected="a name without / : and quotes, or null",
            got=repr(name),
            remedy="Give tracker.register_as=cells, for instance.",
        )
    if name is not None and not log_model:
        raise SegframeError(
            "tracker.register_as",
            expected="null with tracker.log_model=false",
            got=repr(name),
            remedy="Only a model that is kept can be registered: tracker.log_model=true.",
        )


def connect(uri: str, experiment: str, artifacts: str | None) -> tuple[MlflowClient, str]:
    """A client of the store, and the id of the experiment in it; both are made if they are not there.

    Processes that open a fresh SQLite file at once break in its migration: they take turns at a lock file
    beside it. A file that cannot be opened fails here at once: MLflow would try again for 100 seconds.
    """
    file = database(uri)
    if file is None:
        return _connect(uri, experiment, artifacts)
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock", timeout=120):
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA schema_version")
        connection.close()
        return _connect(for_mlflow(uri), experiment, artifacts)


def _connect(uri: str, experiment: str, artifacts: str | None) -> tuple[MlflowClient, str]:
    quiet()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        try:
            return client, client.create_experiment(experiment, artifact_location=artifacts)
        except MlflowException:
            found = client.get_experiment_by_name(experiment)  # another process may have been first
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise SegframeError(
            "tracker.experiment",
            expected="an experiment that is in use",
            got=f"{experiment!r}, which was deleted in the MLflow UI",
            remedy=f"Restore it: mlflow experiments restore -x {found.experiment_id}, or give another name.",
        )
    return client, found.experiment_id
