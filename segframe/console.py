"""What the user is told: lines on stderr, and the same lines in a run's log file."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segframe.hiding import hide

log = logging.getLogger("segframe")


def set_up_console() -> None:
    """Show segframe's lines on stderr, once however often it is called; for command lines."""
    from rich.console import Console

    # TensorFlow's own chatter, in this process and those it starts.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    console = Console(stderr=True, highlight=False, soft_wrap=True)

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.print(
                self.format(record),
                style="yellow" if record.levelno >= logging.WARNING else None,
                markup=False,
            )

    if not any(handler.name == "console" for handler in log.handlers):
        lines = Lines()
        lines.name = "console"
        lines.setFormatter(Hiding())
        log.addHandler(lines)
    log.setLevel(logging.INFO)
    log.propagate = False


class Hiding(logging.Formatter):
    """A line, tracebacks included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Everything that is said meanwhile, also into this file, with the time."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(Hiding("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    before = log.level
    log.setLevel(min(log.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)
        handler.close()


def interactive() -> bool:
    """Whether somebody watches: then a bar moves; otherwise each epoch is a line."""
    return sys.stderr.isatty()
