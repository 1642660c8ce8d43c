"""Which plugins there are: the built-in ones, then the installed ones."""

from __future__ import annotations

import importlib
import os
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

import pluggy

from segframe import hooks
from segframe.errors import SegframeError, nearest

BUILTIN_PLUGINS = (
    "segframe.plugins.augmentations",
    "segframe.plugins.cache_command",
    "segframe.plugins.compare_command",
    "segframe.plugins.costs",
    "segframe.plugins.data_command",
    "segframe.plugins.evaluate_command",
    "segframe.plugins.fit",
    "segframe.plugins.hdf5",
    "segframe.plugins.leaks",
    "segframe.plugins.losses",
    "segframe.plugins.maps_command",
    "segframe.plugins.mlflow_tracker",
    "segframe.plugins.no_tracker",
    "segframe.plugins.optimizers",
    "segframe.plugins.plugins_command",
    "segframe.plugins.predict_command",
    "segframe.plugins.preflight_command",
    "segframe.plugins.previews",
    "segframe.plugins.progress",
    "segframe.plugins.reproduce_command",
    "segframe.plugins.synthetic",
    "segframe.plugins.toy",
    "segframe.plugins.track_command",
    "segframe.plugins.trial",
    "segframe.plugins.ui_command",
)


class BrokenPlugin(NamedTuple):
    """An installed plugin that could not be used, and why."""

    name: str
    distribution: str
    error: str


class Plugins(pluggy.PluginManager):
    """pluggy's manager, with what was left out and where each plugin came from."""

    def __init__(self) -> None:
        super().__init__("segframe")
        self.broken: list[BrokenPlugin] = []
        self.distributions: dict[str, str] = {}
        """{plugin name: "distribution version"}"""


def plugin_manager(installed: bool = True) -> Plugins:
    """A fresh manager with the built-in plugins and, if asked, the installed ones.

    pluggy calls the plugin first that was registered last, so an installed plugin's segframe_fit goes
    before the built-in one. SEGFRAME_BLOCK=a,b leaves plugins out by their entry point's name.

    Raises:
        SegframeError: a plugin implements a hook that does not exist, or asks for an argument that a hook
            does not have.
    """
    plugins = Plugins()
    plugins.add_hookspecs(hooks)
    for name in BUILTIN_PLUGINS:
        _register(plugins, importlib.import_module(name), name)
    if installed:
        blocked = {name for name in os.environ.get("SEGFRAME_BLOCK", "").split(",") if name}
        for entry_point in sorted(entry_points(group="segframe"), key=lambda entry: entry.name):
            if entry_point.name not in blocked:
                _load(plugins, entry_point)
    return plugins


def _load(plugins: Plugins, entry_point: EntryPoint) -> None:
    distribution = f"{entry_point.dist.name} {entry_point.dist.version}" if entry_point.dist else "unknown"
    if plugins.has_plugin(entry_point.name):  # the same distribution can be seen twice on sys.path
        return
    try:
        module = entry_point.load()
    except Exception as error:
        # A stranger's broken package must not take everyone's work down; it is reported, never hidden.
        plugins.broken.append(
            BrokenPlugin(entry_point.name, distribution, f"{type(error).__name__}: {error}")
        )
        return
    _register(plugins, module, entry_point.name)
    plugins.distributions[entry_point.name] = distribution


def _register(plugins: Plugins, module: object, name: str) -> None:
    known = {hook for hook in vars(hooks) if hook.startswith("segframe_")}
    try:
        plugins.register(module, name=name)
        plugins.check_pending()
    except pluggy.PluginValidationError as error:
        plugins.unregister(name=name)
        implemented = [hook for hook in dir(module) if hook.startswith("segframe_") and hook not in known]
        raise SegframeError(
            f"plugin {name!r}",
            expected="hooks of segframe/hooks.py with their arguments",
            got=str(error).replace("\n", " "),
            remedy=" ".join(nearest(hook, known) for hook in implemented) or "See segframe/hooks.py.",
        ) from error
