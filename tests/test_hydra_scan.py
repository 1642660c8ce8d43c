"""What Hydra does at every start of an installed segframe: it loads all modules of hydra_plugins.

In a development install it finds none of them.
"""

import subprocess
import sys

SCAN = """
import sys
EXTRAS = ("optuna", "ray", "submitit", "cmaes")
for name in EXTRAS:
    sys.modules[name] = None  # importing it raises ImportError: not installed
from hydra.core.plugins import Plugins
import hydra_plugins.segframe_launcher, hydra_plugins.segframe_optuna

class Walked:
    def __init__(self, module):
        self.__path__, self.__name__ = module.__path__, module.__name__

walked = [Walked(hydra_plugins.segframe_launcher), Walked(hydra_plugins.segframe_optuna)]
plugins, stats = Plugins._scan_all_plugins(walked)
print(sorted(plugin.__name__ for plugin in plugins))
print(sorted(set(sys.modules) & {"tensorflow", "keras", "mlflow", "matplotlib"}))
"""


def test_an_installed_segframe_starts_without_the_extras_and_without_a_warning():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCAN], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    plugins, heavy = done.stdout.splitlines()
    for name in ("ProcessLauncher", "RayLauncher", "SubmititLauncher", "OptunaSweeper"):
        assert name in plugins
    assert heavy == "[]"
