"""`python -m segframe preflight [key=value ...]`: a few steps of a run, or with -m of every combination of a
sweep, and what all of it will cost; nothing is trained."""

from __future__ import annotations

from segframe.hooks import hookimpl


@hookimpl
def segframe_commands():
    return {"preflight": ("try a few steps of a run or a sweep, and say what it will cost", run)}


def run(argv: list[str]) -> int:
    """The words are those of the run, or with -m of the sweep.

    Raises:
        SegframeError: a combination cannot take a step; all of them are named.
    """
    if argv in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    from segframe.train_command import train

    return train([*argv, "sweep.preflight=only"])
