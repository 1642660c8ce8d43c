"""Hydra's sweeper interface: what can be wrong is said, then trials are asked for, launched and told."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins as HydraPlugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.segframe_optuna.check import Checker
from hydra_plugins.segframe_optuna.settings import check_installed, check_settings, storage_uri
from hydra_plugins.segframe_optuna.space import grid_points, read_space
from segframe.errors import SegframeError

if TYPE_CHECKING:
    from hydra_plugins.segframe_optuna._search import Search

log = logging.getLogger("segframe")


class OptunaSweeper(Sweeper):
    """A search: each trial is a job, val/dice is maximised. Arguments: conf/hydra/sweeper/optuna.yaml."""

    def __init__(self, **settings: Any):
        self.settings = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in settings.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.checked = check_settings(self.settings)
        study, own = self.checked["study"], config.hydra.overrides.hydra
        if study is not None and not any(word.startswith("hydra.sweep.dir=") for word in own):
            with open_dict(config), read_write(config):
                config.hydra.sweep.dir = str(Path(config.runs_dir) / "sweeps" / study)
        self.context, self.master, self.launched = hydra_context, config, False
        self.launcher: Launcher = HydraPlugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        params = [f"{key}={value}" for key, value in (self.checked["params"] or {}).items()]
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        space, fixed = read_space(parser.parse_overrides([*params, *arguments]))
        if self.checked["sampler"] == "grid":
            grid_points(space)  # raises where there is none
        checker = Checker(self.context, self.master)
        base = {key: part.to_check()[0] for key, part in space.items()}
        checker.config([*fixed, *(f"{key}={word}" for key, word in base.items())])
        check_installed(self.checked["sampler"])
        for key, part in space.items():
            for word in part.to_check()[1:]:
                checker.config([*fixed, *(f"{k}={w}" for k, w in (base | {key: word}).items())])

        from hydra_plugins.segframe_launcher import sweep
        from hydra_plugins.segframe_optuna._report import Report
        from hydra_plugins.segframe_optuna._samplers import make_sampler
        from hydra_plugins.segframe_optuna._search import Search

        make_sampler(self.checked, space, 0)
        checker.with_data()
        folder, job = Path(self.master.hydra.sweep.dir), checker.composed[0]
        search = Search(self.checked, space, fixed, folder, storage_uri(self.checked, folder), job)
        running = sweep.begin(checker.plugins, folder, job)
        OmegaConf.save(self.master, folder / "multirun.yaml")
        if job["sweep"]["retry_failed"]:
            search.try_failed_again()
        running.jobs.extend(search.jobs())
        running.conclusion = Report(search)
        left = search.left_running()
        self._go(search, running, checker, left)

    def _go(self, search: Search, running: Any, checker: Checker, left: list[Any]) -> None:
        """The trials that a killed search left, then new ones, until there are enough or the time is over."""
        given = self.checked["timeout_seconds"]
        started, limit = time.monotonic(), float("inf") if given is None else given
        while True:
            room = min(self.checked["n_jobs"], self.checked["n_trials"] - search.counted())
            if not left and room <= 0:
                return
            if time.monotonic() - started >= limit:
                log.info("No further trial: hydra.sweeper.timeout_seconds=%g have passed.", limit)
                return
            batch = [left.pop(0) for _ in range(min(self.checked["n_jobs"], len(left)))]
            if not batch:
                batch = search.ask(room)
            if not batch:
                return
            self._run(search, running, checker, batch)

    def _run(self, search: Search, running: Any, checker: Checker, batch: list[Any]) -> None:
        """Launch those of a batch that can run, and tell the study what came of all of them."""
        ready = []
        for trial in batch:
            overrides = search.overrides(trial)
            try:
                checker.trial(overrides)
            except SegframeError as error:
                log.warning("Trial %d cannot run (%s).", trial.number, " ".join(search.words(trial)))
                log.warning("%s", error)
                running.jobs.append(search.told_impossible(trial, error))
            else:
                ready.append((trial, overrides))
        while ready:  # a launcher numbers the jobs of a call by counting on
            group = [ready.pop(0)]
            while ready and ready[0][0].number == group[-1][0].number + 1:
                group.append(ready.pop(0))
            first = group[0][0].number
            running.jobs[:] = [job for job in running.jobs if job.number not in {t.number for t, _ in group}]
            try:
                self.launcher.launch([overrides for _, overrides in group], initial_job_idx=first)
            except SegframeError as error:
                if not self.launched:  # it is not these values that are wrong
                    raise
                log.warning("%s", error)
                running.jobs.extend(search.told_impossible(trial, error) for trial, _ in group)
                continue
            self.launched = True
            ended = {job.number: job for job in running.jobs}
            for trial, _ in group:
                search.tell(trial, ended[trial.number])
