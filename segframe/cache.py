"""Where the user's cache folder is: what can be made again lies there."""

from __future__ import annotations

import os
from pathlib import Path

from segframe.errors import SegframeError


def cache_folder() -> Path:
    """SEGFRAME_CACHE, or the platform's folder for caches; made if it is not there yet.

    Raises:
        SegframeError: it cannot be made or written.
    """
    import platformdirs

    folder = Path(os.environ.get("SEGFRAME_CACHE") or platformdirs.user_cache_dir("segframe")).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        problem = None if os.access(folder, os.W_OK | os.X_OK) else "one that may not be written"
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise SegframeError(
            f"cache folder {folder}",
            expected="a folder that can be written",
            got=problem,
            remedy="Name another one: export SEGFRAME_CACHE=/some/folder",
        )
    return folder.resolve()
