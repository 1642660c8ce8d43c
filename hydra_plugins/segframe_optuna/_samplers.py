"""The sampler that the settings name, for one trial."""

from __future__ import annotations

import warnings
import zlib

import optuna

from hydra_plugins.segframe_optuna.settings import Settings
from hydra_plugins.segframe_optuna.space import Choice, Space
from segframe.errors import SegframeError


def make_sampler(settings: Settings, space: Space, number: int) -> optuna.samplers.BaseSampler:
    """A sampler whose choice follows from seed, trials told so far and the trial's number alone.

    So a search that was killed goes on as it would have without: no state of a random generator is lost.

    Raises:
        SegframeError: the space does not suit the sampler.
    """
    samplers, name, seed = optuna.samplers, settings["sampler"], settings["seed"] % 2**32
    own = zlib.crc32(f"{seed} {number}".encode())  # of this trial
    startup = settings["startup_trials"]
    if name in (
        "random",
        "grid",
    ):  # a grid's points are queued: Optuna's sampler of them wants to own the loop
        return samplers.RandomSampler(seed=own)
    if name == "cmaes":
        if all(isinstance(part, Choice) for part in space.values()):
            raise SegframeError(
                "hydra.sweeper.sampler",
                expected="a space with intervals or ranges for cmaes",
                got="choices only",
                remedy="Use hydra.sweeper.sampler=tpe.",
            )
        return samplers.CmaEsSampler(seed=own, n_startup_trials=startup, warn_independent_sampling=False)
    if name == "qmc":
        # Its sequence is scrambled once for a study; what it cannot do (choices) is random.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return samplers.QMCSampler(
                scramble=True,
                seed=seed,
                independent_sampler=samplers.RandomSampler(seed=own),
                warn_independent_sampling=False,
                warn_asynchronous_seeding=False,
            )
    return samplers.TPESampler(seed=own, n_startup_trials=startup)
