"""Images that are the same, or nearly so by a perceptual hash: rescaled, brightened, cropped a little.

The hash is pHash (Zauner, Implementation and benchmarking of perceptual image hash functions, 2010): the
lowest frequencies of the discrete cosine transform of a small grey copy, each above or below their median.
Here it has 16 x 16 of them. docs/data.md has how far copies and different images of real data lie apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from segframe.errors import SegframeError

if TYPE_CHECKING:
    import numpy as np

SIDE = 64
KEPT = 16
BITS = KEPT * KEPT
THRESHOLD = 40
BLOCK = 512


class Near(NamedTuple):
    """Two images that differ in few bits of their hashes."""

    first: str
    second: str
    bits: int
    """Of BITS."""


def near_duplicates(images: Iterable[tuple[str, np.ndarray]], threshold: int = THRESHOLD) -> list[Near]:
    """Pairs of ids whose hashes differ in at most `threshold` of 256 bits, nearest first.

    Images are read once, one at a time; what is kept of each is its id and 32 bytes. Every pair is compared:
    10,000 images are 50 million pairs. Turned or mirrored copies are not found. An image without any contrast
    has no hash and is near none.

    Args:
        images: (id, (height, width, channels) uint8 or float32) of each.
        threshold: 0 to 255.

    Raises:
        SegframeError: a threshold out of range.
    """
    check_threshold(threshold)
    ids, hashes = [], []
    for sample, image in images:
        found = perceptual_hash(image)
        if found is not None:
            ids.append(sample)
            hashes.append(found)
    return near_hashes(ids, hashes, threshold)


def check_threshold(threshold: int) -> None:
    """Raises SegframeError: out of range."""
    if not 0 <= threshold < BITS:
        remedy = f"{THRESHOLD} finds what was recompressed or rescaled, 0 what is the same."
        raise SegframeError("distance", expected=f"0 to {BITS - 1} bits", got=str(threshold), remedy=remedy)


def near_hashes(ids: Sequence[str], hashes: Sequence[np.ndarray], threshold: int = THRESHOLD) -> list[Near]:
    """As near_duplicates, of hashes made already."""
    import numpy as np

    if not hashes:
        return []
    words = np.stack(hashes).view(np.uint64)
    found = []
    for start in range(0, len(words), BLOCK):
        block = words[start : start + BLOCK]
        bits = np.zeros((len(block), len(words) - start), np.uint16)
        for word in range(words.shape[1]):
            bits += np.bitwise_count(block[:, None, word] ^ words[None, start:, word])
        rows, columns = np.nonzero(bits <= threshold)
        later = columns > rows
        for row, column in zip(rows[later].tolist(), columns[later].tolist(), strict=True):
            found.append(Near(ids[start + row], ids[start + column], int(bits[row, column])))
    return sorted(found, key=lambda near: (near.bits, near.first, near.second))


def image_digest(image: np.ndarray) -> bytes:
    """Equal for images of the same bytes, shape and dtype only."""
    import numpy as np

    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def perceptual_hash(image: np.ndarray) -> np.ndarray | None:
    """(32,) uint8, or None for an image without contrast.

    Args:
        image: (height, width, channels) uint8 or float32; channels count alike.
    """
    import numpy as np
    from PIL import Image
    from scipy.fft import dctn

    grey = np.nan_to_num(image.astype(np.float32).mean(axis=-1))
    low, high = float(grey.min()), float(grey.max())
    if high <= low:
        return None
    small = Image.fromarray((grey - low) / (high - low)).resize((SIDE, SIDE), Image.Resampling.BOX)
    waves = dctn(np.asarray(small, np.float64), norm="ortho")[:KEPT, :KEPT].ravel()
    waves[0] = 0.0  # the mean brightness says nothing
    return np.packbits(waves > np.median(waves[1:]))
