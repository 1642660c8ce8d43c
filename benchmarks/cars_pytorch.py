"""The slides' car segmentation in PyTorch: what conf/experiment/cars_adam.yaml trains, in plain torch.

    python benchmarks/cars_pytorch.py cars.h5 --decoder same --seeds 3 --out cars_pytorch.json

The network computes what segframe's U-Net computes; the rest are PyTorch's defaults: Kaiming uniform weights,
batch normalisation with epsilon 1e-5, Adam with epsilon 1e-8, TF32 convolutions on a GPU. The data, their
normalisation and the scores are segframe's; TensorFlow is not imported. `--init segframe` and
`--norm-epsilon 1e-3` take two of the differences away. Needs torch (the extra `parity`) and, for 64 filters,
a GPU. Writes JSON after each run, which benchmarks/cars_report.py makes tables of.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from segframe.metrics import confusion, image_scores
from segframe.normalisation import Normalisation, measure
from segframe.plugins.hdf5 import open_hdf5
from segframe.split import parts

KEYS = ("iou", "dice", "pixel_accuracy")
DEPTH = 4


class Block(nn.Sequential):
    """(3x3 convolution, batch normalisation, ReLU) twice."""

    def __init__(self, channels: int, filters: int, epsilon: float):
        layers: list[nn.Module] = []
        for into in (channels, filters):
            layers += [
                nn.Conv2d(into, filters, 3, padding=1, bias=False),
                nn.BatchNorm2d(filters, eps=epsilon),
                nn.ReLU(),
            ]
        super().__init__(*layers)


class UNet(nn.Module):
    """(batch, channels, height, width) -> logits (batch, classes, height, width)."""

    def __init__(self, channels: int, classes: int, filters: int, decoder: str, epsilon: float):
        super().__init__()
        widths = [filters * 2**level for level in range(DEPTH + 1)]
        self.encoder = nn.ModuleList(
            Block(into, width, epsilon) for into, width in zip([channels, *widths[:-1]], widths, strict=True)
        )
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for width in reversed(widths[:-1]):
            raised = 2 * width if decoder == "double" else width
            up = nn.ConvTranspose2d(2 * width, raised, 3, stride=2, padding=1, output_padding=1, bias=False)
            halve = nn.Conv2d(raised, width, 3, padding=1) if decoder == "double" else nn.Identity()
            self.up.append(nn.Sequential(up, halve))
            self.decoder.append(Block(2 * width, width, epsilon))
        self.logits = nn.Conv2d(filters, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([up(x), skip], dim=1))
        return self.logits(x)


def as_segframe(module: nn.Module) -> None:
    """segframe's first weights: He normal before a batch normalisation, Glorot uniform elsewhere, no bias."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        if isinstance(module, nn.Conv2d) and module.bias is None:
            deviation = (2 / module.weight[0].numel()) ** 0.5
            # As Keras draws it: cut at two deviations, then widened to the deviation asked for.
            nn.init.trunc_normal_(module.weight, std=1.0, a=-2.0, b=2.0)
            with torch.no_grad():
                module.weight *= deviation / 0.87962566103423978
        else:
            nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def load(dataset, part, by: Normalisation, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A part's images (samples, channels, height, width) float32, normalised, and masks, int64."""
    samples = dataset.read(part.split, part.indices)
    raw = np.stack([sample.image for sample in samples]).astype(np.float32)
    images = (raw * np.float32(by.scale) - np.float32(by.mean)) / np.float32(by.std)
    masks = np.stack([sample.mask for sample in samples]).astype(np.int64)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device), torch.from_numpy(masks).to(
        device
    )


@torch.no_grad()
def scores(net: UNet, images: torch.Tensor, masks: torch.Tensor, names) -> dict[str, list[float]]:
    """Each image's scores, by segframe's metric contract."""
    net.eval()
    counts = [
        confusion(mask.cpu().numpy(), net(image[None]).argmax(1)[0].cpu().numpy(), len(names))
        for image, mask in zip(images, masks, strict=True)
    ]
    found = image_scores(np.stack(counts), names)
    return {key: [float(value) for value in found[key]] for key in KEYS}


def train(arguments: argparse.Namespace, dataset, decoder: str, seed: int, device: str) -> dict:
    """One run: test scores at the epochs asked for, the loss of each epoch, seconds."""
    chosen = parts(dataset, {"val": "none"})
    by = measure(dataset, chosen["train"])
    images, masks = load(dataset, chosen["train"], by, device)
    test = load(dataset, chosen["test"], by, device)
    torch.manual_seed(seed)
    net = UNet(
        dataset.image_shape[2], dataset.num_classes, arguments.filters, decoder, arguments.norm_epsilon
    )
    if arguments.init == "segframe":
        net.apply(as_segframe)
    net = net.to(device)
    adam = torch.optim.Adam(net.parameters(), lr=3e-4, betas=(0.9, 0.999))
    order = torch.Generator().manual_seed(seed)
    losses, per_image, start = [], {}, time.perf_counter()
    for epoch in range(1, max(arguments.score_at) + 1):
        net.train()
        total = torch.zeros((), device=device)
        for position in torch.randperm(len(images), generator=order).tolist():
            loss = functional.cross_entropy(
                net(images[position : position + 1]), masks[position : position + 1]
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.detach()
        losses.append(float(total) / len(images))
        if epoch in arguments.score_at:
            per_image[str(epoch)] = scores(net, *test, dataset.class_names)
            mean = {key: round(statistics.fmean(per_image[str(epoch)][key]), 4) for key in KEYS}
            print(f"{decoder} seed {seed} epoch {epoch}: loss {losses[-1]:.4f} {mean}", flush=True)
    return {
        "recipe": f"pytorch {decoder}",
        "seed": seed,
        "words": [f"init={arguments.init}", f"norm_epsilon={arguments.norm_epsilon:g}"],
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "test_at": {
            epoch: {key: statistics.fmean(found[key]) for key in KEYS} for epoch, found in per_image.items()
        },
        "per_image_test_at": {
            epoch: {"id": list(chosen["test"].ids), **found} for epoch, found in per_image.items()
        },
        "history": {"train/loss": losses},
        "process_seconds": time.perf_counter() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="cars.h5")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--decoder", default="same", help="same, double, or same,double")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--score-at", default="30,60,90", help="epochs; the last one ends the training")
    parser.add_argument("--init", choices=("torch", "segframe"), default="torch")
    parser.add_argument("--norm-epsilon", type=float, default=1e-5)
    arguments = parser.parse_args()
    arguments.score_at = [int(epoch) for epoch in arguments.score_at.split(",")]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    runs: list[dict] = []
    for seed in range(arguments.seeds):  # seed by seed: a GPU's time may end
        for decoder in arguments.decoder.split(","):
            runs.append(train(arguments, open_hdf5(path=str(arguments.data)), decoder, seed, device))
            report = {
                "command": f"python benchmarks/cars_pytorch.py cars.h5 --decoder {arguments.decoder} "
                f"--seeds {arguments.seeds} --filters {arguments.filters} --init {arguments.init} "
                f"--norm-epsilon {arguments.norm_epsilon:g}",
                "runs": runs,
                "versions": {"torch": torch.__version__, "python": platform.python_version()},
                "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor(),
                "tf32": torch.backends.cudnn.allow_tf32,
            }
            arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
