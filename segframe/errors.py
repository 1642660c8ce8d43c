"""SegframeError: what was expected, what was got, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SegframeError(Exception):
    """A fault that the user can mend. The command line prints it without a traceback and exits with 2.

    Args:
        subject: where it is: a config key, a file, a data set in it, a sample.
        expected: what would have been right.
        got: what is there.
        remedy: what to do: a sentence, or the command that mends it.
    """

    def __init__(self, subject: str, *, expected: str, got: str, remedy: str):
        self.subject, self.expected, self.got, self.remedy = subject, expected, got, remedy
        super().__init__(f"{subject}: expected {expected}, got {got}.\n  {remedy}")

    def __reduce__(self):
        return _again, (self.subject, self.expected, self.got, self.remedy)


def _again(subject: str, expected: str, got: str, remedy: str) -> SegframeError:
    return SegframeError(subject, expected=expected, got=got, remedy=remedy)


def nearest(name: str, names: Iterable[str]) -> str:
    """`Did you mean 'adam'?`, or what there is when nothing is near."""
    names = sorted(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"There is: {', '.join(names) or 'none'}."
