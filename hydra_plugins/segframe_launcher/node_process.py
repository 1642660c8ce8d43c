"""The process of an order on another machine: run there by what Ray or Slurm has started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hydra_plugins.segframe_launcher.places import Order

UNDISTURBED = {signal.SIGINT, signal.SIGTERM}


class NodeProcess:
    """Starts the process in a session of its own, so that signals reach it once, through send_signal."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped: int | None = None

    def run(self, order: Order, folder: str, environment: Mapping[str, str]) -> tuple[int, str]:
        """Start it in `folder` and wait for it.

        Returns:
            Its exit code (-n: ended by signal n), and why, where it could not be started.
        """
        output = Path(folder) / order.output
        if not output.parent.is_dir():
            return 1, (
                f"{socket.gethostname()} has no folder {output.parent}. "
                "Give runs_dir=PATH on a file system that all machines share, and start the sweep there."
            )
        with open(output, "ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, *order.command],
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_hear_signals,
            )
        if self._stopped is not None:
            self._process.send_signal(self._stopped)
        return self._process.wait(), ""

    def send_signal(self, number: int) -> None:
        """Pass a signal on; one that comes before the process is passed on when it starts."""
        self._stopped = number
        if self._process is not None:
            self._process.send_signal(number)

    def wait_without_reaping(self) -> None:
        """Wait for the end from within a signal handler: run() waits already, and has to read the code."""
        if self._process is not None and self._process.returncode is None:
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)


def _hear_signals() -> None:
    """Ray blocks signals in what it starts, and Slurm's warning would end a process that does not know it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, UNDISTURBED)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
