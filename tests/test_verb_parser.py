"""segframe.verb_parser: a wrong command line is an error like any other."""

import pytest

from segframe import SegframeError
from segframe.verb_parser import VerbParser


@pytest.mark.parametrize(
    "words, got",
    [
        ([], "required: FILE"),
        (["a", "--depth", "deep"], "invalid int value: 'deep'"),
        (["a", "b"], "unrecogni"),
    ],
)
def test_a_wrong_command_line_says_the_usage_and_the_way_to_help(words, got):
    parser = VerbParser(prog="python -m segframe verb")
    parser.add_argument("FILE")
    parser.add_argument("--depth", type=int)
    with pytest.raises(
        SegframeError, match=f"(?s)expected python -m segframe verb .*FILE.*{got}.*verb --help"
    ):
        parser.parse_args(words)
