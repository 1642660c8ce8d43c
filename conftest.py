"""Tests of the core and of the bundled plugins leave the user's folders alone."""

import logging
import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def nothing_of_the_users(tmp_path_factory):
    """Tests read and write a cache folder of their own."""
    cache = tmp_path_factory.mktemp("cache")
    base = tmp_path_factory.getbasetemp()
    ops = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ops"
    ops.mkdir(exist_ok=True)
    (cache / "ops").symlink_to(ops)  # one for all workers: what is compiled is compiled once
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGFRAME_CACHE", str(cache))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
        yield


@pytest.fixture(autouse=True)
def console_logger():
    """The logger as it is before a command line sets it up. Else pytest's handlers would stay on it."""
    log = logging.getLogger("segframe")
    log.handlers, log.propagate = [], True
    log.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, which some tests compare with; `make parity` installs it and runs those that ask for it."""
    return pytest.importorskip("torch", reason="PyTorch is not installed: make parity")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    for item in items:
        if "torch" in item.fixturenames:
            item.add_marker("parity")
