"""segframe.compose: Hydra's errors in our form, and where plugins' configs are found."""

import sys

import pytest
from hydra import compose, initialize_config_module
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from omegaconf import OmegaConf

from segframe.compose import PluginConfigs, explain, is_config_error, register


@pytest.fixture
def error_of():
    """What Hydra raises for some words."""
    register()

    def get(*words):
        with initialize_config_module("segframe.conf", version_base="1.3"):
            try:
                found = compose("config", [*words])
                OmegaConf.to_container(found, resolve=True, throw_on_missing=True)
            except Exception as error:
                return error
        pytest.fail("nothing was raised")

    return get


@pytest.mark.parametrize(
    "words, subject, got, remedy",
    [
        (["optimizer=adm"], "optimizer=adm", "'adm'", "Did you mean 'adam'?"),
        (["train.epoch=1"], "train.epoch", "'epoch'", "Did you mean 'epochs'?"),
        (["seedd=1"], "seedd", "'seedd'", "Did you mean 'seed'?"),
        (["dataset=hdf5"], "dataset.path", "none", "Give dataset.path=... on the command line."),
        (["seed=[1"], "the command line or a config file", None, None),
        (["loss=0.5"], "the command line or a config file", None, None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_hydras_errors_say_what_was_expected_and_got_and_what_to_do(error_of, words, subject, got, remedy):
    error = error_of(*words)
    assert is_config_error(error)
    told = explain(error)
    assert told.subject == subject
    assert got is None or told.got == got
    assert remedy is None or told.remedy == remedy
    assert len(str(told).splitlines()) == 2


def test_an_option_that_is_missing_lists_those_that_there_are(error_of):
    told = explain(error_of("tracker=comet"))
    assert told.expected.startswith("an option of tracker (") and "mlflow" in told.expected
    assert told.remedy.startswith("There is: ") and "none" in told.remedy


@pytest.mark.parametrize(
    "error", [ValueError("mine"), KeyError("x"), RuntimeError("Key 'a' is not in struct")]
)
def test_other_errors_are_not_about_the_config(error):
    assert not is_config_error(error)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A plugin that is found on sys.path by its entry point, and would fail if it were imported."""

    def install(name, files):
        (tmp_path / f"{name}.dist-info").mkdir()
        (tmp_path / f"{name}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 1\n")
        (tmp_path / f"{name}.dist-info" / "entry_points.txt").write_text(
            f"[segframe]\n{name} = {name}.nets\n"
        )
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)

    monkeypatch.syspath_prepend(str(tmp_path))
    return install


def added():
    search_path = ConfigSearchPathImpl()
    PluginConfigs().manipulate_search_path(search_path)
    return [(element.provider, element.path) for element in search_path.get_path()]


def test_the_configs_of_a_plugin_are_found_without_importing_it(installed):
    broken = {"__init__.py": "raise ImportError('broken')", "conf/__init__.py": ""}
    installed("far_nets", {**broken, "conf/model/far.yaml": "# far\nname: far\n"})
    installed("no_configs", {"__init__.py": "raise ImportError('broken')"})
    (found,) = [entry for entry in added() if entry[0] in ("far_nets", "no_configs")]
    assert found == ("far_nets", "pkg://far_nets.conf")
    assert "far_nets" not in sys.modules


def test_a_plugin_that_is_not_there_any_more_is_passed_over(installed, tmp_path):
    installed("gone", {"conf/__init__.py": ""})
    (tmp_path / "gone" / "conf" / "__init__.py").unlink()
    (tmp_path / "gone" / "conf").rmdir()
    (tmp_path / "gone").rmdir()
    assert "gone" not in [provider for provider, _ in added()]


def test_registering_twice_adds_the_configs_once():
    from hydra.core.plugins import Plugins
    from hydra.plugins.launcher import Launcher
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    from hydra_plugins.segframe_launcher.launcher import ProcessLauncher

    for _ in range(2):
        register()
    assert list(Plugins.instance().discover(SearchPathPlugin)).count(PluginConfigs) == 1
    assert list(Plugins.instance().discover(Launcher)).count(ProcessLauncher) == 1
