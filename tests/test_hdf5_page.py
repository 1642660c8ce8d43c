"""docs/hdf5.md: its examples do what they say, and every name of MagmaDNN's has one."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/hdf5.md"
NAMES = ("HDF5", "hdf_open", "hdf_ds_open", "HDF5_DataSpace", "hdf_ds_read", "hdf_ds_write")


def test_the_examples_give_what_is_printed_below_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert failed == 0 and tried > 20
    assert (tmp_path / "cells.h5").exists()


def test_every_name_has_a_line_of_the_table_and_a_section():
    text = PAGE.read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    for name in NAMES:
        assert f"| `{name}` | `" in text or f"| `{name}` |" in text, name
        assert any(name in heading.replace(":", ",").removeprefix("## ").split(", ") for heading in headings)
