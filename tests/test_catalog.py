"""segframe.catalog: names and keys checked before anything is built."""

from __future__ import annotations

from types import ModuleType
from typing import Literal

import pytest

from segframe import SegframeError, hookimpl
from segframe.catalog import build, catalog, check
from segframe.manager import plugin_manager


def build_net(
    *, image_shape, num_classes: int, depth: int = 4, mode: Literal["a", "b"] = "a", rate: float = 0.5
):
    return {
        "image_shape": image_shape,
        "num_classes": num_classes,
        "depth": depth,
        "mode": mode,
        "rate": rate,
    }


def plugin(name, **hooks):
    module = ModuleType(name)
    for hook, offered in hooks.items():
        setattr(module, hook, hookimpl(specname=hook)(lambda offered=offered: offered))
    return module


@pytest.fixture
def plugins():
    found = plugin_manager(installed=False)
    found.register(plugin("nets", segframe_models={"net": build_net}), name="nets")
    return found


FACTS = {"image_shape": (8, 8, 1), "num_classes": 2}


def test_build_hands_facts_and_section_to_the_builder(plugins):
    net = build(plugins, "model", {"name": "net", "depth": 2}, **FACTS)
    assert (net["depth"], net["num_classes"]) == (2, 2)


def test_an_integer_counts_as_a_float(plugins):
    assert build(plugins, "model", {"name": "net", "rate": 1}, **FACTS)["rate"] == 1.0


@pytest.mark.parametrize(
    "section, message",
    [
        ({"name": "nett"}, r"model.name: expected the name of a model, got 'nett'.\n  Did you mean 'net'\?"),
        (
            {"name": "net", "dept": 3},
            r"model.dept: .*takes \(depth, mode, rate\), got 'dept'.\n  Did you mean 'depth'",
        ),
        ({"name": "net", "depth": "3"}, r"model.depth: expected a valid integer, got '3'"),
        ({"name": "net", "depth": True}, r"model.depth: expected a valid integer, got True"),
        ({"name": "net", "mode": "c"}, r"model.mode: expected 'a' or 'b', got 'c'"),
        ({"name": "net", "num_classes": 3}, r"model.num_classes: expected a key that model 'net' takes"),
        ({"depth": 3}, r"model.name: expected the name of a model, got none"),
    ],
)
def test_a_wrong_section_is_refused_by_path(plugins, section, message):
    with pytest.raises(SegframeError, match=message):
        check(plugins, "model", section)


def test_two_plugins_with_one_name_are_both_named(plugins):
    plugins.register(plugin("others", segframe_models={"net": build_net}), name="others")
    with pytest.raises(SegframeError, match="'nets' and 'others'|'others' and 'nets'"):
        catalog(plugins, "model")


def test_terms_of_a_combined_loss_are_built_by_the_catalog(plugins):
    def build_term(*, num_classes, ignore_index, spacing, power: float = 1.0):
        return f"term^{power}"

    def build_sum(*, num_classes, ignore_index, spacing, terms: dict[str, object]):
        return terms

    plugins.register(plugin("more", segframe_losses={"term": build_term, "added": build_sum}), name="more")
    facts = {"num_classes": 2, "ignore_index": 255, "spacing": None}
    section = {"name": "added", "terms": {"x": {"name": "term", "weight": 2, "power": 3.0}}}
    assert build(plugins, "loss", section, **facts) == {"x": (2.0, "term^3.0")}
    section["terms"]["x"]["powr"] = 1
    with pytest.raises(SegframeError, match=r"(?s)loss.terms.x.powr: .*Did you mean 'power'"):
        build(plugins, "loss", section, **facts)
    with pytest.raises(SegframeError, match=r"loss.terms.x.weight: expected a number"):
        check(plugins, "loss", {"name": "added", "terms": {"x": {"name": "term"}}})


def test_a_hook_that_returns_no_mapping_is_refused(plugins):
    plugins.register(plugin("bad", segframe_models=[build_net]), name="bad")
    with pytest.raises(SegframeError, match="plugin 'bad': expected {name: builder}"):
        catalog(plugins, "model")


def test_a_fact_on_request_goes_to_the_builders_that_name_it(plugins):
    def plain(*, num_classes, ignore_index, spacing):
        return "plain"

    def asking(*, num_classes, ignore_index, spacing, warped: bool = False):
        return warped

    plugins.register(plugin("more losses", segframe_losses={"plain": plain, "asking": asking}))
    facts = {"num_classes": 2, "ignore_index": 255, "spacing": None, "warped": True}
    assert build(plugins, "loss", {"name": "plain"}, **facts) == "plain"
    assert build(plugins, "loss", {"name": "asking"}, **facts) is True
    with pytest.raises(
        SegframeError, match=r"loss\.warped: expected a key that loss 'asking' takes \(none\)"
    ):
        check(plugins, "loss", {"name": "asking", "warped": False})
