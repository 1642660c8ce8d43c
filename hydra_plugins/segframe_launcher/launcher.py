"""Hydra's launcher interface: compose and check every job, then run them one after the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from segframe.errors import SegframeError

log = logging.getLogger("segframe")


class ProcessLauncher(Launcher):
    """One fresh process a job: TensorFlow's memory and state end with it, and so does a crash.

    A job that fails is recorded and the others go on; its value for the sweeper is nan. The exit code of the
    command says that one failed (segframe.train_command).
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from hydra_plugins.segframe_launcher import resume, sweep
        from segframe.check_values import check_with_data
        from segframe.experiment import check_config
        from segframe.manager import plugin_manager
        from segframe.train_command import plain

        setup_globals()
        plugins = plugin_manager()
        composed: list[tuple[list[str], DictConfig, dict[str, Any], str]] = []
        opened: dict[str, Any] = {}
        for number, overrides in enumerate(job_overrides):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = initial_job_idx + number
            try:  # all of them, before the first one starts
                job = plain(config)
                check_config(plugins, job)
                name = resume.name_of(job, check_with_data(plugins, job, opened).content_hash)
            except SegframeError:
                log.warning(
                    "No job was started: job %d (%s) cannot run.",
                    initial_job_idx + number,
                    " ".join(overrides),
                )
                sweep.forget(Path(self.config.hydra.sweep.dir))
                raise
            told = [word for word in filter_overrides(overrides) if not word.startswith("sweep.")]
            composed.append((told, config, job, name))
        names = [name for *_, name in composed]
        folder, again = Path(self.config.hydra.sweep.dir), composed[0][2]["sweep"]
        if again["resume"]:
            folder = resume.earlier(folder, names)
        running = sweep.begin(plugins, folder, composed[0][2], names)
        returns = []
        for number, (told, config, job, name) in enumerate(composed):
            known = resume.outcome(job, name, again["retry_failed"]) if again["resume"] else None
            log.info(
                "Job %d (%d of %d)%s: %s",
                initial_job_idx + number,
                number + 1,
                len(composed),
                "" if known is None else ", failed before" if known.error else ", finished before",
                " ".join(told),
            )
            if known is None:
                objective = running.run_job(initial_job_idx + number, told, job)
            else:
                objective = running.keep_job(initial_job_idx + number, told, known)
            done = JobReturn(overrides=told, cfg=config, hydra_cfg=config, task_name="segframe")
            done.status, done.return_value = JobStatus.COMPLETED, objective
            returns.append(done)
        return returns
