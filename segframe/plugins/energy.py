"""Energy that a device tells: NVIDIA's GPUs through NVML, processors through Linux's RAPL counters.

Both count all that happens on the device, whoever causes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules since it was made.

    Args:
        counters: {device: reading function}; a reading is (joules so far, joules at which it starts again
            from 0, or None).
        absent: why there are no counters; empty if there are some.

    Read it at least once in the time in which a counter goes round: minutes, for a processor under full load.
    """

    def __init__(self, counters: dict[str, Callable[[], tuple[float, float | None]]], absent: str):
        self.devices, self.absent = list(counters), absent
        self._counters = counters
        self._last = {device: read()[0] for device, read in counters.items()}
        self._joules = 0.0

    def joules(self) -> float | None:
        """None where no device tells."""
        if not self._counters:
            return None
        for device, read in self._counters.items():
            now, around = read()
            passed = now - self._last[device]
            self._joules += passed if passed >= 0 or around is None else passed + around
            self._last[device] = now
        return self._joules


def energy_meter(gpu: bool, powercap: Path = POWERCAP) -> EnergyMeter:
    """Of the first GPU if there is one for the run, else of the processor."""
    try:
        return EnergyMeter(_nvml() if gpu else _rapl(powercap), "")
    except Exception as error:  # NVML raises what its driver likes
        return EnergyMeter({}, f"{type(error).__name__}: {error}")


def _rapl(powercap: Path) -> dict[str, Callable[[], tuple[float, float | None]]]:
    """The processor's packages: intel-rapl:N of the kernel, on AMD's processors too.

    Source: https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
    """
    zones = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    if not zones:
        raise FileNotFoundError(f"no RAPL counters in {powercap}")
    counters: dict[str, Callable[[], tuple[float, float | None]]] = {}
    for zone in zones:
        around = _microjoules(zone / "max_energy_range_uj")
        _microjoules(zone / "energy_uj")  # only root may read it, on most systems
        name = f"RAPL {(zone / 'name').read_text(encoding='ascii').strip()}"

        def read(file: Path = zone / "energy_uj", around: float = around) -> tuple[float, float | None]:
            return _microjoules(file), around

        counters[name] = read
    return counters


def _microjoules(file: Path) -> float:
    return int(file.read_text(encoding="ascii")) / 1e6


def _nvml() -> dict[str, Callable[[], tuple[float, float | None]]]:
    """The first GPU that CUDA may use: TensorFlow's GPU:0. Volta and later count their energy."""
    import pynvml

    with _started(pynvml):
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
        find = pynvml.nvmlDeviceGetHandleByIndex if first.isdigit() else pynvml.nvmlDeviceGetHandleByUUID
        handle = find(int(first) if first.isdigit() else first)
        name = pynvml.nvmlDeviceGetName(handle)

        def read() -> tuple[float, float | None]:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, None

        read()
        return {f"NVML {name if isinstance(name, str) else name.decode()}": read}


@contextmanager
def _started(pynvml) -> Iterator[None]:
    """NVML stays open: its handles are used until the process ends. Only a failure closes it."""
    pynvml.nvmlInit()
    try:
        yield
    except BaseException:
        pynvml.nvmlShutdown()
        raise
