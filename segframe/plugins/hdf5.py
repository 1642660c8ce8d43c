"""Data sets in one HDF5 file. The layout:

    /SPLIT/images   (samples, height, width, channels) uint8 or float32; SPLIT: train, and val and test if any
    /SPLIT/masks    (samples, height, width) uint8 class ids, 0 = background unless class_names says otherwise
    /SPLIT/ids      (samples,) unique names, string; made up as SPLIT/0, SPLIT/1, ... where missing
    /SPLIT/groups   (samples,) optional, string: what must not be split (a patient)
                    (attributes `ids` and `groups` of /SPLIT are read too; they end at about 4,500 samples)
    / attributes    class_names, num_classes (one of them), ignore_index, spacing (row, column) in mm,
                    source, licence (all four optional)

Images of differing sizes: one dataset per sample, /SPLIT/images/ID and /SPLIT/masks/ID. An image may lack
its channel axis and a mask may have one of length 1. An `ignore_index` is turned into IGNORED; one below
num_classes is a class that is no output: it is taken out and the ids above it shift down.

The writer (hdf5_writer.py) stores each sample as one chunk, compressed by lzf. Facts are checked when a
file is opened, every sample before it is used (verify.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segframe.hooks import hookimpl
from segframe.plugins.hdf5_file import open_file, understood

if TYPE_CHECKING:
    from segframe.plugins.hdf5_dataset import Hdf5Dataset


@hookimpl
def segframe_datasets():
    return {"hdf5": open_hdf5}


def open_hdf5(*, path: str) -> Hdf5Dataset:
    """The data set in an HDF5 file.

    Args:
        path: the file; ~ is your home folder.

    Raises:
        SegframeError: the file is not there, not whole, being written, or not in the layout.
    """
    from segframe.plugins.hdf5_dataset import Hdf5Dataset
    from segframe.plugins.hdf5_layout import read_layout

    where = Path(path).expanduser()
    file = open_file(where)
    try:
        with understood(f"data file {where}"):
            facts, splits = read_layout(file, where)
    except BaseException:
        file.close()
        raise
    return Hdf5Dataset(where, file, facts, splits)
