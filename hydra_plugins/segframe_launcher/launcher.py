"""Hydra's launcher interface: compose and check every job, then run them, each in a fresh process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hydra_plugins.segframe_launcher.places import Place
from segframe.errors import SegframeError
from segframe.identity import code_hash, identity_of, run_name
from segframe.preflight import PreflightOnly

if TYPE_CHECKING:
    from hydra_plugins.segframe_launcher.sweep import Job

log = logging.getLogger("segframe")


class Composed(NamedTuple):
    """A job that may run."""

    number: int
    overrides: list[str]
    hydra: DictConfig
    """The config with Hydra's own part."""
    config: dict[str, Any]
    """As its process will have it."""
    data_hash: str
    samples: dict[str, int]

    @property
    def name(self) -> str:
        """Of its run."""
        return run_name(identity_of(self.config, self.data_hash, code_hash()))


class ProcessLauncher(Launcher):
    """One fresh process a job: TensorFlow's memory and state end with it, and so does a crash.

    A job that fails is recorded and the others go on; its value for the sweeper is nan. The exit code of the
    command says that one failed (segframe.train_command). Other launchers differ in their place only.

    Args:
        n_jobs: how many at once (segframe_launcher.local_place).
    """

    def __init__(self, n_jobs: int | None = 1):
        self.n_jobs = n_jobs
        self._place: Place | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context

    def make_place(self) -> Place:
        from hydra_plugins.segframe_launcher.local_place import LocalPlace

        return LocalPlace(self.n_jobs)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from hydra_plugins.segframe_launcher import resume, sweep
        from hydra_plugins.segframe_launcher.places import stopping
        from segframe.manager import plugin_manager

        setup_globals()
        plugins, folder = plugin_manager(), Path(self.config.hydra.sweep.dir)
        try:
            first = self._place is None
            place = self._place = self._place or self.make_place()
            place.check()
            jobs = self._compose(plugins, job_overrides, initial_job_idx)
            if first and place.line():
                log.info("%s", place.line())
            jobs = [job._replace(config=place.adapt(job.config)) for job in jobs]
            again, names = jobs[0].config["sweep"], [job.name for job in jobs]
            known: dict[int, resume.Outcome] = {}
            if again["resume"]:
                known = resume.outcomes(jobs, again["retry_failed"])
                folder = folder if sweep.has_begun() else resume.earlier(folder, names)
            left = [job for job in jobs if job.number not in known]
            if left:
                self._preflight(plugins, place, left, folder, first)
        except (SegframeError, PreflightOnly, KeyboardInterrupt):
            sweep.forget(folder)
            raise
        running = sweep.begin(plugins, folder, jobs[0].config, names)
        objectives, told = {}, {}
        for position, job in enumerate(jobs):
            before = known.get(job.number)
            how = "" if before is None else ", failed before" if before.error else ", finished before"
            words = " ".join(job.overrides)
            told[job.number] = f"Job {job.number} ({position + 1} of {len(jobs)}){how}: {words}"
            if before is not None:
                log.info("%s", told[job.number])
                objectives[job.number] = running.keep_job(job.number, job.overrides, before)
        orders = [running.order(job.number, job.config, told[job.number]) for job in left]
        with stopping(place) as stop:
            try:
                for end in place.run(orders) if orders else ():
                    job = left[end.position]
                    running.interrupted = stop.signal_number
                    objectives[job.number] = running.take_in(job.number, job.overrides, end)
                    if place.at_once != 1 and not end.code:
                        _say_end(running.jobs[-1], len(objectives), len(jobs))
            finally:
                running.interrupted = stop.signal_number
            stop.leave()
        return [_returned(job, objectives[job.number]) for job in jobs]

    def _compose(
        self, plugins: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[Composed]:
        """All jobs, checked before the first one starts."""
        from hydra_plugins.segframe_launcher.preflight import counted
        from segframe.check_values import check_with_data
        from segframe.experiment import check_config
        from segframe.train_command import plain

        composed: list[Composed] = []
        opened: dict[str, Any] = {}
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            try:
                job = plain(config)
                check_config(plugins, job)
                dataset, chosen = check_with_data(plugins, job, opened)
            except SegframeError:
                log.warning("No job was started: job %d (%s) cannot run.", number, " ".join(overrides))
                raise
            told = [word for word in filter_overrides(overrides) if not word.startswith("sweep.")]
            composed.append(Composed(number, told, config, job, dataset.content_hash, counted(chosen)))
        return composed

    def _preflight(
        self, plugins: Any, place: Place, jobs: Sequence[Composed], folder: Path, first: bool
    ) -> None:
        from hydra_plugins.segframe_launcher import preflight

        asked = jobs[0].config["sweep"]["preflight"]
        if preflight.wanted(asked, len(jobs), place):
            seen = [
                preflight.Candidate(job.number, job.overrides, job.config, job.data_hash, job.samples)
                for job in jobs
            ]
            preflight.preflight(plugins, place, seen, folder, again=not first)
        elif asked == "auto" and first and len(jobs) > 1:
            log.info(
                "No preflight: %s. sweep.preflight=true tries each combination first.",
                f"fewer than {preflight.JOBS_FOR_AUTO} jobs" if place.local else "the jobs wait in a queue",
            )
        if asked == "only":
            raise PreflightOnly


def _say_end(job: Job, done: int, jobs: int) -> None:
    told = "finished: no val/dice" if job.objective is None else f"finished: val/dice {job.objective:.4f}"
    if job.pruned is not None:
        told = f"pruned at epoch {job.pruned}"
    log.info("Job %d %s (%d of %d jobs ended).", job.number, told, done, jobs)


def _returned(job: Composed, objective: float) -> JobReturn:
    done = JobReturn(overrides=job.overrides, cfg=job.hydra, hydra_cfg=job.hydra, task_name="segframe")
    done.status, done.return_value = JobStatus.COMPLETED, objective
    return done
