"""No verb: compose a config with Hydra, then one run, or with -m a sweep of them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf

from segframe.compose import explain, is_config_error, register
from segframe.errors import SegframeError
from segframe.hiding import from_environment
from segframe.manager import Plugins, plugin_manager
from segframe.preflight import PreflightOnly


def train(words: list[str]) -> int:
    """What `python -m segframe WORDS` does; returns the exit code."""
    import hydra

    from hydra_plugins.segframe_launcher import sweep

    plugins = plugin_manager()
    warn_of_broken(plugins)
    register()
    words = from_environment(words)
    failure: list[BaseException] = []

    def task(config: DictConfig) -> Any:
        try:
            refuse_other_launchers()
            made = plain(config)
            try_first(plugins, made)
            return run_here(plugins, made).objective
        except Exception as error:  # raised below: Hydra would print a line of its own first
            failure.append(error)
            return None

    # Hydra reads sys.argv, and exits by itself on errors unless asked for the full one.
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = ["segframe", *words], "1"
    try:
        hydra.main(version_base="1.3", config_path="pkg://segframe.conf", config_name="config")(task)()
    except PreflightOnly:
        pass
    except Exception as error:
        if is_config_error(error):
            raise explain(error) from error
        raise
    finally:
        sys.argv = before[0]
        if before[1] is None:
            del os.environ["HYDRA_FULL_ERROR"]
        code = (
            sweep.conclude()
        )  # here, so that a sweep that was stopped shows what it has, and closes its parent
    if failure and not isinstance(failure[0], PreflightOnly):
        raise failure[0]
    return code


def try_first(plugins: Plugins, config: dict[str, Any]) -> None:
    """The preflight of a single run, where it is asked for."""
    asked = config.get("sweep", {}).get("preflight")
    if asked not in (True, "only"):
        return
    from hydra_plugins.segframe_launcher.local_place import LocalPlace
    from hydra_plugins.segframe_launcher.preflight import Candidate, counted, preflight
    from segframe.check_values import check_with_data
    from segframe.experiment import check_config

    check_config(plugins, config)
    dataset, chosen = check_with_data(plugins, config, {})
    job = Candidate(0, [], config, dataset.content_hash, counted(chosen))
    with tempfile.TemporaryDirectory() as folder:
        preflight(plugins, LocalPlace(1), [job], Path(folder))
    if asked == "only":
        raise PreflightOnly


def refuse_other_launchers() -> None:
    """Raises SegframeError in a sweep: Hydra's own launchers run all jobs in one process."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from hydra_plugins.segframe_launcher import sweep

    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        shutil.rmtree(HydraConfig.get().runtime.output_dir, ignore_errors=True)
        sweep.forget(Path(HydraConfig.get().sweep.dir))
        raise SegframeError(
            "hydra/launcher",
            expected="process, joblib, ray, slurm or submitit_local",
            got=f"{HydraConfig.get().runtime.choices['hydra/launcher']!r}, running all jobs in one process",
            remedy="Leave it out: hydra/launcher=process is the default.",
        )


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved config as plain dicts and lists, without Hydra's own part."""
    found: dict[str, Any] = {}
    try:
        for key in config:
            if key != "hydra":  # its own part has keys without a value that only help texts use
                value = config[str(key)]
                inner = isinstance(value, Container)
                found[str(key)] = (
                    OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if inner else value
                )
    except Exception as error:
        if is_config_error(error):
            raise explain(error) from error
        raise
    return found


def run_here(plugins: Plugins, config: dict[str, Any], parent: str | None = None) -> Any:
    """One run in this process, with its summary."""
    from segframe.experiment import run_experiment
    from segframe.summary import summarise

    result = run_experiment(plugins, config, parent)
    summarise(plugins, config, result)
    return result


def warn_of_broken(plugins: Plugins) -> None:
    """One line for each installed plugin that could not be used."""
    import logging

    for broken in plugins.broken:
        logging.getLogger("segframe").warning(
            "Plugin %r of %s is left out: %s", broken.name, broken.distribution, broken.error
        )
