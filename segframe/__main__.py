"""The command line. A bare first word is a verb (`data`, `plugins`, `ui`); none means train, through Hydra.

Exit codes: 0 done; 1 a run or a job of a sweep failed; 2 something that the user can mend; 128 + n stopped by
signal n. `--debug` shows tracebacks.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

from segframe.console import set_up_console
from segframe.errors import SegframeError, nearest
from segframe.hiding import hide
from segframe.interrupt import Interrupted
from segframe.out_of_memory import LESS_MEMORY, out_of_memory


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    set_up_console()
    verb = False
    try:
        if words in (["help"], ["--help"], ["-h"]):
            _help()
            words = ["--help"]
        verb = bool(words) and words[0][:1].isalpha() and "=" not in words[0]
        if verb:
            return _verb(words[0], words[1:])
        from segframe.train_command import train

        return train(words)
    except Interrupted as stop:
        print(f"Stopped: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    except KeyboardInterrupt as stop:
        print(f"Stopped. {stop}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SegframeError as error:
        return failed(error, debug)
    except Exception as error:
        told = out_of_memory(error)
        if told is None or debug:
            print(hide(traceback.format_exc()), end="", file=sys.stderr)
        if told is not None:
            help_with_it = "" if verb else f"\n  {LESS_MEMORY.capitalize()}; --debug shows where."
            print(f"Error: {hide(told)}.{help_with_it}", file=sys.stderr)
        return 1


def failed(error: SegframeError, debug: bool) -> int:
    """Say it; exit code 2."""
    if debug:
        print(hide("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    print(f"Error: {hide(str(error))}", file=sys.stderr)
    return 2


def _help() -> None:
    """The verbs; Hydra's own help, on the config, follows."""
    from segframe.catalog import offers
    from segframe.manager import plugin_manager

    print("python -m segframe [key=value ...]      one run; with -m a sweep over values with commas")
    print("python -m segframe VERB [--help] ...    something else:")
    for verb, ((line, _), _) in sorted(offers(plugin_manager(), "segframe_commands").items()):
        print(f"  {verb:10}{line}")
    print("  --debug   tracebacks of errors that you can mend, too\n")


def _verb(verb: str, arguments: list[str]) -> int:
    from segframe.catalog import offers
    from segframe.manager import plugin_manager

    commands: dict[str, Any] = offers(plugin_manager(), "segframe_commands")
    if verb not in commands:
        raise SegframeError(
            verb,
            expected="a verb, or key=value words for a run",
            got=repr(verb),
            remedy=nearest(verb, commands),
        )
    (_, run), _ = commands[verb]
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
