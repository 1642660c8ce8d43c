"""What can be said of a search's configs before its first job starts, and of each trial's before it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from segframe.check_values import check_with_data
from segframe.errors import SegframeError
from segframe.experiment import check_config
from segframe.manager import plugin_manager
from segframe.train_command import plain


class Checker:
    """Composes configs and checks them; data are opened once."""

    def __init__(self, context: HydraContext, config: DictConfig):
        self.context, self.master = context, config
        self.plugins = plugin_manager()
        self.composed: list[dict[str, Any]] = []
        self.opened: dict[str, Any] = {}

    def config(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Compose a config and check it without its data.

        Raises:
            SegframeError: its first fault.
        """
        job = plain(self.context.config_loader.load_sweep_config(self.master, list(overrides)))
        check_config(self.plugins, job)
        if job["split"]["val"] == "none":
            raise SegframeError(
                "split.val",
                expected="a validation part: val/dice chooses",
                got="none",
                remedy="Leave split.val=none out of a search.",
            )
        self.composed.append(job)
        return job

    def with_data(self) -> None:
        """Check what was composed so far with its data.

        Raises:
            SegframeError: the first fault.
        """
        for job in self.composed:
            check_with_data(self.plugins, job, self.opened)

    def trial(self, overrides: Sequence[str]) -> None:
        """Both, for one trial: values that are right by themselves may not be together."""
        check_with_data(self.plugins, self.config(overrides), self.opened)
