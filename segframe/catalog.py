"""Names in a config -> builders -> objects, with every key checked against the builder that will get it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pluggy

from segframe.errors import SegframeError, nearest
from segframe.terms import labelled, weight_of, without_weight
from segframe.validate import validate

HOOKS = {
    "dataset": "segframe_datasets",
    "model": "segframe_models",
    "loss": "segframe_losses",
    "map": "segframe_maps",
    "optimizer": "segframe_optimizers",
    "augment": "segframe_augmentations",
    "metrics": "segframe_metrics",
    "tracker": "segframe_trackers",
}

WORDS = {"augment": "an augmentation", "metrics": "a metric"}
"""What one of a kind is called, where the kind itself is no noun."""

FACTS = {
    "model": ("image_shape", "num_classes"),
    "loss": ("num_classes", "ignore_index", "spacing", "class_pixels", "warped"),
    "map": ("num_classes", "ignore_index", "spacing"),
    "optimizer": ("total_steps",),
    "metrics": ("num_classes", "ignore_index", "spacing"),
}
"""What the core hands to every builder of a kind, beside the config section."""

ON_REQUEST = ("class_pixels", "warped")
"""Facts for those builders only whose signature names them."""


def catalog(plugins: pluggy.PluginManager, kind: str) -> dict[str, Callable[..., Any]]:
    """All builders of one kind, by name.

    Raises:
        SegframeError: two plugins offer the same name.
    """
    return {name: offer for name, (offer, _) in offers(plugins, HOOKS[kind]).items()}


def offers(plugins: pluggy.PluginManager, hook: str) -> dict[str, tuple[Any, str]]:
    """{name: (what is offered, name of the plugin that offers it)} of a hook that returns mappings."""
    found: dict[str, tuple[Any, str]] = {}
    for implementation in getattr(plugins.hook, hook).get_hookimpls():
        offered = implementation.function()
        if not isinstance(offered, Mapping):
            raise SegframeError(
                f"{hook} of plugin {implementation.plugin_name!r}",
                expected="{name: builder}",
                got=repr(offered),
                remedy="Return a dict from the hook.",
            )
        for name, offer in offered.items():
            if name in found:
                raise SegframeError(
                    f"{hook.removeprefix('segframe_')} {name!r}",
                    expected="one plugin that offers it",
                    got=f"two: {found[name][1]!r} and {implementation.plugin_name!r}",
                    remedy="Uninstall one of them, or block it with SEGFRAME_BLOCK=PLUGIN.",
                )
            found[name] = offer, implementation.plugin_name
    return found


def check(plugins: pluggy.PluginManager, kind: str, section: Mapping[str, Any], where: str | None = None):
    """Check a section without building: its name, keys and the types of its values.

    Args:
        where: the section's path in the config, if not `kind`.

    Returns:
        The builder, and its keyword arguments with the values as validated.

    Raises:
        SegframeError: no plugin offers the name, a key is unknown or missing, or a value's type is wrong.
    """
    where = where or kind
    params = dict(section)
    builders, one = catalog(plugins, kind), WORDS.get(kind, f"a {kind}")
    if "name" not in params:
        raise SegframeError(
            f"{where}.name", expected=f"the name of {one}", got="none", remedy=nearest("", builders)
        )
    name = params.pop("name")
    if name not in builders:
        raise SegframeError(
            f"{where}.name",
            expected=f"the name of {one}",
            got=repr(name),
            remedy=nearest(str(name), builders),
        )
    builder = builders[name]
    takes = inspect.signature(builder).parameters
    facts = FACTS.get(kind, ())
    for key in params:
        if key not in takes or key in facts:
            keys = [other for other in takes if other not in facts]
            raise SegframeError(
                f"{where}.{key}",
                expected=f"a key that {kind} {name!r} takes ({', '.join(keys) or 'none'})",
                got=repr(key),
                remedy=nearest(key, keys),
            )
    for key, parameter in takes.items():
        if parameter.default is parameter.empty and key not in params and key not in facts:
            raise SegframeError(
                f"{where}.{key}",
                expected=f"a value ({kind} {name!r} needs it)",
                got="none",
                remedy=f"Give {where}.{key}=... on the command line or in the config.",
            )
    if "terms" in takes and kind == "loss":
        params["terms"] = labelled(params["terms"], where)
        for label, term in params["terms"].items():
            weight_of(term, f"{where}.terms.{label}")
            check(plugins, "loss", without_weight(term), f"{where}.terms.{label}")
    for key in params:
        params[key] = _typed(builder, takes[key], params[key], f"{where}.{key}")
    return builder, params


def build(
    plugins: pluggy.PluginManager, kind: str, section: Mapping[str, Any], where: str | None = None, **facts
):
    """Build what a config section names; `facts` are those of FACTS for its kind.

    Raises:
        SegframeError: as `check`, or what the builder itself finds wrong.
    """
    builder, params = check(plugins, kind, section, where)
    if kind == "loss" and isinstance(params.get("terms"), Mapping):
        params["terms"] = {
            label: (
                weight_of(term, f"{where or kind}.terms.{label}"),
                build(plugins, "loss", without_weight(term), f"{where or kind}.terms.{label}", **facts),
            )
            for label, term in params["terms"].items()
        }
    takes = inspect.signature(builder).parameters
    given = {key: fact for key, fact in facts.items() if key in takes or key not in ON_REQUEST}
    try:
        return builder(**given, **params)
    except SegframeError as error:
        if where is None or not error.subject.startswith(f"{kind}."):
            raise
        # A builder does not know where in the config it stands: "loss.smooth" -> "loss.terms.dice.smooth".
        subject = where + error.subject.removeprefix(kind)
        remedy = error.remedy.replace(f"{kind}.", f"{where}.")
        raise SegframeError(subject, expected=error.expected, got=error.got, remedy=remedy) from error


def _typed(builder: Callable[..., Any], parameter: inspect.Parameter, value: Any, where: str) -> Any:
    """The value, checked against the parameter's annotation; unannotated ones pass."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        try:
            # Strings come from `from __future__ import annotations`; names under TYPE_CHECKING stay unknown.
            annotation = eval(annotation, getattr(inspect.unwrap(builder), "__globals__", {}))
        except NameError:
            return value
    return value if annotation is parameter.empty else validate(annotation, value, where)
