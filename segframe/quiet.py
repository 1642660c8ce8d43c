"""TensorFlow's import without its greeting: two lines about oneDNN that it prints whatever its log level."""

from __future__ import annotations

import os
import sys
import tempfile

GREETING = (b"All log messages before absl::InitializeLog()", b"oneDNN custom operations are on")


def import_tensorflow() -> None:
    """Import TensorFlow; of what it says meanwhile, all but the greeting is passed on."""
    if "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)  # the lines come from C++, past sys.stderr
        try:
            import tensorflow  # noqa: F401
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            for line in said:
                if not any(words in line for words in GREETING):
                    os.write(2, line)
