"""What submitit runs on a node: an order's process, told of Slurm's signals, and queued again."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from hydra_plugins.segframe_launcher.node_process import NodeProcess
from hydra_plugins.segframe_launcher.places import Order


class SlurmJob:
    """Pickled by submitit when it is submitted, called on the node; the environment is that of sbatch.

    SIGUSR2 comes before the time limit and, where the cluster is set so, before a preemption: submitit calls
    checkpoint() and has Slurm queue the job again. SIGTERM is passed on; unless the sweep itself stops, no
    result is left then, so that a job which Slurm queues again is waited for.
    """

    def __init__(self, order: Order, folder: str, stop_file: str):
        self.order, self.folder, self.stop_file = order, folder, stop_file
        self._process: NodeProcess | None = None

    def __call__(self) -> tuple[int, str]:
        """Exit code and why (NodeProcess.run)."""
        self._process, told = NodeProcess(), []

        def stop(number: int, _: object) -> None:
            told.append(number)
            if self._process is not None:
                self._process.send_signal(signal.SIGTERM)

        signal.signal(signal.SIGTERM, stop)
        ended = self._process.run(self.order, self.folder, {})
        if told and ended[0] and not Path(self.stop_file).exists():
            os._exit(128 + signal.SIGTERM)
        return ended

    def checkpoint(self) -> Any:
        """Have the process save and leave; what goes on from there when it is queued again."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait_without_reaping()
        return DelayedSubmission(SlurmJob(self.order, self.folder, self.stop_file))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_process": None}
