"""TensorFlow as a run wants it: threads, seed, precision, determinism, XLA."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from segframe.record import Record

log = logging.getLogger("segframe")

CUDA_MIB = 600
"""What CUDA and its libraries take of a GPU's memory beside TensorFlow's pool, in MiB."""


def set_up(config: Mapping[str, Any], record: Record) -> bool:
    """Import TensorFlow and set it up; returns whether to compile with XLA.

    The number of threads is stored with the run and reapplied when it resumes: sums over another number of
    threads differ in their last bits.
    """
    import keras
    import tensorflow as tf

    from segframe.sum_order import keep_sums

    keep_sums()
    _threads(config["device"]["threads"], record)
    _gpu_memory(config["device"]["gpu_memory_share"])
    keras.utils.set_random_seed(config["seed"])
    precision = config["train"]["precision"]
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    strict = config["train"]["determinism"] == "strict"
    if strict:
        tf.config.experimental.enable_op_determinism()  # for the rest of this process: nothing turns it off
    return _xla(config["train"]["xla"], strict)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu_memory(share: float | None) -> None:
    """Let the memory in use grow, or take this share of each GPU's, so that jobs can share one."""
    import tensorflow as tf

    from segframe.gpus import visible_gpus

    gpus = tf.config.list_physical_devices("GPU")
    limit = int(share * min(gpu.memory_mib for gpu in visible_gpus())) - CUDA_MIB if share and gpus else None
    for gpu in gpus:
        try:
            if limit is None:
                tf.config.experimental.set_memory_growth(gpu, True)
            else:
                device = tf.config.LogicalDeviceConfiguration(memory_limit=limit)
                tf.config.set_logical_device_configuration(gpu, [device])
        except RuntimeError:  # set already, by an earlier run of this process
            continue


def _threads(asked: int | None, record: Record) -> None:
    facts = record.read("record.json")
    stored = facts.get("threads")
    threads = asked or stored or cores()
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


def _xla(asked: bool | str, strict: bool) -> bool:
    import tensorflow as tf

    if asked != "auto":
        return bool(asked)
    on, why = xla_of_auto(gpu=bool(tf.config.list_physical_devices("GPU")), strict=strict)
    log.info("train.xla=auto: %s (%s).", "on" if on else "off", why)
    return on


def xla_of_auto(*, gpu: bool, strict: bool) -> tuple[bool, str]:
    """Whether train.xla=auto compiles, and why."""
    if not gpu:
        return False, "no GPU; XLA is slower on a CPU"
    if strict:
        return False, "train.determinism=strict: XLA's max pooling has no deterministic gradient on a GPU"
    return True, "a GPU is there"
