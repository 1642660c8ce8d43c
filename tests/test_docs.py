"""What is written down stays true."""

from pathlib import Path

import pytest

from segframe.manager import plugin_manager

ROOT = Path(__file__).parents[1]
HOOKS = [hook for hook in vars(plugin_manager(installed=False).hook).values() if hook.spec]

COVERED = {
    "__init__": "docs",
    "__main__": "main",
    "assemble": "experiment",
    "batch": "pipeline",
    "batch_graph": "pipeline",
    "batch_reading": "pipeline",
    "builder_facts": "experiment",
    "cached_samples": "sample_cache",
    "check_values": "probe",
    "dataset": "dataset_contract",
    "hooks": "docs",
    "map_making": "map_store",
    "memory": "sample_cache",
    "sample_file": "sample_cache",
    "tracker": "tracker_contract",
}
"""Source files of the core that are tested under another name: what is a contract, and what is glue."""


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_the_plugin_guide_lists_the_hook_with_its_arguments(hook):
    signature = f"`{hook.name}({', '.join(hook.spec.argnames)})`"
    assert signature in (ROOT / "plugins/README.md").read_text()


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_the_hook_has_our_prefix_and_says_what_it_is(hook):
    assert hook.name.startswith("segframe_")
    assert len(hook.spec.function.__doc__) > 40


@pytest.mark.parametrize("word", ["unet", "resnet"])
def test_the_core_knows_no_network(word):
    for file in sorted((ROOT / "segframe").rglob("*.py")):
        assert word not in file.read_text(encoding="utf-8").lower(), file


def test_the_lock_files_name_no_host():
    for lock in sorted(ROOT.glob("*.lock")):
        assert "://" not in lock.read_text(), lock


@pytest.mark.parametrize("source", sorted((ROOT / "segframe").glob("*.py")), ids=lambda file: file.stem)
def test_every_source_file_of_the_core_has_its_test_file(source):
    name = COVERED.get(source.stem, source.stem)
    assert (ROOT / "tests" / f"test_{name}.py").exists()
