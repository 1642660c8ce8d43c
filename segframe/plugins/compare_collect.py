"""Which runs `compare` is asked about: folders, globs, sweeps, what MLflow knows; each as a folder."""

from __future__ import annotations

import glob
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segframe.errors import SegframeError, nearest
from segframe.plugins.compare_folders import jobs_of, runs_in
from segframe.plugins.mlflow_store import SQLITE, absolute, database, for_mlflow, quiet, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger("segframe")

FILES = ("record.json", "result.json", "history.json", "costs.json")
"""What is read of a run, and fetched from MLflow where its folder is on another machine."""


class Collector:
    """Finds the folders of runs.

    Args:
        runs_dir: where sweeps are sought by name, and mlflow.db lies.
        uri: another MLflow store, or None.
        scratch: a folder for the files of runs whose own folder is not on this machine.
        files: which of them.
    """

    def __init__(self, runs_dir: Path, uri: str | None, scratch: Path, files: Sequence[str] = FILES):
        self.runs_dir, self.scratch, self.files = runs_dir, scratch, files
        self.uri = absolute(uri or f"{SQLITE}{runs_dir}/mlflow.db")
        self._opened: MlflowClient | None = None

    def runs(self, words: Sequence[str]) -> list[Path]:
        """The runs of folders, globs and MLflow run ids; a folder of runs stands for those in it.

        Raises:
            SegframeError: a word is none of these, or there is no run in what it names.
        """
        found: list[Path] = []
        other: list[Path] = []
        for word in words:
            path = Path(word).expanduser()
            if path.exists():
                matches = [path]
            elif matches := [Path(match) for match in sorted(glob.glob(str(path)))]:
                pass
            elif re.fullmatch("[0-9a-f]{32}", word):
                found += self._tracked(word)
                continue
            else:
                raise SegframeError(
                    word,
                    expected="the folder of a run, a glob, or the id of a run in MLflow",
                    got="nothing of that name",
                    remedy="The summary of a run names its folder; python -m segframe ui shows the ids.",
                )
            for match in matches:
                within = list(runs_in(match))
                found += within
                if not within:
                    other.append(match)
        if not found:
            raise SegframeError(
                " ".join(words),
                expected="folders of runs",
                got="no folder with a record.json",
                remedy="The summary of a run names its folder.",
            )
        if other:
            log.info("Left out, as they are no runs: %s", ", ".join(str(path) for path in other))
        return found

    def sweep(self, name: str) -> list[Path]:
        """The jobs of a sweep: its folder, the name of that, or its id in MLflow."""
        for folder in (Path(name).expanduser(), self.runs_dir / "sweeps" / name):
            if folder.is_dir():
                return list(jobs_of(folder))
        if re.fullmatch("[0-9a-f]{32}", name):
            return self._tracked(name)
        there = [folder.name for folder in (self.runs_dir / "sweeps").glob("*")]
        raise SegframeError(
            f"--sweep {name}",
            expected=f"the folder of a sweep, its name in {self.runs_dir / 'sweeps'}, or its id in MLflow",
            got="nothing of that name",
            remedy=nearest(name, there),
        )

    def experiment(self, name: str) -> list[Path]:
        """All runs of an MLflow experiment."""
        found = self._client().get_experiment_by_name(name)
        if found is None:
            there = [experiment.name for experiment in self._client().search_experiments()]
            raise SegframeError(
                f"--experiment {name}",
                expected=f"an experiment of {without_password(self.uri)}",
                got="none of that name",
                remedy=nearest(name, there),
            )
        return self._search(found.experiment_id, "tags.`segframe.kind` = 'run'")

    def _tracked(self, run_id: str) -> list[Path]:
        """The run of an id; of a sweep's id, its jobs."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client().get_run(run_id)
        except MlflowException as error:
            raise SegframeError(
                run_id,
                expected=f"the id of a run in {without_password(self.uri)}",
                got=str(error).splitlines()[0],
                remedy="Name the store: --runs-dir DIR or --uri URI.",
            ) from error
        if run.data.tags.get("segframe.kind") != "sweep":
            return [self._folder(run)]
        folder = Path(run.data.tags.get("segframe.sweep_dir", ""))
        if folder.name and folder.is_dir():
            return list(jobs_of(folder))
        return self._search(run.info.experiment_id, f"tags.`mlflow.parentRunId` = '{run_id}'")

    def _search(self, experiment_id: str, words: str) -> list[Path]:
        found, token = [], None
        while True:
            page = self._client().search_runs([experiment_id], words, page_token=token)
            found += [self._folder(run) for run in page]
            token = page.token
            if not token:
                return found

    def _folder(self, run) -> Path:
        """The run's folder if it is on this machine and still that run's, else its files from the store."""
        run_id = run.info.run_id
        folder = Path(run.data.tags.get("segframe.folder", ""))
        if folder.name and _tracker_id(folder) == run_id:
            return folder
        log.info("The folder of run %s is not here: its files are fetched from MLflow.", run.info.run_name)
        copy = self.scratch / (run.info.run_name or run_id)
        copy = copy if not copy.exists() else self.scratch / run_id
        copy.mkdir()
        there = {file.path for file in self._client().list_artifacts(run_id)}
        for name in self.files:
            if name in there:
                self._client().download_artifacts(run_id, name, str(copy))
        return copy

    def _client(self) -> MlflowClient:
        if self._opened is None:
            file = database(self.uri)
            if file is not None and not file.is_file():  # MLflow would make an empty one
                raise SegframeError(
                    str(file),
                    expected="the MLflow store of some runs",
                    got="no such file",
                    remedy="Name the folder of the runs, --runs-dir DIR, or another store, --uri URI.",
                )
            quiet()
            from mlflow import MlflowClient

            self._opened = MlflowClient(tracking_uri=for_mlflow(self.uri))
        return self._opened


def _tracker_id(folder: Path) -> str | None:
    try:
        return json.loads((folder / "tracker.json").read_text(encoding="utf-8"))["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
