"""hydra/launcher=ray: the jobs of a sweep on a Ray cluster, each a fresh process on a node with room."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra_plugins.segframe_launcher.launcher import ProcessLauncher
from hydra_plugins.segframe_launcher.node_process import NodeProcess
from hydra_plugins.segframe_launcher.places import End, Order, Place, forwarded, need, with_device
from segframe.errors import SegframeError

log = logging.getLogger("segframe")

LAST_SECONDS = 15.0
"""How long the second signal waits for jobs to leave at once, before Ray ends them."""


class RayLauncher(ProcessLauncher):
    """As ProcessLauncher, on Ray.

    Args:
        num_cpus: cores of a job, which are its device.threads too; None: 1, or with GPUs the cluster's cores
            for each GPU.
        num_gpus: GPUs of a job, 0.5 for two jobs on one; None: 1 if the cluster has any.
        init: arguments of ray.init; those that are None are left to Ray.
    """

    def __init__(
        self,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        init: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.options = num_cpus, num_gpus, init or {}

    def make_place(self) -> Place:
        return RayPlace(*self.options)


class RayPlace:
    """A Ray cluster. Each job is an actor of its own, a fresh worker that runs the job's process."""

    at_once: int | None = None
    local = False

    def __init__(self, num_cpus: float | None, num_gpus: float | None, init: Mapping[str, Any]):
        self.num_cpus, self.num_gpus = num_cpus, num_gpus
        self.init = {key: value for key, value in init.items() if value is not None}
        self._opened: tuple[float, float] | None = None
        self._signals: list[int] = []
        self._running: dict[Any, tuple[int, Any, Any]] = {}

    def check(self) -> None:
        need("ray", "ray", "ray")

    def adapt(self, config: dict[str, Any]) -> dict[str, Any]:
        cpus, gpus = self._open()
        return with_device(
            config, threads=max(1, math.floor(cpus)), gpu_memory_share=gpus if 0 < gpus < 1 else None
        )

    def line(self) -> str:
        import ray

        cpus, gpus = self._open()
        there = ray.cluster_resources()
        return (
            f"Ray with {there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} GPUs: a job takes {cpus:g} "
            f"cores (device.threads where that is not given) and {gpus:g} GPUs."
        )

    def machine(self) -> str:
        import ray

        cpus, gpus = self._open()
        kinds = sorted(name for name in ray.cluster_resources() if name.startswith("accelerator_type"))
        return f"ray, {cpus:g} cores, {gpus:g} GPUs of {kinds}"

    def _open(self) -> tuple[float, float]:
        """Connect, once; returns cores and GPUs of a job."""
        if self._opened is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_DEDUP_LOGS", "0")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            import ray

            if not ray.is_initialized():
                try:
                    _reach(self.init.get("address") or os.environ.get("RAY_ADDRESS", ""))
                    ray.init(log_to_driver=False, logging_level=logging.ERROR, **self.init)
                except (OSError, ValueError, TypeError, RuntimeError) as error:
                    raise SegframeError(
                        "hydra.launcher.init",
                        expected="what ray.init can use",
                        got=f"{self.init} ({type(error).__name__}: {str(error).strip().splitlines()[0]})",
                        remedy="Give hydra.launcher.init.address=HOST:PORT of a cluster, or leave it out.",
                    ) from error
            there = ray.cluster_resources()
            gpus = self.num_gpus if self.num_gpus is not None else min(1, there.get("GPU", 0))
            per_gpu = there.get("CPU", 1) // there["GPU"] if gpus and there.get("GPU") else 1
            cpus = self.num_cpus if self.num_cpus is not None else max(1, per_gpu * math.ceil(gpus or 1))
            for name, asked in (("CPU", cpus), ("GPU", gpus)):
                if asked > there.get(name, 0) and "address" not in self.init:
                    raise SegframeError(
                        f"hydra.launcher.num_{name.lower()}s",
                        expected=f"at most the {there.get(name, 0):g} that Ray has here",
                        got=f"{asked:g}",
                        remedy="Ask for less, or give hydra.launcher.init.address=HOST:PORT of a cluster.",
                    )
            self._opened = cpus, gpus
        return self._opened

    def run(self, orders: Sequence[Order]) -> Iterator[End]:
        import ray

        cpus, gpus = self._open()
        remote = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_concurrency=2, max_restarts=0, max_task_retries=0
        )(NodeProcess)
        for position, order in enumerate(orders):
            actor = remote.remote()
            running = actor.run.remote(order, os.getcwd(), forwarded())
            self._running[running] = position, actor, actor.__ray_ready__.remote()
            log.info("%s", order.told)
        try:
            while self._running:
                done, _ = ray.wait(list(self._running), num_returns=1, timeout=1.0)
                for reference in done:
                    position, actor, _ = self._running.pop(reference)
                    end = self._end(position, reference)
                    ray.kill(actor)  # so that its worker is gone before the next job starts
                    yield end
                self._pass_on()
        except KeyboardInterrupt:
            self._pass_on()
            ray.wait(list(self._running), num_returns=len(self._running), timeout=LAST_SECONDS)
            raise

    def _end(self, position: int, reference: Any) -> End:
        import ray

        try:
            return End(position, *ray.get(reference))
        except ray.exceptions.RayError as error:
            return End(position, 1, f"Ray lost it: {str(error).strip().splitlines()[0]}")

    def stop(self, number: int) -> None:
        self._signals.append(number)  # Ray is not called from within a signal handler

    def _pass_on(self) -> None:
        """Tell the jobs of the signals that came; those that wait for room do not start any more."""
        import ray

        while self._signals:
            number = self._signals.pop(0)
            ready = [begun for _, _, begun in self._running.values()]
            there = set(ray.wait(ready, num_returns=len(ready), timeout=0)[0]) if ready else set()
            for reference, (_, actor, begun) in list(self._running.items()):
                if begun in there:
                    actor.send_signal.remote(number)
                else:
                    ray.kill(actor)
                    del self._running[reference]


def _reach(address: str) -> None:
    """Raises OSError if nothing answers at HOST:PORT: Ray itself would try for several minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host, int(port)), timeout=10):
            pass
