"""Every file in conf/: it composes, its keys are the builder's, its values the builder's defaults."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module

from segframe.catalog import FACTS, HOOKS, catalog
from segframe.compose import register
from segframe.experiment import check_config
from segframe.manager import plugin_manager
from segframe.terms import without_weight
from segframe.train_command import plain

pytestmark = pytest.mark.bundled

CONF = Path(__file__).parents[1] / "conf"
PLUGINS = plugin_manager()
MISSING = {
    "dataset=hdf5": ["dataset.path=x.h5"],
    "loss=sum": ["loss.terms=[{name:cross_entropy,weight:1},{name:dice,weight:{start:0,end:1,epochs:2}}]"],
}
"""What an option leaves to the user."""
OPTIONS = [file for kind in HOOKS for file in sorted((CONF / kind).glob("*.yaml"))]


def option_id(file):
    return f"{file.parent.name}={file.stem}"


@pytest.fixture(scope="module", autouse=True)
def hydra():
    register()
    with initialize_config_module("segframe.conf", version_base="1.3"):
        yield


def composed(*words):
    return plain(compose("config", [*words]))


@pytest.mark.parametrize("file", OPTIONS, ids=option_id)
def test_every_option_composes_into_a_valid_config(file):
    words = [option_id(file), *MISSING.get(option_id(file), [])]
    check_config(PLUGINS, composed(*words))


def builders_of(file):
    """(section, its builder) for each builder that an option names."""
    section, kind = yaml.safe_load(file.read_text()) or {}, file.parent.name
    sections = [section] if "name" in section else list(section.values())
    terms = section.get("terms", "???")
    sections += [without_weight(term) for term in terms.values()] if terms != "???" else []
    return [(found, catalog(PLUGINS, kind)[found["name"]], kind) for found in sections]


@pytest.mark.parametrize("file", OPTIONS, ids=option_id)
def test_every_option_lists_all_keys_of_its_builder(file):
    for section, builder, kind in builders_of(file):
        keys = set(inspect.signature(builder).parameters) - set(FACTS.get(kind, ()))
        assert set(section) - {"name"} == keys


@pytest.mark.parametrize("file", OPTIONS, ids=option_id)
def test_every_option_has_its_builders_defaults(file):
    named = "name" in (yaml.safe_load(file.read_text()) or {})
    for section, builder, _ in builders_of(file) if named else []:
        for key, parameter in inspect.signature(builder).parameters.items():
            if key in section and parameter.default is not parameter.empty:
                assert section[key] == parameter.default, key


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF)))
def test_every_file_opens_with_what_it_is_and_most_with_a_command(file):
    first = file.read_text().splitlines()[0:2]
    assert any(line.startswith("# ") and "@package" not in line for line in first)


@pytest.mark.parametrize("file", sorted((CONF / "sweep").glob("*.yaml")), ids=option_id)
def test_every_sweep_names_keys_that_there_are(file):
    params = yaml.safe_load(file.read_text())["hydra"]["sweeper"]["params"]
    for key, values in params.items():
        for value in str(values).split(","):
            check_config(PLUGINS, composed(f"{key}={value}"))


def test_composing_imports_neither_tensorflow_nor_mlflow():
    script = (
        "import sys\nfrom segframe.__main__ import main\n"
        "code = main(['--cfg', 'job'])\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'h5py', 'matplotlib'} & set(sys.modules)\n"
        "assert code == 0 and not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "name: unet" in done.stdout
