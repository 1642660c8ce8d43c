"""segframe.atomic: whole or not at all."""

import pytest

from segframe.atomic import replacing, write_json, write_text


def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "größe file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_the_ending_is_kept_while_writing(tmp_path):
    with replacing(tmp_path / "model.weights.h5") as temporary:
        assert temporary.name.endswith(".weights.h5") and temporary.parent == tmp_path
        temporary.touch()


def test_json_is_readable_and_keeps_umlauts(tmp_path):
    write_json(tmp_path / "a.json", {"name": "Zelle ä"})
    assert "Zelle ä" in (tmp_path / "a.json").read_text(encoding="utf-8")
