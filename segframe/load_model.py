"""A trained model back from its run: the network by its plugin, the weights and facts from HDF5.

model.weights.h5 is Keras's weights file. Its attributes, as JSON: config (the run's, resolved),
normalisation (segframe.normalisation), class_names, image_shape (height, width, channels: the largest of the
data), versions (of libraries and plugins), xla (whether the run was compiled by it), operations (by which of
several implementations they were computed: segframe.custom_ops; files of before lack it).
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.errors import SegframeError
from segframe.identity import differences

if TYPE_CHECKING:
    import keras

    from segframe.manager import Plugins
    from segframe.trained_model import TrainedModel

log = logging.getLogger("segframe")

FILE = "model.weights.h5"
FACTS = ("config", "normalisation", "class_names", "image_shape", "versions", "xla")
"""The attributes that a model is made of."""


def load_model(path: str | Path, plugins: Plugins | None = None) -> TrainedModel:
    """The model that a run has trained.

    Its predictions are the run's own, bit for bit, with the same versions of TensorFlow and Keras on the same
    kind of device: `predict` takes as many images at a time as the run did. For this TensorFlow's arithmetic
    optimisation is off in this process from here on (segframe.sum_order).

    Args:
        path: the run's folder, or its model.weights.h5, wherever that lies now.
        plugins: where the network's builder is found; the installed ones by default.

    Returns:
        A segframe.trained_model.TrainedModel.

    Raises:
        SegframeError: there is no such file, it is no trained model's, the plugin of its network is missing,
            or that makes another network now.
    """
    from segframe.manager import plugin_manager
    from segframe.quiet import import_tensorflow

    file = weights_file(Path(path).expanduser())
    facts = stored_facts(file)
    plugins = plugins or plugin_manager()
    _check_plugin(file, facts, plugins)
    import_tensorflow()
    from segframe.normalisation import Normalisation
    from segframe.sum_order import keep_sums
    from segframe.trained_model import TrainedModel

    keep_sums()
    _warn_of_versions(file, facts["versions"])
    known = facts["normalisation"]
    network, operations = _network(facts, plugins)
    if changes := differences(operations, facts.get("operations", operations)):
        log.warning(
            "%s was trained with other operations, and the last bits may differ: %s.",
            file,
            "; ".join(changes),
        )
    _load(network, file)
    return TrainedModel(
        network,
        Normalisation(known["scale"], tuple(known["mean"]), tuple(known["std"]), *known["range"]),
        config=facts["config"],
        class_names=facts["class_names"],
        channels=facts["image_shape"][2],
        versions=facts["versions"],
        xla=facts["xla"],
    )


def weights_file(path: Path) -> Path:
    """The weights file of a run's folder, or the file itself; raises SegframeError: there is none."""
    if path.is_dir():
        from segframe.record import Record

        file = path / FILE
        if not file.is_file():
            state = Record(path).status()
            raise SegframeError(
                str(path),
                expected=f"the folder of a finished run, with {FILE}",
                got=f"a run that is {state}" if state else "no run",
                remedy="Start the run again to finish it." if state else "Give the folder of a run.",
            )
        return file
    if not path.is_file():
        raise SegframeError(
            str(path),
            expected=f"the folder of a run, or its {FILE}",
            got="nothing of that name",
            remedy="A run's summary names its folder.",
        )
    return path


def stored_facts(file: Path) -> dict[str, Any]:
    """The attributes of a weights file; raises SegframeError: it cannot be read, or lacks one."""
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            stored = dict(opened.attrs)
        facts = {name: json.loads(stored[name]) for name in (*FACTS, "operations") if name in stored}
    except (OSError, ValueError, TypeError) as error:
        raise SegframeError(
            str(file),
            expected="the weights of a run, in HDF5",
            got=f"a file that cannot be read as that ({error})",
            remedy="Copy it again: it may be cut short.",
        ) from error
    missing = [name for name in FACTS if name not in facts]
    if missing:
        raise SegframeError(
            str(file),
            expected=f"the attributes {', '.join(FACTS)}",
            got=f"a file without {', '.join(missing)}",
            remedy=f"Give the {FILE} that a run has written, or train the run anew with this segframe.",
        )
    return facts


def _check_plugin(file: Path, facts: dict[str, Any], plugins: Plugins) -> None:
    """Before TensorFlow is imported: whether the network's builder is there."""
    from segframe.catalog import catalog

    name, there = facts["config"]["model"]["name"], catalog(plugins, "model")
    if name in there:
        return
    had = [
        f"{key.removeprefix('plugin ')} ({text})"
        for key, text in facts["versions"].items()
        if key.startswith("plugin ")
    ]
    broken = "".join(f" {one.name} cannot be imported: {one.error}." for one in plugins.broken)
    raise SegframeError(
        str(file),
        expected=f"a plugin with the model {name!r}",
        got=f"models {', '.join(sorted(there)) or 'none'}",
        remedy=f"Install it, or stop blocking it. The run had: {', '.join(had) or 'no plugins'}.{broken}",
    )


def _network(facts: dict[str, Any], plugins: Plugins) -> tuple[keras.Model, dict[str, str]]:
    """Built as the run built it, in its precision, without weights to start from; and what computes it."""
    import keras

    from segframe.catalog import build
    from segframe.custom_ops import custom_ops

    section = {
        # Weights to start from (hooks.segframe_models) may be gone by now, and those of the run replace them.
        key: None if key.endswith("_weights") and isinstance(value, str) else value
        for key, value in facts["config"]["model"].items()
    }
    precision, before = facts["config"]["train"]["precision"], keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        with custom_ops(allowed=not facts["xla"]) as operations:
            network = build(
                plugins,
                "model",
                section,
                image_shape=tuple(facts["image_shape"]),
                num_classes=len(facts["class_names"]),
            )
            return network, operations
    finally:
        keras.config.set_dtype_policy(before)


def _load(network: keras.Model, file: Path) -> None:
    try:
        with warnings.catch_warnings():
            # Keras only warns of layers that the file has not, and leaves them as they were made.
            warnings.filterwarnings("error", category=UserWarning, module="keras")
            network.load_weights(file)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        raise SegframeError(
            str(file),
            expected="weights of the network that its config describes",
            got=" ".join(str(error).split())[:300],
            remedy="The network's plugin has changed since: install the version that the file's attribute "
            "`versions` names.",
        ) from error


def _warn_of_versions(file: Path, versions: dict[str, str]) -> None:
    from importlib.metadata import PackageNotFoundError, version

    for name in ("tensorflow", "tensorflow-cpu", "keras"):
        try:
            now = version(name)
        except PackageNotFoundError:
            continue
        if versions.get(name, now) != now:
            told = "%s was trained with %s %s; this is %s: the last bits may differ."
            log.warning(told, file, name, versions[name], now)
