"""The cache folder: where the user said, else the platform's, and a clear error where it cannot be."""

import platformdirs
import pytest

from segframe.cache import cache_folder
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
