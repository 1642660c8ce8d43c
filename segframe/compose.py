"""Hydra as segframe uses it: where configs are found, and its errors as SegframeErrors."""

from __future__ import annotations

import logging
import re
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from segframe.errors import SegframeError, nearest

log = logging.getLogger("segframe")


class PluginConfigs(SearchPathPlugin):
    """Adds the `conf/` folder of every installed plugin's package, without importing the plugin."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        added = set()
        for entry_point in entry_points(group="segframe"):
            top = entry_point.module.split(".")[0]
            try:
                spec = find_spec(top)
            except (ImportError, ValueError):
                continue  # the plugin is broken; `python -m segframe plugins` says so
            locations = spec.submodule_search_locations if spec else None
            if top not in added and any((Path(location) / "conf").is_dir() for location in locations or ()):
                added.add(top)
                search_path.append(provider=top, path=f"pkg://{top}.conf")


def register() -> None:
    """Tell Hydra of our plugins; in an editable installation it does not find them itself."""
    from hydra_plugins.segframe_launcher.launcher import ProcessLauncher
    from hydra_plugins.segframe_launcher.ray_launcher import RayLauncher
    from hydra_plugins.segframe_launcher.submitit_launcher import SubmititLauncher
    from hydra_plugins.segframe_optuna.sweeper import OptunaSweeper

    for plugin in (PluginConfigs, ProcessLauncher, RayLauncher, SubmititLauncher, OptunaSweeper):
        Plugins.instance().register(plugin)


def is_config_error(error: BaseException) -> bool:
    """Whether an exception is about the config that the user asked for."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    # `model=3` is a ValueError of Hydra's.
    group = isinstance(error, ValueError) and str(error).startswith("Config group override must be")
    return group or isinstance(error, HydraException | OmegaConfBaseException)


def explain(error: BaseException) -> SegframeError:
    """Hydra's or OmegaConf's error about a config, in segframe's form, with the nearest valid name."""
    text = str(error)
    cause = error.__cause__
    key = re.search(r"full_key: (\S+)", f"{text}\n{cause}")
    options = getattr(error, "options", None)
    missing = getattr(error, "missing_cfg_file", None)
    if missing and options:
        group, _, name = str(missing).rpartition("/")
        return SegframeError(
            f"{group}={name}",
            expected=f"an option of {group} ({', '.join(sorted(options))})",
            got=repr(name),
            remedy=nearest(name, options),
        )
    unknown = re.search(r"Key '([^']+)' is not in struct|Could not override '([^']+)'", text)
    if unknown:
        path = key.group(1) if key else next(part for part in unknown.groups() if part)
        keys = _neighbours(error, path)
        return SegframeError(
            path,
            expected="a key of the config",
            got=f"{path.rpartition('.')[2]!r}",
            remedy=nearest(path.rpartition(".")[2], keys) if keys else "See python -m segframe --cfg job.",
        )
    if "Missing mandatory value" in text or "mandatory value" in str(cause):
        path = key.group(1) if key else text.split(":")[-1].strip()
        return SegframeError(
            path, expected="a value", got="none", remedy=f"Give {path}=... on the command line."
        )
    lines = [line.strip() for line in text.splitlines() if line.strip() and "full_key" not in line]
    return SegframeError(
        "the command line or a config file",
        expected="what Hydra can compose",
        got="; ".join(lines[:3]),
        remedy="See python -m segframe --cfg job for the whole config.",
    )


def _neighbours(error: BaseException, path: str) -> list[str]:
    """The keys that stand where a wrong one was asked for."""
    for known in (error, error.__cause__):
        node: Any = getattr(known, "parent_node", None)
        if node is not None and hasattr(node, "keys"):
            return [str(key) for key in node.keys()]
    return []
