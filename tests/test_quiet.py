"""segframe.quiet."""

import os
import subprocess
import sys


def test_tensorflow_comes_without_its_greeting_and_other_words_pass():
    script = (
        "import sys, builtins, os\n"
        "from segframe.quiet import import_tensorflow\n"
        "real = builtins.__import__\n"
        "def speaking(name, *a, **k):\n"
        "    if name == 'tensorflow': os.write(2, b'something that matters\\n')\n"
        "    return real(name, *a, **k)\n"
        "builtins.__import__ = speaking\n"
        "import_tensorflow()\n"
        "assert 'tensorflow' in sys.modules\n"
    )
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}  # as the command line sets it
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=quiet
    )
    assert set(done.stderr.splitlines()) == {"something that matters"}
