"""hydra/launcher=slurm: the jobs of a sweep in Slurm's queue, through submitit; or its local executor."""

from __future__ import annotations

from typing import Any

from hydra_plugins.segframe_launcher.launcher import ProcessLauncher
from hydra_plugins.segframe_launcher.places import Place


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
        from hydra_plugins.segframe_launcher.submitit_place import SubmititPlace

        return SubmititPlace(*self.options, self.settings)
