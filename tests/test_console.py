"""segframe.console: lines on stderr, once; a run's own log file."""

import logging
import re

import pytest

from segframe.console import interactive, log_file, set_up_console

LOG = logging.getLogger("segframe")


def test_lines_go_to_stderr_whole_and_as_they_are(capsys):
    set_up_console()
    long = "data[0] is [bold]no markup[/bold] " + "x" * 300
    LOG.info(long)
    LOG.debug("not this")
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{long}\n")


def test_set_up_twice_says_a_line_once(capsys):
    for _ in range(3):
        set_up_console()
    LOG.warning("once")
    assert capsys.readouterr().err == "once\n"


def test_a_log_file_holds_what_was_said_meanwhile_with_the_time(tmp_path):
    LOG.setLevel(logging.WARNING)
    with log_file(tmp_path / "run.log"):
        LOG.info("Präparat 1")
        logging.getLogger("segframe.part").warning("careful")
    LOG.error("afterwards")
    lines = (tmp_path / "run.log").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO Präparat 1", lines[0])
    assert lines[1].endswith(" WARNING careful") and len(lines) == 2
    assert LOG.level == logging.WARNING and not LOG.handlers


def test_a_run_continued_adds_to_its_log_and_an_error_closes_it(tmp_path):
    with pytest.raises(ValueError, match="mine"), log_file(tmp_path / "run.log"):
        LOG.warning("first")
        raise ValueError("mine")
    with log_file(tmp_path / "run.log"):
        LOG.warning("second")
    assert [line[-6:].strip() for line in (tmp_path / "run.log").read_text().splitlines()] == [
        "first",
        "second",
    ]
    assert not LOG.handlers


def test_a_test_is_watched_by_nobody(capsys):
    assert not interactive()
