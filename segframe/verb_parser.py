"""The command line of a verb: what is wrong with it is said as every other error is."""

from __future__ import annotations

import argparse
from typing import NoReturn

from segframe.errors import SegframeError


class VerbParser(argparse.ArgumentParser):
    """argparse's parser; its faults are SegframeErrors, with the usage as what was expected."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        raise SegframeError(self.prog, expected=usage, got=message, remedy=f"{self.prog} --help")
