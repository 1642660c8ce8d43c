"""One job of a sweep, in its process: python -m segframe.job CONFIG RESULT PARENT."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from omegaconf import OmegaConf

from segframe.atomic import write_json
from segframe.console import set_up_console
from segframe.errors import SegframeError
from segframe.hiding import hide, with_secrets
from segframe.interrupt import Interrupted, Pruned
from segframe.out_of_memory import told_of_a_run

log = logging.getLogger("segframe")


def main(config_file: str, result_file: str, parent: str) -> int:
    """Run the config in the file; write its result, or its error, to the other; returns the exit code."""
    from segframe.experiment import run_experiment
    from segframe.manager import plugin_manager

    set_up_console()
    end_with(os.getppid())
    config = with_secrets(OmegaConf.to_container(OmegaConf.load(config_file)))  # type: ignore[arg-type]
    found: dict[str, object] = {}

    def started(folder: Path) -> None:
        # At once: whoever finds this process dead must know whose run it was.
        found["out_dir"] = str(folder)
        write_json(Path(result_file), {**found, "error": ""})

    try:
        result = run_experiment(plugin_manager(), config, parent or None, started, wait=True)
    except Pruned as stop:
        print(f"{str(stop).capitalize()}", file=sys.stderr)
        write_json(Path(result_file), {**found, "pruned": stop.epoch, "error": ""})
        return 0
    except KeyboardInterrupt as stop:
        write_json(Path(result_file), {**found, "error": f"stopped: {stop}"})
        return 128 + stop.signal_number if isinstance(stop, Interrupted) else 130
    except SegframeError as error:
        print(f"Error: {hide(str(error))}", file=sys.stderr)
        write_json(Path(result_file), {**found, "error": hide(str(error))})
        return 2
    except Exception as error:
        print(hide(traceback.format_exc()), end="", file=sys.stderr)
        write_json(Path(result_file), {**found, "error": hide(told_of_a_run(error))})
        return 1
    write_json(Path(result_file), {**found, "objective": result.objective, "scores": result.scores})
    return 0


def end_with(parent: int) -> None:
    """Stop this process, as SIGTERM does, once the one that started it is gone: a sweep that was killed
    leaves no job behind that nobody waits for."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        log.warning("The sweep's process %d is gone.", parent)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
