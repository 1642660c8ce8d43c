"""The slides' car segmentation (conf/experiment/cars_adam.yaml): both decoders, several seeds.

    python benchmarks/cars.py cars.h5 --out benchmarks/results/cars_h100.json [--seeds 3] [key=value ...]

Needs a GPU for filters=64 in reasonable time; on a CPU take model.filters=16. Writes JSON: for each decoder
and seed the test scores after 30, 60 and 90 epochs, the time, the device and the versions; and their means.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from hydra import compose, initialize_config_module

from segframe.compose import register
from segframe.console import set_up_console
from segframe.experiment import run_experiment
from segframe.manager import plugin_manager
from segframe.provenance import machine, versions
from segframe.train_command import plain

KEYS = ("iou/car", "dice/car", "pixel_accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="cars.h5")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--decoders", default="double,same")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    set_up_console()
    register()
    plugins, runs = plugin_manager(), []
    with (
        tempfile.TemporaryDirectory() as folder,
        initialize_config_module("segframe.conf", version_base="1.3"),
    ):
        for decoder in arguments.decoders.split(","):
            for seed in range(arguments.seeds):
                words = [
                    "experiment=cars_adam", f"dataset.path='{arguments.data}'", f"model.decoder_filters={decoder}",
                    f"seed={seed}", "tracker=none", f"runs_dir='{folder}'", *arguments.overrides,
                ]  # fmt: skip
                config = plain(compose("config", words))
                start = time.perf_counter()
                result = run_experiment(plugins, config)
                scores = {epoch: {key: found[key] for key in KEYS} for epoch, found in result.test_at.items()}
                history = json.loads((Path(result.out_dir) / "history.json").read_text())
                rates = [entry["images_per_second"] for entry in history[1:]]
                runs.append(
                    {
                        "decoder_filters": decoder, "seed": seed, "test": scores,
                        "seconds": time.perf_counter() - start,
                        "images_per_second": statistics.median(rates),
                        "last_train_loss": history[-1]["train/loss"],
                    }
                )  # fmt: skip
                print(json.dumps(runs[-1]))
                report = {
                    "command": " ".join(["python benchmarks/cars.py cars.h5", *arguments.overrides]),
                    "runs": runs,
                    "mean": means(runs),
                    "versions": versions(plugins),
                    "machine": {key: value for key, value in machine().items() if key != "command"},
                }
                arguments.out.write_text(json.dumps(report, indent=1) + "\n")  # after each: a GPU's time ends


def means(runs: list[dict]) -> dict:
    """{decoder: {epoch: {score: mean over seeds}}}."""
    found: dict = {}
    for decoder in dict.fromkeys(run["decoder_filters"] for run in runs):
        tests = [run["test"] for run in runs if run["decoder_filters"] == decoder]
        found[decoder] = {
            epoch: {key: statistics.fmean(test[epoch][key] for test in tests) for key in KEYS}
            for epoch in tests[0]
        }
    return found


if __name__ == "__main__":
    main()
