"""The cache folder: where the user said, else the platform's, and a clear error where it cannot be."""

import platformdirs
import pytest

from segframe.cache import cache_folder, remembered
from segframe.errors import SegframeError


def test_the_variable_decides_and_the_folder_is_made(own_cache):
    assert cache_folder() == own_cache and own_cache.is_dir()


def test_without_the_variable_it_is_the_platforms(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGFRAME_CACHE", "")
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    assert cache_folder() == tmp_path / "segframe"


def test_a_folder_that_cannot_be_made_is_an_error_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGFRAME_CACHE", str(tmp_path / "file"))
    with pytest.raises(SegframeError, match="(?s)cache folder .*export SEGFRAME_CACHE="):
        cache_folder()


def test_a_result_is_made_once_for_each_key_and_anew_where_its_memory_is_damaged(own_cache):
    made = []

    def make():
        made.append(len(made))
        return {"number": made[-1]}

    assert [remembered("kind", [key], make) for key in ("a", "a", "b")] == [{"number": n} for n in (0, 0, 1)]
    for memory in (own_cache / "kind").iterdir():
        memory.write_text(memory.read_text()[:-5])
    assert remembered("kind", ["a"], make) == remembered("kind", ["a"], make) == {"number": 2}


def test_a_folder_that_cannot_keep_a_result_is_said(own_cache, caplog):
    own_cache.mkdir(exist_ok=True)
    (own_cache / "kind").touch()
    assert [remembered("kind", [], lambda: 1), remembered("kind", [], lambda: 2)] == [1, 2]
    assert caplog.text.count("(kind) is not kept for later runs") == 2
