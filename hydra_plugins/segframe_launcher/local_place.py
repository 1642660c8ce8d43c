"""Processes on this machine, some at a time, which share its cores and GPUs."""

from __future__ import annotations

import logging
import os
import platform
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from hydra_plugins.segframe_launcher.places import End, Order, with_device
from segframe.errors import SegframeError
from segframe.gpus import visible_gpus
from segframe.runtime import cores

log = logging.getLogger("segframe")

SECONDS_TO_LEAVE = 5.0
"""After a second signal; then they are killed."""


class LocalPlace:
    """At most `n_jobs` at once. With one, it has the terminal and the whole machine.

    With several, each writes to its own file, gets a part of the cores for TensorFlow's threads and, in turn,
    one of the GPUs; jobs that share a GPU get equal shares of its memory, so that none takes another's.

    Args:
        n_jobs: at least 1; -1: as many as there are cores; None: one for each GPU, and 2 without GPUs.

    Raises:
        SegframeError: n_jobs is another number.
    """

    local = True

    def __init__(self, n_jobs: int | None):
        if n_jobs is not None and (not isinstance(n_jobs, int) or n_jobs < -1 or n_jobs == 0):
            raise SegframeError(
                "hydra.launcher.n_jobs",
                expected="how many jobs run at once, -1 (one for each core) or null (one for each GPU)",
                got=repr(n_jobs),
                remedy="Give hydra.launcher.n_jobs=2.",
            )
        self.gpus = visible_gpus() if n_jobs != 1 else []
        self.cores = cores()
        self.at_once: int = self.cores if n_jobs == -1 else n_jobs or len(self.gpus) or 2
        self.threads = max(1, self.cores // self.at_once)
        self.jobs_per_gpu = -(-self.at_once // len(self.gpus)) if self.gpus else 0
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._stopped: int | None = None

    def check(self) -> None:
        """Nothing but Python is needed."""

    def adapt(self, config: dict[str, Any]) -> dict[str, Any]:
        if self.at_once == 1:
            return config
        share = round(1 / self.jobs_per_gpu, 4) if self.jobs_per_gpu > 1 else None
        return with_device(config, threads=self.threads, gpu_memory_share=share)

    def line(self) -> str:
        if self.at_once == 1:
            return ""
        told = (
            f"{self.at_once} jobs at once on {self.cores} cores: device.threads={self.threads} each where "
            "not given. Another number of threads gives other last bits."
        )
        if self.gpus:
            told += f" {len(self.gpus)} GPUs, {self.jobs_per_gpu} jobs at most on each"
            told += ", with a share of its memory." if self.jobs_per_gpu > 1 else "."
        return told

    def machine(self) -> str:
        gpus = [gpu.model for gpu in self.gpus or visible_gpus()]
        return f"{platform.node()}, {platform.machine()}, {self.cores} cores, {gpus}"

    def run(self, orders: Sequence[Order]) -> Iterator[End]:
        waiting = deque(enumerate(orders))
        ended: queue.SimpleQueue[tuple[int, End]] = queue.SimpleQueue()

        def start(slot: int) -> None:
            position, order = waiting.popleft()
            log.info("%s", order.told)
            process = self._processes[slot] = self._start(order, slot)
            if self._stopped is not None:
                process.send_signal(self._stopped)  # it came while the process was being made
            threading.Thread(
                target=lambda: ended.put((slot, End(position, process.wait()))), daemon=True
            ).start()

        try:
            for slot in range(min(self.at_once, len(orders))):
                if self._stopped is None:
                    start(slot)
            while self._processes:
                slot, end = ended.get()
                del self._processes[slot]
                yield end
                if waiting and self._stopped is None:
                    start(slot)
        except BaseException:
            self._end_all()
            raise

    def _start(self, order: Order, slot: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, *order.command]
        if self.at_once == 1:
            return subprocess.Popen(command)
        environment = dict(os.environ)
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)].name
        with open(order.output, "ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )

    def _end_all(self) -> None:
        """Left in haste: those that run have a moment to leave, too."""
        last = time.monotonic() + SECONDS_TO_LEAVE
        for process in self._processes.values():
            try:
                process.wait(max(0.0, last - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def stop(self, number: int) -> None:
        self._stopped = number
        if number == signal.SIGINT:
            return  # the terminal sends it to the jobs as well
        for process in list(self._processes.values()):
            process.send_signal(number)
