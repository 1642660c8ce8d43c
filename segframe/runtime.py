"""TensorFlow as a run wants it: threads, seed, precision, determinism, XLA."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from segframe.record import Record

log = logging.getLogger("segframe")


def set_up(config: Mapping[str, Any], record: Record) -> bool:
    """Import TensorFlow and set it up; returns whether to compile with XLA.

    The number of threads is stored with the run and reapplied when it resumes: sums over another number of
    threads differ in their last bits.
    """
    import keras
    import tensorflow as tf

    _threads(config["device"]["threads"], record)
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # set already, by an earlier run of this process
            continue
    keras.utils.set_random_seed(config["seed"])
    precision = config["train"]["precision"]
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    if config["train"]["determinism"] == "strict":
        tf.config.experimental.enable_op_determinism()  # for the rest of this process: nothing turns it off
    return _xla(config["train"]["xla"])


def _threads(asked: int | None, record: Record) -> None:
    facts = record.read("record.json")
    stored = facts.get("threads")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = asked or stored or allowed
    if stored and threads != stored:
        log.warning(
            "device.threads=%d, but this run began with %d: its last bits will differ from those of a run "
            "that was never cut off.",
            threads,
            stored,
        )
        facts.setdefault("went_on_elsewhere", []).append(f"threads: {stored} -> {threads}")
    use_threads(threads)
    record.write("record.json", facts | {"threads": threads})


def use_threads(threads: int) -> None:
    """As many for TensorFlow's operations; said where it runs with another number already."""
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        running = tf.config.threading.get_intra_op_parallelism_threads()
        if running != threads:
            log.warning(
                "TensorFlow runs with %d threads already in this process, not with %d.", running, threads
            )


def _xla(asked: bool | str) -> bool:
    import tensorflow as tf

    if asked != "auto":
        return bool(asked)
    there = bool(tf.config.list_physical_devices("GPU"))
    log.info(
        "train.xla=auto: %s.", "on (a GPU is there)" if there else "off (no GPU; XLA is slower on a CPU)"
    )
    return there
