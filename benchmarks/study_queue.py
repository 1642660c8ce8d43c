"""Runs jobs as processes, several at once, each slot on one GPU; stops in time and leaves what can go on."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from study_grids import Job

TAIL_LINES = 12


class Queue:
    """Starts jobs in their order in `slots` slots.

    Args:
        commands: job -> the command lines to run one after the other; the first that fails ends the job.
        logs: the folder of each job's log, NAME.log.
        gpus: how many GPUs the slots are dealt to, in turn; 0 leaves the choice to the environment.
        deadline: seconds after which no job is started, or None.
        stop: seconds after which running jobs are asked to save and leave (SIGTERM), or None; they are
            reported as stopped, and go on where they were when they are run again.
    """

    def __init__(
        self,
        commands: Callable[[Job], Sequence[Sequence[str]]],
        logs: Path,
        *,
        slots: int,
        gpus: int,
        deadline: float | None,
        stop: float | None,
    ):
        self.commands, self.logs, self.slots, self.gpus = commands, logs, slots, gpus
        self.began = time.monotonic()
        self.deadline, self.stop = deadline, stop
        self.lock = threading.Lock()
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = False

    def run(self, jobs: Sequence[Job], done: Callable[[Job, float, str], None]) -> list[Job]:
        """Run them; returns those that were not started or were stopped.

        Args:
            done: told of each job that ended: its seconds, and the last lines of its log if it failed, else
                "". Called from one thread at a time.
        """
        waiting, left = list(jobs), []

        def work(slot: int) -> None:
            while True:
                with self.lock:
                    if not waiting or self.stopping or self._past(self.deadline):
                        return
                    job = waiting.pop(0)
                start = time.monotonic()
                failed = self._run(job, slot)
                with self.lock:
                    if failed and self.stopping:
                        left.append(job)
                    else:
                        done(job, time.monotonic() - start, failed)

        threads = [threading.Thread(target=work, args=(slot,)) for slot in range(self.slots)]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.1)
                if self._past(self.stop) and not self.stopping:
                    self._end()
        except BaseException:  # Ctrl-C reaches the jobs as well, SIGTERM does not
            self._end()
            raise
        finally:
            for thread in threads:
                thread.join()
        return left + waiting

    def _past(self, seconds: float | None) -> bool:
        return seconds is not None and time.monotonic() - self.began > seconds

    def _end(self) -> None:
        with self.lock:
            self.stopping = True
            for process in self.running.values():
                process.terminate()

    def _run(self, job: Job, slot: int) -> str:
        """Returns the last lines of the log if it failed, else ""."""
        log = self.logs / f"{job.name}.log"
        environment = dict(os.environ)
        if self.gpus:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self.gpus)))
            environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[slot % self.gpus]
        with open(log, "ab") as file:
            for command in self.commands(job):
                with self.lock:
                    if self.stopping:
                        return "stopped"
                    process = subprocess.Popen(
                        command, stdout=file, stderr=subprocess.STDOUT, env=environment
                    )
                    self.running[job.name] = process
                code = process.wait()
                with self.lock:
                    del self.running[job.name]
                if code:
                    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                    return "\n".join([*lines[-TAIL_LINES:], f"exit code {code}: {' '.join(command)}"])
        return ""
