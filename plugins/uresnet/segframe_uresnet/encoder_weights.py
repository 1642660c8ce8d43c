"""An encoder's weights from a local file; nothing is downloaded."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from segframe import SegframeError

if TYPE_CHECKING:
    import keras

log = logging.getLogger("segframe")

KEY = "model.encoder_weights"
ENDINGS = (".weights.h5", ".h5", ".keras")


def check_file(path: str) -> Path:
    """
    Raises:
        SegframeError: there is no such file, or it does not end like one of weights.
    """
    file = Path(path).expanduser()
    if not file.is_file() or not path.endswith(ENDINGS):
        raise SegframeError(
            KEY,
            expected=f"a file of weights ({', '.join(ENDINGS)})",
            got=repr(path) + ("" if file.is_file() else ", which is not there"),
            remedy="Nothing is downloaded: fetch the file yourself, or give model.encoder_weights=null.",
        )
    return file


def with_weights(make: Callable[[int], keras.Model], channels: int, file: Path) -> keras.Model:
    """make(channels) with the weights of the file: what Keras saved of such an encoder, without a classifier.

    Grey images may take the weights of colour images: the first convolution's three input channels are
    summed, so that it answers as to the grey image in all three. Otherwise the channels must be the file's.

    Raises:
        SegframeError: the file cannot be read, or its arrays are not the encoder's.
    """
    found = _shapes(file)
    encoder = make(channels)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    if found != _wanted(encoder) and channels == 1:
        colour = make(3)
        if found == _wanted(colour):
            _load(colour, file)
            values = colour.get_weights()
            first = next(
                number for number, weight in enumerate(colour.weights) if weight.shape[-2:-1] == (3,)
            )
            values[first] = values[first].sum(axis=-2, keepdims=True)
            encoder.set_weights(values)
            log.info(
                "%s: %s (sha256 %s...), made for colour: the three input channels of %s are summed for grey.",
                KEY, file, digest, colour.weights[first].path,
            )  # fmt: skip
            return encoder
    if found != _wanted(encoder):
        raise _unfit(encoder, file, found, channels)
    _load(encoder, file)
    log.info("%s: %s (sha256 %s...), %d arrays.", KEY, file, digest, len(encoder.weights))
    return encoder


def _load(encoder: keras.Model, file: Path) -> None:
    try:
        encoder.load_weights(file)
    except (ValueError, KeyError, OSError) as error:
        raise SegframeError(
            KEY,
            expected=f"weights in the order of {encoder.name}'s layers",
            got=f"{file}: {' '.join(str(error).split())[:300]}",
            remedy=f"Take a file that Keras saved of {encoder.name} without its classifier.",
        ) from error


def _wanted(encoder: keras.Model) -> Counter[tuple[int, ...]]:
    return Counter(tuple(weight.shape) for weight in encoder.weights)


def _shapes(file: Path) -> Counter[tuple[int, ...]]:
    """How many arrays of each shape the file has, without an optimizer's and random seeds."""
    import h5py

    shapes: list[tuple[int, ...]] = []

    def note(path: str, item) -> None:
        if isinstance(item, h5py.Dataset) and not {"optimizer", "seed_generator"} & set(path.split("/")):
            shapes.append(item.shape)

    try:
        whole = zipfile.ZipFile(file).read("model.weights.h5") if file.suffix == ".keras" else None
        with h5py.File(file if whole is None else io.BytesIO(whole), "r") as opened:
            opened.get("model_weights", opened).visititems(note)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SegframeError(
            KEY,
            expected="a file of weights that Keras wrote",
            got=f"{file}: {error}",
            remedy="Copy or fetch it again: it may be cut short.",
        ) from error
    return Counter(shapes)


def _unfit(encoder: keras.Model, file: Path, found: Counter[tuple[int, ...]], channels: int) -> SegframeError:
    wanted = _wanted(encoder)
    differ = ["lacks " + ", ".join(map(str, list(wanted - found)[:3]))] if wanted - found else []
    differ += ["also has " + ", ".join(map(str, list(found - wanted)[:3]))] if found - wanted else []
    return SegframeError(
        KEY,
        expected=f"the {wanted.total()} arrays of {encoder.name} for {channels} channels, without classifier",
        got=f"{file} with {found.total()}; it {' and '.join(differ)}",
        remedy=f"Take a file that Keras saved of {encoder.name} without top, or another model.encoder.",
    )
