"""Images per second from an HDF5 file into training batches: segframe beside what a user would write instead.

h5py in from_generator, tf.data from memory, PyTorch's DataLoader and Grain on the same file, the file's bytes
with their filters undone and nothing else ("bare"), and the plain copy of the decoded ones; each in a process
of its own with the same cores (benchmarks/pipeline_readers.py).
Some batches of each in turn, round after round, each after a pause in which the one before ends what it reads
ahead; a ratio is the median over the rounds, with its quartiles.
"Cold": the file's pages are dropped from the page cache before each turn. Flips are the augmentation.

    python benchmarks/pipeline.py [--out benchmarks/results/pipeline_cpu.json] [--others PYTHON]

--others is a Python with torch, grain, h5py and hdf5plugin; without, those that this one lacks are left out.
Further parts: the peak of memory while the file grows tenfold, and data_wait in a training run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SIZES = {"256x256x3": ((256, 256, 3), 288), "512x512x1": ((512, 512, 1), 288)}
BATCH, SKIP, COUNT = 8, 8, 24  # in batches; a pass of the files has 36
PAUSE_SECONDS = 0.2
GOALS = {"from_generator": 3.0, "torch": 1.5}


class Reader:
    """A process of pipeline_readers.py."""

    def __init__(self, name: str, cores: int, python: str):
        script = Path(__file__).with_name("pipeline_readers.py")
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [python, script, name, str(cores)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
        )  # fmt: skip
        self.facts, self.left_out = {}, ""
        try:
            self.facts = self._answer()
        except RuntimeError as error:
            self.left_out = str(error)

    def ask(self, **request: Any) -> dict[str, Any]:
        """One pass."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines() or ["without a word"]
        raise RuntimeError(f"exit code {code}: {said[-1]}")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()


