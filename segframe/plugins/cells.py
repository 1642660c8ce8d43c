"""One image of cells with its mask, from a random generator; same to the bit on every machine."""

from __future__ import annotations

import numpy as np


def draw(rng: np.random.Generator, size: int, difficulty: float) -> tuple[np.ndarray, np.ndarray]:
    """One sample.

    Args:
        size: height and width, pixels.
        difficulty: 0 easy to 1 hard.

    Returns:
        image (size, size) uint8, and mask (size, size) uint8: 0 background, 1 cell, 2 nucleus.
    """
    radius = 11.0 * (size / 128) ** 0.5 + 1.0  # pixels; bigger images hold more cells, and larger ones
    nearness, owner, inner = _cells(rng, size, radius)
    inside = nearness < 1.0
    nucleus = inside & (inner < 1.0)
    mask = inside.astype(np.uint8) + nucleus

    light = 1.0 + (0.4 + 0.9 * difficulty) * _light(rng, size)
    coarse, fine, grain = (_noise(rng, size, width) for width in (min(64, max(3, size // 16)), 2, 0))
    tones = rng.integers(75, 126, size=owner.max() + 1)[owner] / 100.0  # cells take up the stain unequally
    rim = np.clip(1.0 - np.abs(nearness - 0.9) / 0.12, 0.0, 1.0)
    body = (0.30 - 0.12 * difficulty) * tones * (1.0 + 0.35 * fine) + 0.07 * rim
    body = np.where(nucleus, body + 0.11 * (1.0 + 0.35 * fine), body)
    brightness = 0.34 + 0.03 * coarse + np.where(inside, body, 0.012 * fine)
    image = _box(brightness * np.maximum(light, 0.3), 1) + (0.012 + 0.026 * difficulty) * grain
    return np.clip(np.rint(image * 200.0), 0, 255).astype(np.uint8), mask


def _cells(rng: np.random.Generator, size: int, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ellipses with uneven outlines, about half of them touching a neighbour.

    Returns:
        (size, size) each: nearness, 0 at a centre and 1 on the outline of the nearest cell; which cell
        that is; the same as nearness for that cell's nucleus.
    """
    count = max(1, round(0.40 * size * size / (3.14 * radius * radius)))
    count = max(1, count + int(rng.integers(-count // 4, count // 4 + 1)))
    centres = rng.random((count, 2)) * size
    for cell in range(1, count):
        if rng.random() < 0.5:  # a daughter beside a cell that is there already
            mother = centres[int(rng.integers(cell))]
            centres[cell] = mother + 1.7 * radius * _direction(rng)
    row, column = np.mgrid[:size, :size].astype(np.float64)
    nearness = np.full((size, size), 9.0)
    owner = np.zeros((size, size), np.intp)
    inner = np.full((size, size), 9.0)
    outline = 0.13 * _noise(rng, size, max(2, int(radius / 3)))
    reach = 3 * int(radius + 1)  # beyond it a cell is never near
    for cell, (centre_row, centre_column) in enumerate(centres):
        along_row, along_column = _direction(rng)
        long = radius * (0.8 + 0.45 * rng.random())
        short = long * (0.65 + 0.35 * rng.random())
        shift = 0.25 * (rng.random(2) - 0.5)
        window = _around(centre_row, reach), _around(centre_column, reach)
        down, right = row[window] - centre_row, column[window] - centre_column
        along = (down * along_row + right * along_column) / long
        across = (right * along_row - down * along_column) / short
        near = np.sqrt(along * along + across * across) * (1.0 + outline[window])
        ours = near < nearness[window]
        nearness[window][ours] = near[ours]
        owner[window][ours] = cell
        along, across = along - shift[0], across - shift[1]
        inner[window][ours] = (np.sqrt(along * along + across * across) / 0.45)[ours]
    return nearness, owner, inner


def _around(centre: float, reach: int) -> slice:
    return slice(max(0, int(centre) - reach), max(0, int(centre) + reach + 1))


def _direction(rng: np.random.Generator) -> np.ndarray:
    """(row, column) of length 1, all directions alike."""
    while True:
        vector = rng.random(2) * 2.0 - 1.0
        square = vector[0] * vector[0] + vector[1] * vector[1]
        if 0.01 < square <= 1.0:
            return vector / np.sqrt(square)


def _light(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size), about -1 to 1: a slope over the image and a broad spot."""
    slope = _direction(rng)
    row, column = np.mgrid[:size, :size] / max(size - 1, 1) - 0.5
    spot_row, spot_column = rng.random(2) - 0.5
    down, right = row - spot_row, column - spot_column
    spot = 1.0 / (1.0 + 6.0 * (down * down + right * right))
    return 1.1 * (row * slope[0] + column * slope[1]) + 0.8 * spot - 0.4


def _noise(rng: np.random.Generator, size: int, width: int) -> np.ndarray:
    """(size, size) of mean 0 and standard deviation about 1, smooth over `width` pixels."""
    margin = 3 * width
    side = size + 2 * margin
    field = rng.integers(-1000, 1001, size=(side, side))
    for _ in range(3):
        field = _box(field, width)
    # Whole numbers up to here. Their square sum is exact, so the scale is too.
    field = field[margin : margin + size, margin : margin + size]
    field = field >> max(0, int(np.abs(field).max()).bit_length() - 18)
    scale = np.sqrt(int((field * field).sum()) / field.size)
    return field / max(scale, 1.0)


def _box(field: np.ndarray, width: int) -> np.ndarray:
    """Sum (of integers) or mean (of floats) over (2 width + 1) squared pixels, edges repeated."""
    whole = 2 * width + 1
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (width, width)
        padded = np.pad(field, pad, mode="edge")
        length = field.shape[axis]
        total = np.zeros_like(field)
        for shift in range(whole):
            total = total + np.take(padded, np.arange(shift, shift + length), axis=axis)
        field = total if field.dtype.kind == "i" else total / whole
    return field
