"""Slurm's queue, or the stand-in for one that submitit has: orders submitted, waited for and told to stop."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_plugins.segframe_launcher.places import End, Order, need, with_device
from hydra_plugins.segframe_launcher.slurm_job import SlurmJob
from segframe.errors import SegframeError

log = logging.getLogger("segframe")

SECONDS_BETWEEN_LOOKS = 10.0
"""At Slurm's queue; a job that is missing twice, without a result, has ended."""

SBATCH = {"timeout_min": "time"}
"""Settings that submitit's Slurm executor calls as sbatch does."""


class SubmititPlace:
    """Slurm's queue: one array of jobs for each launch, whose files go beside the orders' output."""

    local = False

    def __init__(
        self,
        cluster: str,
        array_parallelism: int,
        max_num_timeout: int,
        settings: Mapping[str, Any],
    ):
        self.cluster, self.settings = cluster, dict(settings)
        self.folder = Path("submitit")
        self.at_once: int | None = array_parallelism
        self.max_num_timeout = max_num_timeout
        self._signals: list[int] = []
        self._running: dict[Any, tuple[int, Order]] = {}
        self._look_at = 0.0
        self._missing: set[Any] = set()

    @property
    def _stop_file(self) -> Path:
        """It is there once the sweep was stopped: jobs that are told to leave do not come back then."""
        return self.folder.resolve() / "stop"

    def check(self) -> None:
        need("submitit", "slurm", self.cluster if self.cluster == "slurm" else "submitit_local")
        if self.cluster == "slurm":
            if shutil.which("sbatch") is None:
                raise SegframeError(
                    "hydra/launcher=slurm",
                    expected="a machine that can submit to Slurm",
                    got="one without the command sbatch",
                    remedy="Use a login node, or try the sweep here with hydra/launcher=submitit_local.",
                )
            with tempfile.TemporaryDirectory() as folder:
                self._executor(Path(folder))

    def adapt(self, config: dict[str, Any]) -> dict[str, Any]:
        return with_device(config, threads=self.settings.get("cpus_per_task"))

    def line(self) -> str:
        told = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        where = "Slurm" if self.cluster == "slurm" else "submitit's local executor"
        return f"{where}, at most {self.at_once} jobs at once: {told}. Their files: SWEEP_DIR/submitit."

    def machine(self) -> str:
        return f"submitit {self.cluster}, {sorted(self.settings.items(), key=str)}"

    def run(self, orders: Sequence[Order]) -> Iterator[End]:
        if not orders:
            return
        self.folder = orders[0].output.parent / "submitit"
        executor = self._executor(self.folder)
        waiting = deque(enumerate(orders))
        if self.cluster == "slurm":  # an array, which Slurm itself keeps to array_parallelism
            self._submit(executor, waiting, len(waiting))
        while waiting or self._running:
            if self.cluster != "slurm" and not self._signals:
                self._submit(executor, waiting, (self.at_once or len(waiting)) - len(self._running))
            for job in [job for job in self._running if job.done()]:
                position, _ = self._running.pop(job)
                yield _end(job, position)
            for job in self._gone():
                position, _ = self._running.pop(job)
                yield End(position, 1, f"it left Slurm's queue without a result; see {job.paths.stderr}")
            if self._signals:
                waiting.clear()
                self._pass_on()
            time.sleep(0.5 if self.cluster != "slurm" else 2.0)

    def _gone(self) -> list[Any]:
        """Jobs that ended without a word, as on Slurm's own limits: submitit learns of them from sacct only,
        which many clusters do not keep, and takes a preempted one for one that comes again."""
        if self.cluster != "slurm" or time.monotonic() < self._look_at:
            return []
        self._look_at = time.monotonic() + SECONDS_BETWEEN_LOOKS
        said = subprocess.run(
            ["squeue", "--me", "--noheader", "--array", "--format=%i"],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode:
            return []
        queued = set(said.stdout.split())
        missing = {job for job in self._running if str(job.job_id) not in queued and not job.done()}
        gone, self._missing = missing & self._missing, missing
        return list(gone)

    def _executor(self, folder: Path) -> Any:
        import submitit

        settings = dict(self.settings)
        if self.cluster != "slurm":
            executor = submitit.LocalExecutor(folder.resolve(), max_num_timeout=self.max_num_timeout)
            settings.pop("cpus_per_task", None)  # it has device.threads only
            executor.update_parameters(**settings)
            return executor
        if "mem_gb" in settings:
            settings["mem"] = f"{settings.pop('mem_gb')}GB"
        settings = {SBATCH.get(key, key): value for key, value in settings.items()}
        try:
            executor = submitit.SlurmExecutor(folder.resolve(), max_num_timeout=self.max_num_timeout)
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
        except Exception as error:
            raise SegframeError(
                "hydra/launcher=slurm",
                expected="jobs that the queue takes",
                got=f"{type(error).__name__}: {str(error).strip()}",
                remedy="Change what it refuses: hydra.launcher.KEY=VALUE (conf/hydra/launcher/slurm.yaml).",
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for job, (position, order) in zip(jobs, chosen, strict=True):
            self._running[job] = position, order
            log.info("%s [%s %s]", order.told, self.cluster, job.job_id)

    def stop(self, number: int) -> None:
        if self._running:
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
