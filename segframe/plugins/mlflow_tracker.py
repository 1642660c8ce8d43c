"""The tracker that keeps runs in MLflow: an SQLite file beside the runs, or any other of its stores."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.atomic import write_json
from segframe.hooks import hookimpl
from segframe.plugins.mlflow_run import MlflowRun
from segframe.plugins.mlflow_store import (
    absolute,
    artifacts_of,
    check_model_name,
    connect,
    database,
    without_password,
)
from segframe.tracker import FAILED, FINISHED, KILLED, RUNNING

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND = "segframe.kind"


@hookimpl
def segframe_trackers() -> dict[str, Callable[..., MlflowTracker]]:
    return {"mlflow": build_mlflow}


def build_mlflow(
    *,
    uri: str,
    experiment: str = "segframe",
    log_model: bool = True,
    register_as: str | None = None,
    artifacts: str | None = None,
) -> MlflowTracker:
    """Runs, sweeps and their files in MLflow.

    Args:
        uri: the store; sqlite:///PATH is made with its folder when the first run starts. Any other address
            that MLflow knows works too, such as http://host:5000. It may hold a password: records do not.
        experiment: the group of runs, in MLflow's sense.
        log_model: keep each run's model, with signature and input example, and its model.weights.h5.
        register_as: also make it the next version of the registered model of this name.
        artifacts: where a new experiment keeps files, a folder or a URI such as s3://bucket/path; None: in
            artifacts/ beside an SQLite file, where the server says for http.

    Raises:
        SegframeError: `uri` is not a URI, `register_as` no name or without `log_model`, or a database is
            given without `artifacts`.
    """
    check_model_name(register_as, log_model)
    address = absolute(uri)
    return MlflowTracker(address, experiment, log_model, register_as, artifacts_of(address, artifacts))


class MlflowTracker:
    """segframe.tracker.Tracker; imports MLflow and opens the store at the first call that needs it."""

    def __init__(
        self, uri: str, experiment: str, log_model: bool, register_as: str | None, artifacts: str | None
    ):
        self.uri, self.experiment, self.log_model = uri, experiment, log_model
        self.register_as, self.artifacts = register_as, artifacts
        self._store: tuple[MlflowClient, str] | None = None

    @contextmanager
    def run(self, out_dir: Path, name: str, parent: str | None = None) -> Iterator[MlflowRun]:
        run = self._open(out_dir, name, parent)
        try:
            yield run
        except BaseException as error:
            status = KILLED if isinstance(error, KeyboardInterrupt) else FAILED
            try:
                run.end(status, str(error) or type(error).__name__)
            except Exception as unreachable:
                # What stopped the run matters more than that the store is gone as well.
                error.add_note(f"The tracker could not be told: {unreachable}")
            raise
        run.end(FINISHED)

    def open_sweep(self, name: str, tags: Mapping[str, str], known: str | None = None) -> str:
        client, experiment_id = self._connect()
        if known and _is_there(client, known):
            client.update_run(known, status=RUNNING)
            return known
        sweep = client.create_run(experiment_id, run_name=name, tags={KIND: "sweep"}).info.run_id
        MlflowRun(client, sweep).tags(tags)
        return sweep

    def tag_sweep(self, sweep: str, tags: Mapping[str, str]) -> None:
        MlflowRun(self._connect()[0], sweep, log_model=False).tags(tags)

    def close_sweep(self, sweep: str, status: str, scores: Mapping[str, float]) -> None:
        client, _ = self._connect()
        run = MlflowRun(client, sweep)
        run.scores(scores)
        run.end(status)

    def close_run(self, out_dir: Path, status: str, error: str) -> None:
        run_id = self._remembered(out_dir)
        if run_id:
            client, _ = self._connect()
            MlflowRun(client, run_id).end(status, error)

    def where(self) -> str:
        file = database(self.uri)
        if file is None:
            return without_password(self.uri) if self.uri.startswith("http") else ""
        if file.name != "mlflow.db":
            return f"python -m segframe ui --uri {shlex.quote(self.uri)}"
        if file.parent == Path.cwd() / "runs":
            return "python -m segframe ui"
        return f"python -m segframe ui --runs-dir {shlex.quote(os.path.relpath(file.parent))}"

    def _connect(self) -> tuple[MlflowClient, str]:
        if self._store is None:
            self._store = connect(self.uri, self.experiment, self.artifacts)
        return self._store

    def _open(self, out_dir: Path, name: str, parent: str | None) -> MlflowRun:
        client, experiment_id = self._connect()
        run_id = self._remembered(out_dir)
        if run_id and _is_there(client, run_id):
            client.update_run(run_id, status=RUNNING)
            if "error" in client.get_run(run_id).data.tags:
                client.delete_tag(run_id, "error")
            if parent:  # a run of before that is a job of this sweep too
                client.set_tag(run_id, "mlflow.parentRunId", parent)
            return MlflowRun(client, run_id, self.log_model, self.register_as)
        tags = {KIND: "run", **({"mlflow.parentRunId": parent} if parent else {})}
        run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
        self._remember(out_dir, run_id)
        return MlflowRun(client, run_id, self.log_model, self.register_as)

    def _remembered(self, out_dir: Path) -> str | None:
        """The id under which this tracker's store knows the folder's run, if it does."""
        try:
            kept: Any = json.loads((out_dir / "tracker.json").read_text())
        except (OSError, ValueError):
            return None
        same = isinstance(kept, dict) and kept.get("uri") == without_password(self.uri)
        return str(kept["run_id"]) if same and kept.get("run_id") else None

    def _remember(self, out_dir: Path, run_id: str) -> None:
        out_dir.mkdir(parents=True, exist_ok=True)
        kept = {"tracker": "mlflow", "uri": without_password(self.uri), "run_id": run_id}
        write_json(out_dir / "tracker.json", kept)


def _is_there(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
