"""One job of a sweep, in its process: python -m segframe.job CONFIG RESULT PARENT."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from omegaconf import OmegaConf

from segframe.atomic import write_json
from segframe.console import set_up_console
from segframe.errors import SegframeError
from segframe.hiding import hide, with_secrets
from segframe.interrupt import Interrupted


def main(config_file: str, result_file: str, parent: str) -> int:
    """Run the config in the file; write its result, or its error, to the other; returns the exit code."""
    from segframe.experiment import run_experiment
    from segframe.manager import plugin_manager

    set_up_console()
    config = with_secrets(OmegaConf.to_container(OmegaConf.load(config_file)))  # type: ignore[arg-type]
    found: dict[str, object] = {}

    def started(folder: Path) -> None:
        # At once: whoever finds this process dead must know whose run it was.
        found["out_dir"] = str(folder)
        write_json(Path(result_file), {**found, "error": ""})

    try:
        result = run_experiment(plugin_manager(), config, parent or None, started)
    except KeyboardInterrupt as stop:
        write_json(Path(result_file), {**found, "error": f"stopped: {stop}"})
        return 128 + stop.signal_number if isinstance(stop, Interrupted) else 130
    except SegframeError as error:
        print(f"Error: {hide(str(error))}", file=sys.stderr)
        write_json(Path(result_file), {**found, "error": hide(str(error))})
        return 2
    except Exception as error:
        print(hide(traceback.format_exc()), end="", file=sys.stderr)
        write_json(Path(result_file), {**found, "error": hide(f"{type(error).__name__}: {error}")})
        return 1
    write_json(Path(result_file), {**found, "objective": result.objective, "scores": result.scores})
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
