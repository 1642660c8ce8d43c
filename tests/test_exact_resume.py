"""A run that was cut off and started again ends bit for bit as one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from resuming import StopAt, check_stopped_at, fingerprint

from segframe import SegframeError, hookimpl
from segframe.experiment import run_experiment
from segframe.interrupt import Interrupted
from segframe.plugins import hdf5_blocks, hdf5_dataset
from segframe.record import Record


@pytest.fixture
def settings(config):
    return ["augment=flips", "optimizer.schedule.name=cosine", "train.batch_size=1", "train.epochs=4",
            "train.early_stopping_epochs=3"]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stopped_run_saves_leaves_and_continues_exactly(plugins, config, settings, number, tmp_path):
    whole = run_experiment(plugins, config(*settings, f"runs_dir='{tmp_path}/whole'"))
    stopper = StopAt(9, number)  # in the middle of the second epoch
    plugins.register(stopper)
    with pytest.raises(Interrupted) as stopped:
        run_experiment(plugins, config(*settings))
    assert stopped.value.signal_number == number
    (folder,) = (path.parent for path in (tmp_path / "runs").glob("*/status.json"))
    assert Record(folder).status() == "interrupted" and not (folder / "result.json").exists()
    plugins.unregister(stopper)
    resumed = run_experiment(plugins, config(*settings))
    assert fingerprint(resumed.out_dir) == fingerprint(whole.out_dir)


def test_a_run_on_windows_of_chunks_continues_exactly_with_another_cache(
    plugins, config, tmp_path, own_cache, monkeypatch
):
    """In mid-epoch; the cache is a matter of the machine, the order by chunks is one of the run."""
    for module in (hdf5_blocks, hdf5_dataset):
        monkeypatch.setattr(module, "WINDOW_BYTES", 2 * 2 * 16 * 16 * 2)
    numbers = np.random.default_rng(0)
    with h5py.File(tmp_path / "chunks.h5", "w") as file:
        file.attrs["class_names"] = ["background", "bright"]
        masks = (numbers.random((9, 16, 16)) < 0.4).astype(np.uint8)
        images = (numbers.integers(80, size=(9, 16, 16, 1)) + 120 * masks[..., None]).astype(np.uint8)
        file.create_dataset("train/images", data=images, chunks=(2, 16, 16, 1), compression="lzf")
        file.create_dataset("train/masks", data=masks, chunks=(2, 16, 16), compression="gzip")
    made = config("train.epochs=2", "train.batch_size=2", "split.val=none") | {
        "dataset": {"name": "hdf5", "path": str(tmp_path / "chunks.h5")}
    }
    whole = run_experiment(plugins, made | {"runs_dir": str(tmp_path / "whole")})
    stopper = StopAt(6, signal.SIGTERM)
    plugins.register(stopper)
    with pytest.raises(Interrupted):
        run_experiment(plugins, made | {"device": made["device"] | {"cache": "disk"}})
    plugins.unregister(stopper)
    again = run_experiment(plugins, made | {"device": made["device"] | {"cache": "memory"}})
    assert fingerprint(again.out_dir) == fingerprint(whole.out_dir)
    identity = Record(Path(again.out_dir)).read("record.json")["identity"]
    assert identity["order"].startswith("windows of 2 of 5 chunks")


CHILD = textwrap.dedent(
    """
    import json, sys
    sys.path.insert(0, {tests!r})
    from conftest import TinyNet
    from segframe.experiment import run_experiment
    from segframe.manager import plugin_manager
    plugins = plugin_manager()
    plugins.register(TinyNet())
    run_experiment(plugins, json.load(open(sys.argv[1])))
    """
).format(tests=str(Path(__file__).parent))


@pytest.mark.bundled
@pytest.mark.slow
def test_images_of_many_sizes_continue_exactly_too(plugins, config, tmp_path):
    """A network whose last bits differ between a graph for one size and a graph for any."""
    random_numbers = np.random.default_rng(0)
    with h5py.File(tmp_path / "sizes.h5", "w") as file:
        file.attrs["class_names"] = ["background", "bright"]
        for number in range(7):
            mask = (random_numbers.random(random_numbers.integers(16, 60, 2)) < 0.4).astype(np.uint8)
            image = random_numbers.integers(80, size=(*mask.shape, 1)) + 120 * mask[..., None]
            file[f"train/images/{number}"], file[f"train/masks/{number}"] = image.astype(np.uint8), mask
        file["train/ids"] = [str(number) for number in range(7)]
    made = config("train.epochs=2", "train.batch_size=2", "split.val=none") | {
        "dataset": {"name": "hdf5", "path": str(tmp_path / "sizes.h5")},
        "model": {"name": "unet", "filters": 4, "depth": 2},
    }
    check_stopped_at(2, plugins, made, tmp_path / "whole")


def test_patches_continue_exactly_in_mid_epoch(plugins, config, tmp_path, caplog):
    """Of images larger and smaller than a patch, some without the foreground; one class is nowhere."""
    random_numbers = np.random.default_rng(0)
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file.attrs["class_names"] = ["background", "square", "absent"]
        for split, samples in {"train": 4, "val": 2}.items():
            for number in range(samples):
                mask = np.zeros([(61, 47), (10, 70), (33, 90), (1, 1)][number], np.uint8)
                mask[5:30, 10:40] = number != 1
                image = random_numbers.integers(80, size=mask.shape) + 120 * mask
                file[f"{split}/images/{split}-{number}"] = image[..., None].astype(np.uint8)
                file[f"{split}/masks/{split}-{number}"] = mask
    words = ["augment=flips", f"dataset.path='{tmp_path}/large.h5'", "patch.size=[15,24]",
             "patch.per_image=3", "train.epochs=2"]  # fmt: skip
    whole = run_experiment(plugins, config(*words, f"runs_dir='{tmp_path}/whole'"))
    assert "patch.size=[15, 24] is padded to [16, 24]" in caplog.text
    stopper = StopAt(8, signal.SIGTERM)  # the third step of the second epoch's six
    plugins.register(stopper)
    with pytest.raises(Interrupted):
        run_experiment(plugins, config(*words))
    plugins.unregister(stopper)
    resumed = run_experiment(plugins, config(*words))
    assert fingerprint(resumed.out_dir) == fingerprint(whole.out_dir)
    kept = Record(Path(whole.out_dir))
    assert [entry["step"] for entry in kept.read("history.json")] == [6, 12]
    record = kept.read("record.json")
    assert record["patch"]["padded_to"] == [16, 24] and "sees the patch only" in record["patch"]["maps"]
    assert record["identity"]["patch.size"] == [15, 24]


@pytest.mark.parametrize("wanted", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_bit_for_bit_as_an_undisturbed_one(
    config, settings, tmp_path, wanted
):
    def file(name, *words):
        long = [
            f"train.epochs={4 * wanted}",
            "train.early_stopping_epochs=null",
            "train.checkpoint_seconds=0",
        ]
        made = config(*settings, *long, f"runs_dir='{tmp_path}/{name}'", *words)
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(made))
        return path

    subprocess.run([sys.executable, "-c", CHILD, str(file("whole"))], check=True)
    (whole,) = (tmp_path / "whole").glob("tiny-*")
    moments, kills = random.Random(2), 0
    for _ in range(40):
        process = subprocess.Popen([sys.executable, "-c", CHILD, str(file("killed"))])
        folder = next((tmp_path / "killed").glob("tiny-*"), None)
        before = (folder / "checkpoint.h5").stat().st_mtime_ns if kills else 0
        while process.poll() is None:  # until it has made some progress, then at a random moment
            folder = next((tmp_path / "killed").glob("tiny-*"), None)
            saved = folder / "checkpoint.h5" if folder else None
            if saved and saved.exists() and saved.stat().st_mtime_ns > before and kills < wanted:
                time.sleep(moments.random() * 0.2)
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        if process.wait() == 0:
            break
    assert process.returncode == 0 and kills == wanted
    assert fingerprint(folder) == fingerprint(whole)
    assert [entry["epoch"] for entry in Record(folder).read("history.json")] == list(range(1, 4 * wanted + 1))


def test_another_configurations_folder_is_refused_with_the_differing_keys(plugins, config, tmp_path):
    folder = tmp_path / "my run"
    run_experiment(plugins, config(f"run_dir='{folder}'", "train.epochs=1"))
    with pytest.raises(
        SegframeError, match=r"my run: .*differs in optimizer.learning_rate: 0.0003 -> 0.01; seed: 0 -> 4"
    ):
        run_experiment(
            plugins, config(f"run_dir='{folder}'", "train.epochs=1", "seed=4", "optimizer.learning_rate=0.01")
        )
    with pytest.raises(SegframeError, match="a new folder with train.resume=never"):
        run_experiment(plugins, config(f"run_dir='{folder}'", "train.epochs=1", "train.resume=never"))


def test_must_resume_names_the_nearest_run(plugins, config):
    with pytest.raises(SegframeError, match="expected a run of this config"):
        run_experiment(plugins, config("train.resume=must"))
    run_experiment(plugins, config("train.epochs=1"))
    with pytest.raises(SegframeError, match="(?s)The nearest, .*, differs in seed: 0 -> 1"):
        run_experiment(plugins, config("train.epochs=1", "train.resume=must", "seed=1"))


def test_two_processes_on_one_run_are_refused(plugins, config):
    class Second:
        @hookimpl(tryfirst=True)
        def segframe_fit(self, run):
            with pytest.raises(SegframeError, match="no other process is working on.*\n.*train.resume=never"):
                run_experiment(plugins, config())
            Second.seen = True

    plugins.register(Second())
    run_experiment(plugins, config())
    assert Second.seen


def test_a_damaged_checkpoint_is_refused_not_trained_over(plugins, config, settings, tmp_path):
    stopper = StopAt(3, signal.SIGTERM)
    plugins.register(stopper)
    with pytest.raises(Interrupted):
        run_experiment(plugins, config(*settings))
    (saved,) = (tmp_path / "runs").glob("*/checkpoint.h5")
    data = bytearray(saved.read_bytes())
    data[len(data) // 2 :: 97] = bytes(len(data[len(data) // 2 :: 97]))
    saved.write_bytes(data)
    plugins.unregister(stopper)
    with pytest.raises(SegframeError, match="a whole checkpoint"):
        run_experiment(plugins, config(*settings))


def test_another_number_of_threads_is_said_and_recorded(plugins, config, settings, caplog):
    stopper = StopAt(3, signal.SIGTERM)
    plugins.register(stopper)
    with pytest.raises(Interrupted):
        run_experiment(plugins, config(*settings))
    plugins.unregister(stopper)
    result = run_experiment(plugins, config(*settings, "device.threads=7"))
    assert "device.threads=7, but this run began with" in caplog.text
    (told,) = Record(Path(result.out_dir)).read("record.json")["went_on_elsewhere"]
    assert told.startswith("threads: ") and told.endswith(" -> 7")


def test_another_implementation_of_an_operation_is_said_and_recorded(
    plugins, config, settings, caplog, tmp_path
):
    stopper = StopAt(3, signal.SIGTERM)
    plugins.register(stopper)
    with pytest.raises(Interrupted):
        run_experiment(plugins, config(*settings))
    plugins.unregister(stopper)
    (folder,) = (tmp_path / "runs").glob("*/")
    record = Record(folder)
    facts = record.read("record.json")
    assert facts["operations"] == {}  # channels in multiples of 16 are compiled: these have less
    record.write("record.json", facts | {"operations": {"convolution": "compiled, elsewhere"}})
    run_experiment(plugins, config(*settings))
    change = "convolution: compiled, elsewhere -> none"
    assert f"other software, operations or devices: {change}." in caplog.text
    assert record.read("record.json")["went_on_elsewhere"] == [change]


def test_a_checkpoint_of_another_run_is_refused_with_the_differing_keys(plugins, config, settings, tmp_path):
    stopper = StopAt(3, signal.SIGTERM)
    plugins.register(stopper)
    for seed in (0, 1):
        with pytest.raises(Interrupted):
            run_experiment(plugins, config(*settings, f"seed={seed}", f"runs_dir='{tmp_path}/{seed}'"))
    (other,), (own,) = (list((tmp_path / str(seed)).glob("*/checkpoint.h5")) for seed in (1, 0))
    own.write_bytes(other.read_bytes())
    plugins.unregister(stopper)
    with pytest.raises(SegframeError, match="a run that differs in seed: 1 -> 0"):
        run_experiment(plugins, config(*settings, f"runs_dir='{tmp_path}/0'"))
