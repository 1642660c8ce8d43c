"""hydra/launcher=slurm: the jobs of a sweep in Slurm's queue, through submitit; or its local executor."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_plugins.segframe_launcher.launcher import ProcessLauncher
from hydra_plugins.segframe_launcher.places import End, Order, Place, need, with_device
from hydra_plugins.segframe_launcher.slurm_job import SlurmJob
from segframe.errors import SegframeError

log = logging.getLogger("segframe")

SBATCH = {"timeout_min": "time"}
"""Settings that submitit's Slurm executor calls as sbatch does."""


class SubmititLauncher(ProcessLauncher):
    """As ProcessLauncher, in Slurm's queue.

    Args:
        cluster: slurm, or local: submitit's own stand-in for a queue on this machine.
        array_parallelism: how many jobs run at once at most.
        max_num_timeout: how often a job that reaches its time limit is queued again; it goes on then.
        settings: of submitit and sbatch (timeout_min, partition, ...); those that are None are left out.
    """

    def __init__(
        self, cluster: str = "slurm", array_parallelism: int = 16, max_num_timeout: int = 3, **settings: Any
    ):
        super().__init__()
        self.options = cluster, array_parallelism, max_num_timeout
        self.settings = {key: value for key, value in settings.items() if value is not None}

    def make_place(self) -> Place:
        return SubmititPlace(Path(self.config.hydra.sweep.dir), *self.options, self.settings)


class SubmititPlace:
    """Slurm's queue: one array of jobs for each launch. submitit's files go below `folder`, the sweep's."""

    local = False

    def __init__(
        self,
        folder: Path,
        cluster: str,
        array_parallelism: int,
        max_num_timeout: int,
        settings: Mapping[str, Any],
    ):
        self.folder, self.cluster, self.settings = folder / "submitit", cluster, dict(settings)
        self.at_once: int | None = array_parallelism
        self.max_num_timeout = max_num_timeout
        self._signals: list[int] = []
        self._running: dict[Any, tuple[int, Order]] = {}

    @property
    def _stop_file(self) -> Path:
        """It is there once the sweep was stopped: jobs that are told to leave do not come back then."""
        return self.folder.resolve() / "stop"

    def check(self) -> None:
        need("submitit", "slurm", self.cluster if self.cluster == "slurm" else "submitit_local")
        if self.cluster == "slurm":
            from shutil import which

            if which("sbatch") is None:
                raise SegframeError(
                    "hydra/launcher=slurm",
                    expected="a machine that can submit to Slurm",
                    got="one without the command sbatch",
                    remedy="Use a login node, or try the sweep here with hydra/launcher=submitit_local.",
                )

    def adapt(self, config: dict[str, Any]) -> dict[str, Any]:
        return with_device(config, threads=self.settings.get("cpus_per_task"))

    def line(self) -> str:
        told = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        where = "Slurm" if self.cluster == "slurm" else "submitit's local executor"
        return f"{where}, at most {self.at_once} jobs at once: {told}. Their files are in {self.folder}."

    def machine(self) -> str:
        return f"submitit {self.cluster}, {sorted(self.settings.items(), key=str)}"

    def run(self, orders: Sequence[Order]) -> Iterator[End]:
        executor = self._executor()
        waiting = deque(enumerate(orders))
        if self.cluster == "slurm":  # an array, which Slurm itself keeps to array_parallelism
            self._submit(executor, waiting, len(waiting))
        while waiting or self._running:
            if self.cluster != "slurm" and not self._signals:
                self._submit(executor, waiting, (self.at_once or len(waiting)) - len(self._running))
            for job in [job for job in self._running if job.done()]:
                position, _ = self._running.pop(job)
                yield _end(job, position)
            if self._signals:
                waiting.clear()
                self._pass_on()
            time.sleep(0.5 if self.cluster != "slurm" else 2.0)

    def _executor(self) -> Any:
        import submitit

        settings = dict(self.settings)
        if self.cluster != "slurm":
            executor = submitit.LocalExecutor(self.folder.resolve(), max_num_timeout=self.max_num_timeout)
            settings.pop("cpus_per_task", None)  # it has device.threads only
            executor.update_parameters(**settings)
            return executor
        if "mem_gb" in settings:
            settings["mem"] = f"{settings.pop('mem_gb')}GB"
        settings = {SBATCH.get(key, key): value for key, value in settings.items()}
        try:
            executor = submitit.SlurmExecutor(self.folder.resolve(), max_num_timeout=self.max_num_timeout)
            executor.update_parameters(
                job_name="segframe", wckey=None, array_parallelism=self.at_once, **settings
            )
        except (ValueError, TypeError) as error:
            raise SegframeError(
                "hydra.launcher",
                expected="settings that submitit takes",
                got=f"{self.settings} ({str(error).splitlines()[0]})",
                remedy="See conf/hydra/launcher/slurm.yaml; others go into additional_parameters.",
            ) from error
        return executor

    def _submit(self, executor: Any, waiting: deque[tuple[int, Order]], count: int) -> None:
        chosen = [waiting.popleft() for _ in range(min(count, len(waiting)))]
        if not chosen:
            return
        calls = [SlurmJob(order, os.getcwd(), str(self._stop_file)) for _, order in chosen]
        # On the terminal's Ctrl-C submitit's local executor would kill the jobs: we tell them instead.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            jobs = executor.submit_array(calls) if self.cluster == "slurm" else [executor.submit(calls[0])]
            jobs += [executor.submit(call) for call in calls[1:]] if self.cluster != "slurm" else []
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for job, (position, order) in zip(jobs, chosen, strict=True):
            self._running[job] = position, order
            log.info("%s [%s %s]", order.told, self.cluster, job.job_id)

    def stop(self, number: int) -> None:
        self._stop_file.touch()
        self._signals.append(number)

    def _pass_on(self) -> None:
        """Tell the jobs; those that have not begun do not begin any more."""
        while self._signals:
            self._signals.pop()
            for job, (_, order) in list(self._running.items()):
                begun = order.output.exists()
                if self.cluster != "slurm":
                    os.kill(int(job.job_id), signal.SIGTERM)
                else:
                    how = ["--signal=TERM"] if begun else []
                    subprocess.run(["scancel", *how, str(job.job_id)], check=False)
                if not begun:
                    del self._running[job]


def _end(job: Any, position: int) -> End:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        return End(position, *job.result())
    except (UncompletedJobError, FailedJobError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return End(position, 1, f"{job.state} in the queue: {lines[0]}; see {job.paths.stderr}")
