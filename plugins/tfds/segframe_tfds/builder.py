"""`dataset=tfds`: its settings, and the data set that they describe, downloaded only when asked for."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe import IGNORED, SegframeError

if TYPE_CHECKING:
    from segframe_tfds.tfds_dataset import TfdsDataset

log = logging.getLogger("segframe")

FORMAT = "array_record"
"""The one of tensorflow-datasets' file formats that can be read in any order."""


def build_tfds(
    *,
    set: str,
    splits: Mapping[str, str | None],
    class_names: list[str],
    class_ids: list[list[int]],
    ignore_ids: list[int],
    image: str = "image",
    mask: str = "segmentation_mask",
    ids: str | None = None,
    size: list[int] | None = None,
    data_dir: str | None = None,
    download: bool = False,
) -> TfdsDataset:
    """Images and masks of a data set of tensorflow-datasets.

    Args:
        set: its name there, with a config and a version if wanted: "oxford_iiit_pet", "NAME/CONFIG:1.0.0".
        splits: {train, val, test: one of its splits, or a part of it as "train[:80%]"}; None: there is none.
        class_names: of the network's classes, in the order of their ids; 0 is background if it is called so.
        class_ids: for each of these classes the ids in the stored mask that mean it.
        ignore_ids: ids in the stored mask that count nowhere.
        image: the feature with the image, (height, width, channels) uint8.
        mask: the feature with the mask, (height, width, 1) uint8.
        ids: the feature with each sample's name; None: SPLIT/0, SPLIT/1, ...
        size: (height, width) to which every sample is resized, images bilinear with antialiasing, masks
            nearest; then scores are of the resized masks. None: as stored.
        data_dir: where tensorflow-datasets keeps its data; None: TFDS_DATA_DIR, or ~/tensorflow_datasets.
        download: fetch and prepare the data, should they not be there.

    Raises:
        SegframeError: a setting does not fit another or the data, tensorflow-datasets is not installed, the
            data are not there, or a mask has an id that no setting speaks of.
    """
    _check(splits, class_names, class_ids, ignore_ids, size)
    tfds = _library()
    source = _source(tfds, set, data_dir)
    _prepare(source, download)
    _check_features(source, {"image": image, "mask": mask, **({"ids": ids} if ids else {})})
    sources = {}
    for split, theirs in splits.items():
        if theirs is not None:
            try:
                sources[split] = source.as_data_source(split=theirs)
            except (ValueError, AssertionError) as error:  # what it raises of a split that it does not have
                raise SegframeError(
                    f"dataset.splits.{split}",
                    expected=f"a split of {source.info.full_name} ({', '.join(source.info.splits)})",
                    got=repr(theirs),
                    remedy=f"Give one of them, or a part: \"dataset.splits.{split}='train[:80%]'\".",
                ) from error
    from segframe_tfds.tfds_dataset import Reading, TfdsDataset

    if size:
        log.info("%s: every sample is resized to %d x %d; so are the scores'.", set, *size)
    new_ids = {old: new for new, olds in enumerate(class_ids) for old in olds}
    new_ids |= dict.fromkeys(ignore_ids, IGNORED)
    reading = Reading(image, mask, ids, (size[0], size[1]) if size else None, new_ids)
    folder = Path(str(source.data_dir))
    return TfdsDataset(source.info.full_name, folder, sources, tuple(class_names), reading)


def _check(
    splits: Mapping[str, str | None],
    class_names: list[str],
    class_ids: list[list[int]],
    ignore_ids: list[int],
    size: list[int] | None,
) -> None:
    ids = [*ignore_ids, *(old for olds in class_ids for old in olds)]
    known = {"train", "val", "test"}
    settings = [
        ("splits", splits, "train, and val and test if any", known >= {*splits} and splits.get("train")),
        ("class_names", class_names, "two different names or more",
         len({*class_names}) == len(class_names) > 1),
        ("class_ids", class_ids, f"a list of ids for each of {len(class_names)} classes",
         len(class_ids) == len(class_names) and all(class_ids)),
        ("class_ids", class_ids, "each id once, from 0 to 255, and not in ignore_ids too",
         len({*ids}) == len(ids) and all(0 <= old <= 255 for old in ids)),
        ("size", size, "null, or [height, width] of 1 pixel or more",
         size is None or len(size) == 2 and min(size) >= 1),
    ]  # fmt: skip
    for key, value, expected, right in settings:
        if not right:
            raise SegframeError(
                f"dataset.{key}", expected=expected, got=repr(value), remedy="See conf/dataset/tfds.yaml."
            )


def _library() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise SegframeError(
            "dataset=tfds",
            expected="tensorflow-datasets to be installed",
            got=str(error),
            remedy="In segframe's folder: pip install -e '.[tfds]'",
        ) from error
    return tensorflow_datasets


def _source(tfds: Any, name: str, data_dir: str | None) -> Any:
    """tensorflow-datasets' builder of the set; nothing is read or fetched yet."""
    try:
        return tfds.builder(name, data_dir=str(Path(data_dir).expanduser()) if data_dir else None)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        near = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False), n=3)
        raise SegframeError(
            "dataset.set",
            expected="a data set of tensorflow-datasets",
            got=repr(name),
            remedy=f"Near: {', '.join(near)}." if near else "See tensorflow.org/datasets/catalog.",
        ) from error


def _prepare(source: Any, download: bool) -> None:
    """Make sure that the data are there, in a format that can be read in any order.

    Downloads may be large and have terms of their own, so they are never made without being asked for.
    """
    if download:
        if not source.is_prepared():
            log.info(
                "%s is downloaded from its owners and prepared in %s.", source.info.full_name, source.data_dir
            )
        source.download_and_prepare(file_format=FORMAT)
    elif not source.is_prepared():
        raise SegframeError(
            f"data set {source.info.full_name}",
            expected=f"its data in {source.data_dir}",
            got="nothing there, and nothing is downloaded unless asked for",
            remedy="Give dataset.download=true, or dataset.data_dir if the data are elsewhere. Their owners "
            f"and terms: {source.info.homepage}",
        )
    formats = {found.value for found in source.info.available_file_formats()}
    if source.is_prepared() and FORMAT not in formats:
        raise SegframeError(
            f"data set {source.info.full_name}",
            expected=f"data in the file format {FORMAT}, which can be read in any order",
            got=f"{', '.join(sorted(formats))} in {source.data_dir}",
            remedy="Prepare them once more elsewhere: dataset.data_dir=FOLDER dataset.download=true, or "
            f"tfds build --file_format={FORMAT}",
        )


def _check_features(source: Any, wanted: Mapping[str, str]) -> None:
    there = list(source.info.features)
    for key, feature in wanted.items():
        if feature not in there:
            raise SegframeError(
                f"dataset.{key}",
                expected=f"a feature of {source.info.full_name} ({', '.join(there)})",
                got=repr(feature),
                remedy=f"Give dataset.{key}=FEATURE.",
            )
