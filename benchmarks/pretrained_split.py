"""The split of a data set as files that any program can read: what the rivals train on.

FOLDER/pictures/00001.png   an image at its native size, as it was prepared
FOLDER/masks/00001.png      255 where it is defective, at the same size
FOLDER/pictures.csv         number, id, group, label, split: a row an image
"""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from ml_collections import ConfigDict

from defect_jax.data.files.images import decode_image
from defect_jax.data.files.record_encoding import decode_classes
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.runtime.escapes import csv_text

COLUMNS = ("number", "id", "group", "label", "split")


def split_folder(prepared: Prepared, home: Path) -> Path:
    """Write a prepared split once, whole or not at all, and return its folder.

    The folder is named after the prepared set: the same images in the same splits.
    """
    folder = home / prepared.directory.name
    if folder.exists():
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    for kind in ("pictures", "masks"):
        (partial / kind).mkdir(parents=True)
    rows = []
    for split, images in prepared.splits.items():
        for record, row in zip(images.source, images.rows, strict=True):
            number = f"{len(rows) + 1:05d}"
            rows.append((number, row.id, row.group, row.label, split))
            pixels, mask = decode_image(record["image"]), decode_classes(record["mask"])
            _write(partial / "pictures" / f"{number}.png", pixels)
            _write(partial / "masks" / f"{number}.png", np.uint8(255) * (mask > 0))
    (partial / "pictures.csv").write_text(csv_text([COLUMNS, *rows]))
    try:
        partial.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(partial)
    return folder


def _write(path: Path, pixels: np.ndarray) -> None:
    colours = pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[-1] == 3 else pixels
    if not cv2.imwrite(str(path), colours):
        raise OSError(f"{path}: cannot be written")


def prepared_fold(data: ConfigDict, fold: int) -> Prepared:
    """Return the set that a run of this fold trains on."""
    data = ConfigDict(data.to_dict())
    data.fold = fold
    return prepare(data)
