"""PyTorch's side of predict.py, in a process of its own: the U-Net of cars_pytorch.py on raw images."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
from torch_environment import torch_environment

CLASSES = 2


class Torch:
    """PyTorch in a process of its own: answers (batch, calls) with seconds a call."""

    def __init__(self, filters: int, size: int):
        words = [sys.executable, __file__, str(filters), str(size)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=torch_environment()
        )
        self.facts = json.loads(self.process.stdout.readline() or "{}")

    def seconds(self, batch: int, calls: int) -> float:
        self.process.stdin.write(f"{batch} {calls}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def answer(filters: int, size: int) -> None:
    """The other end of Torch."""
    try:
        import torch
    except ImportError:
        return
    from cars_pytorch import UNet

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    net = UNet(3, CLASSES, filters, "double", 1e-3).eval().to(device, memory_format=torch.channels_last)
    facts = {"version": torch.__version__, "cuda": cuda, "threads": torch.get_num_threads()}
    print(json.dumps(facts | {"weights": sum(weight.numel() for weight in net.parameters())}), flush=True)
    for line in sys.stdin:
        batch, calls = map(int, line.split())
        raw = torch.tensor(images(batch, size).transpose(0, 3, 1, 2).copy())
        start = time.perf_counter()
        with torch.inference_mode():
            for _ in range(calls):
                image = raw.to(device, memory_format=torch.channels_last).float() / 255
                net((image - 0.5) / 0.25).argmax(1).to(torch.uint8).cpu()
        print(json.dumps((time.perf_counter() - start) / calls), flush=True)


def images(batch: int, size: int) -> np.ndarray:
    return np.random.default_rng(batch).integers(256, size=(batch, size, size, 3), dtype=np.uint8)


if __name__ == "__main__":
    answer(*map(int, sys.argv[1:]))
