"""Data sets of tensorflow-datasets, https://www.tensorflow.org/datasets, one of whose features is a mask.

builder.py has the settings and opens the data set, tfds_dataset.py reads its samples, scan.py looks at each
of them once.
"""

from segframe import hookimpl
from segframe_tfds.builder import build_tfds


@hookimpl
def segframe_datasets():
    return {"tfds": build_tfds}
