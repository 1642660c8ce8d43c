"""segframe.plugins.costs: what a run costs, against counts by hand and counters that go round."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from segframe.experiment import run_experiment
from segframe.plugins.costs import Costs
from segframe.plugins.energy import energy_meter
from segframe.plugins.flops import forward_flops

HEIGHT, WIDTH, CHANNELS = 16, 20, 3


def conv(keras, **options):
    return keras.layers.Conv2D(5, 3, **options)


@pytest.mark.parametrize(
    "make, flops",
    [
        (lambda keras: conv(keras, padding="same"), 2 * (16 * 20 * 5) * (9 * 3) + 16 * 20 * 5),
        (lambda keras: conv(keras, padding="same", use_bias=False), 2 * (16 * 20 * 5) * (9 * 3)),
        (lambda keras: conv(keras, strides=2, use_bias=False), 2 * (7 * 9 * 5) * (9 * 3)),
        (lambda keras: conv(keras, dilation_rate=2, use_bias=False), 2 * (12 * 16 * 5) * (9 * 3)),
        # Each number of the image is multiplied with each of the kernel's.
        (
            lambda keras: keras.layers.Conv2DTranspose(5, 3, 2, padding="same", use_bias=False),
            2 * (16 * 20 * 3) * (9 * 5),
        ),
        (lambda keras: keras.layers.Dense(7, use_bias=False), 2 * (16 * 20 * 3) * 7),
        (lambda keras: keras.layers.MaxPooling2D(), 8 * 10 * 3 * 4),
        (lambda keras: keras.layers.UpSampling2D(interpolation="bilinear"), 0),
    ],
    ids=["bias", "same", "strides", "dilation", "transposed", "dense", "pooling", "resize"],
)
def test_operations_are_those_counted_by_hand(make, flops):
    import keras

    image = keras.Input((None, None, CHANNELS))
    model = keras.Model(image, make(keras)(image))
    assert forward_flops(model, (HEIGHT, WIDTH, CHANNELS)) == flops


def test_a_run_keeps_its_costs(plugins, config):
    folder = Path(run_experiment(plugins, config()).out_dir)
    costs = json.loads((folder / "costs.json").read_text())
    # 18x24 is 17x23 padded. Convolution; batch normalisation: a difference, a product, a sum and, of each
    # channel, an epsilon, a square root and products; the maximum of 2x2; convolution with bias.
    pixels = 18 * 24
    at_least = 2 * pixels * 4 * 9 + pixels * 4 + pixels * 4 + 2 * pixels * 2 * 36 + pixels * 2
    assert at_least <= costs["flops"] <= at_least + 10 * pixels * 4
    assert costs["flops_image_shape"] == [18, 24, 1]
    # 36 + 4 * 4 of the batch normalisation + 72 and 2 biases.
    assert costs["parameters"] == 36 + 16 + 72 + 2
    # 3 epochs of 3 steps: one interval each, as the last is none, and the first two steps do not count.
    assert costs["steps_timed"] == 2 and 0 < costs["step_ms"] < 60_000
    assert 100 < costs["memory_mib"] < 100_000
    assert ("energy_j" in costs["absent"]) == (costs["energy_j"] is None)


@pytest.mark.parametrize("batch_size, steps", [(4, 2), (8, 1)])
def test_epochs_of_a_step_or_two_are_timed_by_their_mean(plugins, config, batch_size, steps):
    """Their last step is told right behind the one before: no time lies between."""
    made = config(f"train.batch_size={batch_size}", "train.epochs=4")
    folder = Path(run_experiment(plugins, made).out_dir)
    costs, history = (json.loads((folder / f"{name}.json").read_text()) for name in ("costs", "history"))
    means = sorted(1000 * epoch["train_seconds"] / steps for epoch in history[1:])
    assert history[-1]["step"] == 4 * steps and costs["steps_timed"] == 3
    assert costs["step_ms"] == pytest.approx(means[1], rel=1e-4)


def test_an_operation_that_cannot_be_counted_is_said_in_the_record(plugins, config, monkeypatch):
    def choke(model, shape):
        raise ValueError("no shape")

    monkeypatch.setattr("segframe.plugins.flops.forward_flops", choke)
    folder = Path(run_experiment(plugins, config("train.epochs=1")).out_dir)
    costs = json.loads((folder / "costs.json").read_text())
    assert costs["flops"] is None and costs["absent"]["flops"] == "ValueError: no shape"


@pytest.fixture
def powercap(tmp_path):
    """Two packages of a processor as the kernel shows them, one with its core's own counter."""
    for zone, name, energy in (
        ("intel-rapl:0", "package-0", 100),
        ("intel-rapl:0:0", "core", 1),
        ("intel-rapl:1", "package-1", 900),
    ):
        folder = tmp_path / zone
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{1000 * 10**6}\n")
        (folder / "energy_uj").write_text(f"{energy * 10**6}\n")
    return tmp_path


def test_a_processors_packages_are_added_up_and_may_go_round(powercap):
    meter = energy_meter(False, powercap)
    assert meter.devices == ["RAPL package-0", "RAPL package-1"] and not meter.absent
    assert meter.joules() == 0
    (powercap / "intel-rapl:0" / "energy_uj").write_text(f"{150 * 10**6}\n")
    (powercap / "intel-rapl:1" / "energy_uj").write_text(f"{20 * 10**6}\n")
    assert meter.joules() == 50 + 120
    assert meter.joules() == 50 + 120


def test_a_device_that_does_not_tell_is_absent_with_the_reason(tmp_path, powercap):
    meter = energy_meter(False, tmp_path / "none")
    assert meter.joules() is None and meter.absent.startswith("FileNotFoundError: no RAPL counters")
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    assert energy_meter(False, powercap).joules() is None


def test_a_resumed_run_adds_its_energy_to_that_of_before(tmp_path, powercap, monkeypatch):
    monkeypatch.setattr("segframe.plugins.costs.energy_meter", lambda gpu: energy_meter(False, powercap))
    run = SimpleNamespace(out_dir=tmp_path, model=SimpleNamespace(count_params=lambda: 3))
    first = Costs(run)
    (powercap / "intel-rapl:0" / "energy_uj").write_text(f"{130 * 10**6}\n")
    kept = json.loads(json.dumps(first.state()))
    second = Costs(run)
    second.restore(kept)
    (powercap / "intel-rapl:0" / "energy_uj").write_text(f"{140 * 10**6}\n")
    second.close()
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert costs["energy_j"] == 30 + 10 and costs["energy_of"] == ["RAPL package-0", "RAPL package-1"]
    assert costs["absent"]["step_ms"].startswith("0 steps")


class StandInForNvml:
    """What energy.py takes of pynvml, for machines without a GPU: two devices that count millijoules."""

    def __init__(self):
        self.millijoules = {"0": 5000, "GPU-b": 7000}

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByIndex(self, index):
        return str(index)

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return uuid

    def nvmlDeviceGetName(self, handle):
        return f"GPU {handle}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self.millijoules[handle]


@pytest.mark.parametrize("visible, device", [("", "0"), ("0,GPU-b", "0"), ("GPU-b", "GPU-b")])
def test_of_gpus_the_first_that_cuda_sees_is_read_in_joules(monkeypatch, visible, device):
    nvml = StandInForNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    meter = energy_meter(True)
    assert meter.devices == [f"NVML GPU {device}"]
    nvml.millijoules[device] += 1500
    assert meter.joules() == 1.5


def test_a_gpu_without_the_library_is_absent_with_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = energy_meter(True)
    assert meter.joules() is None and "pynvml" in meter.absent
