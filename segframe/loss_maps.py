"""The maps that a loss asks for: who makes them, and whether they can follow what is done to images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pluggy

from segframe.builder_facts import mask_facts
from segframe.catalog import build, catalog
from segframe.dataset import Dataset
from segframe.errors import SegframeError, nearest
from segframe.map_store import KeptMaps

log = logging.getLogger("segframe")

TAKEN = ("image", "mask", "index", "size")  # a batch's own entries


def warping(augmentations: Mapping[str, Any]) -> list[str]:
    """Labels of the augmentations that no stored map can follow. One that does not say is taken for one."""
    return [label for label, augment in augmentations.items() if getattr(augment, "warps", True)]


def maps_of(
    plugins: pluggy.PluginManager,
    loss: Any,
    name: str,
    dataset: Dataset,
    augmentations: Mapping[str, Any],
    on_map: Callable[[], None],
) -> dict[str, KeptMaps]:
    """{map: maker} of what the loss asks for, made and kept for the whole data set; {} for most losses.

    Args:
        name: of the loss in the config.
        augmentations: of the run, by label.
        on_map: called after each map that is made; may raise.

    Raises:
        SegframeError: no plugin makes a map of this name, or an augmentation warps.
    """
    wanted = tuple(getattr(loss, "maps", ()))
    if not wanted:
        return {}
    warps = warping(augmentations)
    if warps:
        raise SegframeError(
            f"augment.{warps[0]}",
            expected=f"an augmentation that the stored maps of loss {name!r} can follow",
            got=f"one that warps (the maps: {', '.join(wanted)})",
            remedy=f"Give loss.map_source=in_graph if the loss takes it, or drop it: ~augment.{warps[0]}",
        )
    found = {
        map_name: KeptMaps(map_name, maker, dataset, on_map=on_map)
        for map_name, maker in makers(plugins, wanted, dataset, f"the maps of loss {name!r}").items()
    }
    log.info("Maps for the loss: %s.", ", ".join(f"{key} ({kept.where()})" for key, kept in found.items()))
    return found


def makers(
    plugins: pluggy.PluginManager, names: Iterable[str], dataset: Dataset, subject: str
) -> dict[str, Any]:
    """{name: maker} for a data set.

    Raises:
        SegframeError: no plugin offers a name; `subject` is who asked for it.
    """
    offered = [name for name in catalog(plugins, "map") if name not in TAKEN]
    found = {}
    for name in names:
        if name not in offered:
            raise SegframeError(
                subject,
                expected=f"maps that a plugin makes ({', '.join(sorted(offered)) or 'none'})",
                got=repr(name),
                remedy=nearest(name, offered),
            )
        found[name] = build(plugins, "map", {"name": name}, **mask_facts(dataset))
    return found
