"""PyTorch's side of benchmarks/conv_transpose.py: a process of its own, and what starts and asks it.

TensorFlow is not imported here: beside it in one process PyTorch ended in a floating point exception on
a GPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from torch_environment import torch_environment


class Torch:
    """The process, and what it answers.

    Args:
        gpu: whether TensorFlow has a GPU; otherwise one of the two would run on the CPU.

    Attributes:
        version: of PyTorch; "" where it takes no part.
        left_out: why it takes no part, or "".
    """

    def __init__(self, gpu: bool):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=torch_environment(),
        )
        self.version, self.left_out = "", ""
        try:
            facts = self._answer()
        except RuntimeError as error:
            self.left_out = str(error)
        else:
            if facts["cuda"] == gpu:
                self.version = facts["version"]
            else:
                seen = "sees a GPU and TensorFlow none" if facts["cuda"] else "sees no GPU and TensorFlow one"
                self.left_out = f"PyTorch {facts['version']} {seen}"

    def way(self, shape, dtype: str, step: bool) -> Callable[[int], float]:
        """So many calls -> their seconds by the clock of the process."""

        def run(count: int) -> float:
            try:
                self.process.stdin.write(json.dumps([shape, dtype, step, count]) + "\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                pass  # it has ended: the answer that is not there says why
            return self._answer()

        return run

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines() or ["without a word"]
        raise RuntimeError(f"the process of PyTorch ended with exit code {code}: {said[-1]}")

    def close(self) -> None:
        """End it; what it wrote to stderr is passed on."""
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()
            self.errors.seek(0)
            sys.stderr.write(self.errors.read())
        self.errors.close()


def main() -> None:
    """Answers lines of (shape, dtype, step, count) with seconds."""
    import torch

    torch.backends.cudnn.benchmark = True
    print(json.dumps({"version": torch.__version__, "cuda": torch.cuda.is_available()}), flush=True)
    last, run = None, None
    for line in sys.stdin:
        *what, count = json.loads(line)
        if what != last:
            last, run = what, torch_way(torch, *what)
        start = time.perf_counter()
        run(count)
        print(json.dumps(time.perf_counter() - start), flush=True)


def torch_way(torch, shape, dtype: str, step: bool) -> Callable[[int], None]:
    """Runs it so many times, and waits for the last."""
    batch, height, width, channels, filters = shape
    device = "cuda" if torch.cuda.is_available() else "cpu"
    place = {"device": device, "dtype": getattr(torch, dtype)}
    last = {"memory_format": torch.channels_last}
    images = torch.randn(batch, channels, height, width, **place).to(**last).requires_grad_(step)
    layer = torch.nn.ConvTranspose2d(channels, filters, 3, 2, 1, 1, bias=False, **place).to(**last)
    layer.requires_grad_(step)
    upstream = torch.randn(batch, filters, 2 * height, 2 * width, **place).to(**last)

    def run(count):
        for _ in range(count):
            out = layer(images)
            if step:
                torch.autograd.grad(out, (images, layer.weight), upstream)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


if __name__ == "__main__":
    main()
