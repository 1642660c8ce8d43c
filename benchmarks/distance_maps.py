"""Which library makes the distance maps: SciPy, OpenCV, edt; exactness against brute force, and speed.

    pip install opencv-python-headless edt    # for the comparison only; what is missing is left out
    python benchmarks/distance_maps.py [--out benchmarks/results/distance_maps_cpu.json]

Each turns a bool mask into uint16 squared distances, as segframe_losses.distance does. Masks are smooth
blobs on 30 % of the pixels; `exact` compares with the smallest distance over all foreground pixels, at 64 to
160 px, sparse and speckled masks among them. Times: median CPU time of the rounds, one thread, libraries by
turns; `wall_threads_N` is SciPy's elapsed time per map with N maps at once, as the store makes them, and
`wall_one_thread` the same one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy import ndimage

from segframe.provenance import machine
from segframe_losses.distance import FAR, to_nearest
from segframe_losses.instances import instances, two_nearest

SIZES = (256, 512, 1024)


def ways():
    """{library: (its distribution, function of a (height, width) bool mask)}"""
    found = {
        "scipy_indices": ("scipy", to_nearest),
        "scipy_distances": ("scipy", lambda there: clipped(ndimage.distance_transform_edt(~there) ** 2)),
    }
    try:
        import cv2

        cv2.setNumThreads(1)

        def opencv(there, size=cv2.DIST_MASK_PRECISE):
            return clipped(
                cv2.distanceTransform((~there).astype(np.uint8), cv2.DIST_L2, size).astype(np.float64) ** 2
            )

        found["opencv_precise"] = "opencv-python-headless", opencv
        found["opencv_5x5"] = "opencv-python-headless", lambda there: opencv(there, cv2.DIST_MASK_5)
    except ImportError:
        print("no opencv-python-headless: left out")
    try:
        import edt

        found["edt"] = "edt", lambda there: clipped(edt.edtsq(~there, parallel=1))
    except ImportError:
        print("no edt: left out")
    return found


def clipped(squared):
    return np.minimum(np.rint(squared), FAR).astype(np.uint16)


def blobs(size, random, share=0.3):
    smooth = ndimage.gaussian_filter(random.normal(size=(size, size)), size / 40)
    return smooth > np.quantile(smooth, 1 - share)


def brute_force(there):
    pixels, nearest = np.stack(np.indices(there.shape), -1), np.full(there.shape, 2**31)
    for pixel in np.argwhere(there):
        nearest = np.minimum(nearest, np.square(pixels - pixel).sum(-1))
    return np.minimum(nearest, FAR).astype(np.uint16)


def exactness(functions):
    """{library: [share of wrong pixels, largest error of the distance in px]}"""
    random = np.random.default_rng(0)
    masks = [blobs(64, random), blobs(160, random, 0.02), random.random((90, 130)) < 0.01]
    sole = np.zeros((300, 40), bool)
    sole[0, 3] = True
    wrong = {name: [0.0, 0.0] for name in functions}
    for there in [*masks, sole]:
        expected = brute_force(there)
        for name, function in functions.items():
            found = function(there)
            error = np.abs(np.sqrt(found.astype(float)) - np.sqrt(expected.astype(float))).max()
            wrong[name] = [
                max(wrong[name][0], float((found != expected).mean())),
                max(wrong[name][1], float(error)),
            ]
    return wrong


def seconds(functions, size, rounds):
    there, times = blobs(size, np.random.default_rng(size)), {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            function(there)
            if number:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    found = ways()
    functions = {name: function for name, (_, function) in found.items()}
    report = {
        "command": "python benchmarks/distance_maps.py",
        "share_of_wrong_pixels_and_largest_error_px": exactness(functions),
        "milliseconds": {},
    }
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for size in SIZES:
        there = blobs(size, np.random.default_rng(size))
        times = seconds(functions, size, arguments.rounds)
        numbered = instances(blobs(size, np.random.default_rng(1), 0.3).astype(np.uint8), 2)
        times["nearest_instances"] = seconds(
            {"": lambda _, numbered=numbered: two_nearest(numbered, None)}, size, arguments.rounds
        )[""]
        for name, threads in (("wall_one_thread", 1), (f"wall_threads_{cores}", cores)):
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                list(pool.map(to_nearest, [there] * 8 * cores))
                times[name] = (time.perf_counter() - start) / 8 / cores
        report["milliseconds"][size] = {name: round(1e3 * value, 2) for name, value in times.items()}
        report["milliseconds"][size]["instances"] = int(numbered.max())
    report["versions"] = {name: version(name) for name in sorted({name for name, _ in found.values()})}
    report["machine"] = machine()
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