def pictures(shape: tuple[int, int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images that compress as photographs do: smooth, with some noise; masks of blobs."""
    from PIL import Image

    rng = np.random.default_rng(0)
    height, width, channels = shape

    def smooth(parts: int) -> np.ndarray:
        small = Image.fromarray(rng.integers(256, size=(parts, parts), dtype=np.uint8))
        return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))

    images, masks = [], []
    for _ in range(count):
        noise = rng.integers(0, 24, (height, width, channels)) // 16  # 0 or 1, one in three
        image = np.stack([smooth(12) // 2 for _ in range(channels)], axis=-1) + noise
        images.append(np.clip(image, 0, 255).astype(np.uint8))
        masks.append((smooth(5) > 128).astype(np.uint8))
    return np.stack(images), np.stack(masks)


def storages() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        "none": {},
        "gzip": {"compression": "gzip"},
        "lzf": {"compression": "lzf"},
    }
    try:
        import hdf5plugin
    except ImportError:
        return found
    return found | {"blosc": dict(hdf5plugin.Blosc(cname="lz4"))}


def write(path: Path, images: Any, masks: Any, rows: int = 1, repeat: int = 1, **options: Any) -> Path:
    """A data file of `repeat` times these samples in chunks of `rows`."""
    with h5py.File(path, "w") as file:
        file.attrs["class_names"] = ["background", "cell"]
        for name, values in (("images", images), ("masks", masks)):
            shape = (repeat * len(values), *values.shape[1:])
            stored = file.create_dataset(
                f"train/{name}", shape, "u1", chunks=(rows, *values.shape[1:]), **options
            )
            stored[: len(values)] = values
            rest = (0,) * (values.ndim - 1)
            for start in range(0, len(values), rows):  # repeats are copied as they are compressed
                skipped, chunk = stored.id.read_direct_chunk((start, *rest))
                for number in range(1, repeat):
                    stored.id.write_direct_chunk((number * len(values) + start, *rest), chunk, skipped)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return path


def drop_pages(path: Path) -> None:
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compare(readers: dict[str, Reader], path: Path, rounds: int, cold: bool, augment: bool) -> dict[str, Any]:
    """Images per second of each reader, and segframe's ratio to each."""
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    per_cpu: dict[str, list[float]] = {name: [] for name in readers}
    sums = set()
    for number in range(-1, rounds):
        for name, reader in readers.items():
            time.sleep(PAUSE_SECONDS)
            if cold:
                drop_pages(path)
            found = reader.ask(file=str(path), augment=augment, batch=BATCH, skip=SKIP, count=COUNT)
            if number < 0:
                sums.add(tuple(found["sums"][:0] if augment else found["sums"]))
                continue
            speeds[name].append(found["images"] / found["seconds"])
            if name != "torch":  # the time of its workers is not known here
                per_cpu[name].append(found["images"] / max(found["cpu"], 0.01))
    if len(sums) != 1:
        raise RuntimeError(f"the readers do not read the same: {sums}")

    def over(one: str, other: str) -> list[float]:
        ratios = (mine / theirs for mine, theirs in zip(speeds[one], speeds[other], strict=True))
        return [round(quartile, 2) for quartile in statistics.quantiles(ratios)]

    return {
        "images_per_second": {name: round(statistics.median(each)) for name, each in speeds.items()},
        "images_per_cpu_second": {
            name: round(statistics.median(each)) for name, each in per_cpu.items() if each
        },
        "segframe_over": {name: over("segframe", name) for name in readers if name != "segframe"},
        "bare_over": {name: over("bare", name) for name in GOALS if "bare" in readers and name in readers},
    }


def all_cases(
    folder: Path, rounds: int, others: str, report: dict[str, Any], keep: Callable[[dict[str, Any]], None]
) -> None:
    cases = []
    for size, (shape, count) in SIZES.items():
        images, masks = pictures(shape, count)
        for storage, options in storages().items():
            path = write(folder / f"{size}-{storage}.h5", images, masks, **options)
            cases.append((size, storage, path, images.nbytes + masks.nbytes))
    for cores in range(min(2, len(os.sched_getaffinity(0))), 0, -1):
        pythons = dict.fromkeys(
            ("segframe", "from_generator", "tensor_slices", "bare", "memcpy"), sys.executable
        )
        pythons |= dict.fromkeys(("torch", "grain"), others)
        readers = {name: Reader(name, cores, python) for name, python in pythons.items()}
        for name, reader in readers.items():
            if reader.left_out:
                report["left_out"][name] = reader.left_out
            else:
                report["versions"][name] = reader.facts["version"]
        readers = {name: reader for name, reader in readers.items() if not reader.left_out}
        for (cold, augment), (size, storage, path, decoded) in itertools.product(
            ((False, False), (False, True), (True, False)), cases
        ):
            if not (cold and cores == 1 or augment and storage != "gzip"):
                row = {"size": size, "storage": storage, "cores": cores, "cold": cold, "flips": augment,
                       "stored_share": round(path.stat().st_size / decoded, 2)}  # fmt: skip
                report["rows"].append(row | compare(readers, path, rounds, cold, augment))
                print(json.dumps(report["rows"][-1]), flush=True)
                keep(report)
        for reader in readers.values():
            reader.close()


def peaks(folder: Path) -> list[dict[str, Any]]:
    """Largest resident memory of a process that reads one pass, while the file grows tenfold."""
    images, masks = pictures((256, 256, 3), 160)
    found = []
    for rows, start in ((1, 2), (16, 7)):  # 84 MB decoded; 294 MB: more than two windows
        row: dict[str, Any] = {"samples_a_chunk": rows, "decoded_mb": [], "peak_mb": []}
        for repeat in (start, 10 * start):
            path = write(folder / "growing.h5", images, masks, rows, repeat, compression="lzf")
            reader = Reader("segframe", len(os.sched_getaffinity(0)), sys.executable)
            found_mb = reader.ask(file=str(path), augment=False, batch=BATCH, skip=0, count=1)["peak_mb"]
            row["peak_mb"].append(round(found_mb))
            row["decoded_mb"].append(round(repeat * (images.nbytes + masks.nbytes) / 1e6))
            reader.close()
            path.unlink()
        found.append(row)
        print(json.dumps(row), flush=True)
    return found


def data_wait(folder: Path, out_of: list[str]) -> dict[str, Any]:
    """Of a training run on the CPU, epoch by epoch."""
    images, masks = pictures((256, 256, 3), 64)
    path = write(folder / "training.h5", images, masks, compression="gzip")
    words = ["dataset=hdf5", f"dataset.path={path}", *out_of]
    run = [f"run_dir={folder}/run", "tracker=none", "split.val=none"]
    done = subprocess.run([sys.executable, "-m", "segframe", *words, *run], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    history = json.loads((folder / "run/history.json").read_text())
    shares = [round(epoch["data_wait"], 4) for epoch in history]
    return {"command": shlex.join(["python", "-m", "segframe", *words[2:]]), "data_wait": shares,
            "images_per_second": [round(epoch["images_per_second"], 1) for epoch in history]}  # fmt: skip


def goals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all cases: those that do not reach a goal by their median, with what "bare" reaches there."""
    told = {}
    for other, goal in GOALS.items():
        known = [row for row in rows if other in row["segframe_over"]]
        medians = [row["segframe_over"][other][1] for row in known]
        if medians:
            told[other] = {
                "goal": goal,
                "cases": len(known),
                "below": {
                    case(row): {"segframe": median, "bare": row["bare_over"].get(other, [None, None])[1]}
                    for row, median in zip(known, medians, strict=True) if median < goal
                },
                "median": statistics.median(medians),
                "lowest": min(medians),
            }  # fmt: skip
    return told


def case(row: dict[str, Any]) -> str:
    temperature, flips = "cold" if row["cold"] else "warm", " flips" if row["flips"] else ""
    return f"{row['size']} {row['storage']} {row['cores']} core(s) {temperature}{flips}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--others", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--parts", nargs="+", default=["training", "memory", "cases"])
    arguments = parser.parse_args()
    parts = arguments.parts
    from importlib.metadata import PackageNotFoundError, version

    from segframe.provenance import machine

    said = f"--rounds {arguments.rounds} --parts {' '.join(parts)}"
    said += " --others PYTHON" * (arguments.others != sys.executable)
    report: dict[str, Any] = {
        "command": f"python benchmarks/pipeline.py {said}",
        "what": "segframe_over: quartiles of the ratio of images/s, round by round: lower, median, upper",
        "machine": {key: value for key, value in machine().items() if key != "command"},
        "versions": {},
        "batch": BATCH,
        "rounds": arguments.rounds,
        "left_out": {},
        "rows": [],
    }
    for package in ("h5py", "imagecodecs", "hdf5plugin"):
        try:
            report["versions"][package] = version(package)
        except PackageNotFoundError:
            report["versions"][package] = "not installed"
    with tempfile.TemporaryDirectory() as folder:

        def keep(report: dict[str, Any]) -> None:
            report["goals"] = goals(report["rows"])
            if arguments.out:
                arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

        if "training" in arguments.parts:
            words = ["train.epochs=4", "train.batch_size=8", "model.filters=8", "model.depth=3"]
            report["training"] = data_wait(Path(folder), words)
            print(json.dumps(report["training"]), flush=True)
            keep(report)
        if "memory" in arguments.parts:
            report["memory"] = peaks(Path(folder))
            keep(report)
        if "cases" in arguments.parts:
            all_cases(Path(folder), arguments.rounds, arguments.others, report, keep)
    print(json.dumps(report.get("goals"), indent=1))


if __name__ == "__main__":
    main()
