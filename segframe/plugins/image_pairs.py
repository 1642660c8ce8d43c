"""Which image files belong to which mask files, by their names."""

from __future__ import annotations

import logging
import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from segframe.errors import SegframeError, nearest
from segframe.plugins.hdf5_layout import SPLITS
from segframe.plugins.image_files import ENDINGS

log = logging.getLogger("segframe")

NAME = "NAME"


class Pair(NamedTuple):
    """An image file and the files that make its mask."""

    name: str
    split: str | None
    """The split whose folder they lie in; None where there are no such folders."""
    image: Path
    masks: tuple[Path, ...]


def find_pairs(
    images: Path, masks: Path, image_name: str, mask_name: str, propose: Callable[[str], str]
) -> list[Pair]:
    """Pairs sorted by name, of folders of files or of folders with a folder per split.

    Args:
        image_name: pattern of the image files' stems: NAME is the sample's name, * anything.
        mask_name: that of the masks' stems; several files of one sample are its mask together.
        propose: options -> the command with them, for remedies.

    Raises:
        SegframeError: a folder is missing or empty, or a file has no partner.
    """
    for option, pattern in (("--image-name", image_name), ("--mask-name", mask_name)):
        if pattern.count(NAME) != 1:
            remedy = f"Write {NAME} where the sample's name stands: {propose(f'{option} {NAME}_mask')}"
            raise SegframeError(
                option, expected=f"a pattern with {NAME} in it, once", got=repr(pattern), remedy=remedy
            )
    splits = _split_folders(images, masks)
    pairs = []
    for split in splits:
        folders = (images, masks) if split is None else (images / split, masks / split)
        pairs += _of_folders(*folders, split, image_name, mask_name, propose)
    count = Counter(pair.name for pair in pairs)
    if len(count) < len(pairs):
        twice = next(name for name in count if count[name] > 1)
        log.info("%r and other names are in several splits: samples are called SPLIT-NAME", twice)
        pairs = [pair._replace(name=f"{pair.split}-{pair.name}") for pair in pairs]
    return pairs


def _split_folders(images: Path, masks: Path) -> Sequence[str | None]:
    """The splits that both folders have a folder of; (None,) where the files lie in them directly."""
    for folder in (images, masks):
        if not folder.is_dir():
            got = "a file" if folder.exists() else "nothing of that name"
            remedy = "Check the path; the order is IMAGES MASKS OUT.h5."
            raise SegframeError(f"folder {folder}", expected="a folder of images", got=got, remedy=remedy)
    found = [
        {below.name for below in folder.iterdir() if below.is_dir()} & set(SPLITS)
        for folder in (images, masks)
    ]
    if not found[0] and not found[1]:
        return (None,)
    for own, other, folder in ((found[0], found[1], masks), (found[1], found[0], images)):
        if own - other:
            missing = sorted(own - other)[0]
            remedy = f"Make {folder / missing}, or take its partner away."
            raise SegframeError(
                f"folder {folder}", expected=f"a folder {missing} too", got="none", remedy=remedy
            )
    return [split for split in SPLITS if split in found[0]]


def _of_folders(
    images: Path,
    masks: Path,
    split: str | None,
    image_name: str,
    mask_name: str,
    propose: Callable[[str], str],
) -> list[Pair]:
    of_masks = _by_name(masks, mask_name, several=True)
    taken = {path for paths in of_masks.values() for path in paths} if images.samefile(masks) else set()
    of_images = _by_name(images, image_name, several=False, without=taken)
    for folder, own, other, kind in (
        (images, of_images, of_masks, "mask"),
        (masks, of_masks, of_images, "image"),
    ):
        alone = sorted(set(own) - set(other))
        if alone or not own:
            pattern = _likely(of_images, masks, mask_name)
            remedy = f"Add each missing {kind}, or take these files away."
            if pattern:
                remedy = f"The masks' names look like {pattern}: {propose(f'--mask-name {pattern!r}')}"
            raise SegframeError(
                f"folder {folder}",
                expected=f"a {kind} of the same name for each file",
                got=f"{len(alone)} without: {', '.join(alone[:5])}{', ...' * (len(alone) > 5)}",
                remedy=remedy,
            )
    return [Pair(name, split, of_images[name][0], tuple(of_masks[name])) for name in sorted(of_images)]


def _by_name(
    folder: Path, pattern: str, several: bool, without: Collection[Path] = ()
) -> dict[str, list[Path]]:
    """{sample's name: files}; what is no image, or fits no pattern, is left out and said."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    pictures = [file for file in files if file.suffix.lower() in ENDINGS]
    if not pictures:
        kinds = sorted({file.suffix for file in files})
        raise SegframeError(
            f"folder {folder}",
            expected=f"images ({', '.join(ENDINGS)})",
            got=f"{len(files)} files of type {', '.join(kinds)}" if files else "no files",
            remedy=_below(folder) or f"Convert them: magick mogrify -format png {shlex.quote(str(folder))}/*",
        )
    if len(pictures) < len(files):
        log.info("%s: %d files that are no images are left out", folder, len(files) - len(pictures))
    fits = re.compile(re.escape(pattern).replace(NAME, "(.+)").replace(r"\*", ".*?"))
    names: dict[str, list[Path]] = {}
    odd = []
    for file in pictures:
        match = fits.fullmatch(file.stem)
        if file in without:
            continue
        if match is None:
            odd.append(file.name)
            continue
        try:
            match[1].encode()
        except UnicodeEncodeError as error:
            remedy = "Rename it, in UTF-8."
            raise SegframeError(
                f"folder {folder}", expected="names that are text", got=repr(file.name), remedy=remedy
            ) from error
        names.setdefault(match[1], []).append(file)
        if not several and len(names[match[1]]) > 1:
            got = " and ".join(path.name for path in names[match[1]])
            raise SegframeError(
                f"folder {folder}", expected="one file per name", got=got, remedy="Rename one."
            )
    if odd:
        log.info(
            "%s: %d files are not called %s and are left out: %s, ...", folder, len(odd), pattern, odd[0]
        )
    return names


def _below(folder: Path) -> str:
    folders = sorted(below.name for below in folder.iterdir() if below.is_dir())
    return f"Its folders are {', '.join(folders[:5])}: {nearest('train', folders)}" if folders else ""


def _likely(of_images: dict[str, list[Path]], masks: Path, mask_name: str) -> str:
    """The pattern that most masks' names would fit, '' where there is none for half of them."""
    if mask_name != NAME or not of_images:
        return ""
    stems = [file.stem for file in masks.iterdir() if file.suffix.lower() in ENDINGS]
    longest = sorted(of_images, key=len, reverse=True)
    met: Counter[str] = Counter()
    for stem in stems[:1000]:
        inside = next((name for name in longest if name in stem and name != stem), None)
        if inside is not None:
            before, after = stem.split(inside, 1)
            met[f"{before}{NAME}{re.sub(r'[0-9]+', '*', after)}"] += 1
    pattern, count = met.most_common(1)[0] if met else ("", 0)
    return pattern if 2 * count >= len(stems[:1000]) else ""
