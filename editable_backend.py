"""setuptools' build backend; an editable installation finds the package beside a folder of its name, too.

setuptools maps packages that do not lie where their names say (package-dir: segframe.conf, segframe_unet)
by a finder that Python asks last. A folder called "segframe" in the working directory, as `git clone` makes
one, is then taken for a namespace package before that finder is asked. So one more finder is asked first, for
this name alone, and only where nothing but such a folder would be found.
"""

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]
"""Those of PEP 517 and PEP 660."""

FINDER = '''"""Finds the clone's package `segframe` where a folder of that name would be taken for it."""

import sys
from importlib.machinery import PathFinder
from importlib.util import spec_from_file_location


class Clone:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "segframe":
            return None
        found = PathFinder.find_spec(name, path, target)
        return found if found and found.origin else spec_from_file_location(name, {package!r})


sys.meta_path.insert(0, Clone)
'''


def build_editable(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    package = Path(__file__).parent / "segframe/__init__.py"
    _add(
        Path(wheel_directory, name),
        {
            "__editable___segframe_clone.py": FINDER.format(package=str(package)).encode(),
            "__editable__.segframe_clone.pth": b"import __editable___segframe_clone\n",
        },
    )
    return name


def _add(wheel: Path, files: dict[str, bytes]) -> None:
    """Adds files to a wheel and to its RECORD. All is written again: a zip file cannot replace an entry."""
    with zipfile.ZipFile(wheel) as archive:
        entries = [(entry, archive.read(entry)) for entry in archive.infolist()]
    lines = b""
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines += f"{name},sha256={digest},{len(content)}\n".encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for entry, content in entries:
            is_record = entry.filename.endswith(".dist-info/RECORD")
            archive.writestr(entry, lines + content if is_record else content)
