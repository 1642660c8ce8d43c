"""segframe.manager: which plugins there are, and what happens to broken ones."""

import subprocess
import sys
from types import ModuleType

import pytest

from segframe import SegframeError, hookimpl
from segframe.catalog import catalog
from segframe.manager import _register, plugin_manager

BUNDLED = {
    "unet": ("model", "unet"),
    "uresnet": ("model", "uresnet"),
    "losses": ("loss", "focal"),
    "tfds": ("dataset", "tfds"),
}


@pytest.mark.bundled
@pytest.mark.parametrize("plugin", BUNDLED)
def test_bundled_plugins_come_in_by_entry_points_and_can_be_blocked(plugin, monkeypatch):
    kind, name = BUNDLED[plugin]
    assert name in catalog(plugin_manager(), kind)
    monkeypatch.setenv("SEGFRAME_BLOCK", plugin)
    assert name not in catalog(plugin_manager(), kind)


def test_a_misspelt_hook_is_refused_with_the_nearest():
    module = ModuleType("typo")
    module.segframe_modells = hookimpl(lambda: {})
    with pytest.raises(SegframeError, match=r"plugin 'typo': .*\n  Did you mean 'segframe_models'"):
        _register(plugin_manager(installed=False), module, "typo")


def test_an_unknown_argument_of_a_hook_is_refused():
    def segframe_callbacks(run, epochs):
        return []

    module = ModuleType("greedy")
    module.segframe_callbacks = hookimpl(segframe_callbacks)
    with pytest.raises(SegframeError, match="epochs"):
        _register(plugin_manager(installed=False), module, "greedy")


def install(folder, name, source):
    """A distribution as pip would leave it: a module, and metadata with an entry point."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[segframe]\n{name} = {name}\n")


def test_a_broken_plugin_is_reported_with_its_distribution_and_left_out(tmp_path):
    install(tmp_path, "brokenplugin", "import a_module_that_is_not_there\n")
    install(
        tmp_path,
        "strangernet",
        "from segframe import hookimpl\n"
        "@hookimpl\ndef segframe_models():\n    return {'stranger': lambda: 0}\n",
    )
    done = subprocess.run(
        [sys.executable, "-m", "segframe", "plugins"],
        capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 1
    assert "left out: brokenplugin of brokenplugin 1.5: ModuleNotFoundError" in done.stdout
    (stranger,) = (line.split() for line in done.stdout.splitlines() if " stranger " in line)
    assert stranger == ["model", "stranger", "strangernet", "1.5", "strangernet"]
