"""The data sets by name, each with its TFDS builder.

A builder stores pictures that `examine` has looked at, as they come; array_record, since the
default format needs TensorFlow. What was prepared is read back with
`tfds.builder_from_directory`, because a builder that takes its pictures at construction cannot be
pickled into a worker process.
"""

import contextlib
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from ml_collections import ConfigDict

from defect_jax.data import bsdata, folder, ksdd2, magnetic_tile, synthetic, synthetic_options
from defect_jax.data.raw_files import RawFiles, open_root
from defect_jax.data.records import Catalogue
from defect_jax.errors import UserError

tfds.disable_progress_bar()  # ours is shown instead


class StoredPictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Stores examples in the order in which they come; the base of the named builders."""

    VERSION = tfds.core.Version("1.0.0")
    # TFDS would look beside the code for checksums of downloads; there are none, and the search
    # imports importlib_resources, which TFDS does not install.
    code_path = None

    def __init__(
        self, *, data_dir: str, counts: Mapping[str, int], examples: Iterator[dict[str, Any]]
    ):
        """Takes the number of examples of each split, and all examples, split after split."""
        self._counts, self._examples = counts, examples
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        # Text hands bytes through unchanged; Image would decode them on every read.
        text, number = tfds.features.Text, tfds.features.Scalar
        features = {
            "id": text(),
            "group": text(),
            "class_name": text(),
            "label": number(np.int64),
            "height": number(np.int64),
            "width": number(np.int64),
            "image": text(),
            "mask": text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Pictures, masks and labels of {self.name}, prepared by defect_jax.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager
        return {split: self._generate_examples(n) for split, n in self._counts.items()}

    def _generate_examples(self, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(islice(self._examples, count))

    def store(self) -> Path:
        """Writes everything and returns the folder; prints nothing of TFDS's own."""
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.WARNING)
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            # TFDS makes folders for downloads even where there are none.
            with TemporaryDirectory() as downloads, contextlib.redirect_stdout(io.StringIO()):
                self.download_and_prepare(download_dir=downloads, download_config=config)
        finally:
            logging.set_verbosity(verbosity)
        return Path(self.data_dir)


class Synthetic(StoredPictures, skip_registration=True):
    """Generated pictures."""


class MagneticTile(StoredPictures, skip_registration=True):
    """The magnetic tile release."""


class Ksdd2(StoredPictures, skip_registration=True):
    """The KolektorSDD2 release."""


class Bsdata(StoredPictures, skip_registration=True):
    """The BSData release."""


class Folder(StoredPictures, skip_registration=True):
    """The user's own pictures."""


class DataSet(NamedTuple):
    """What it takes to add a data set.

    Attributes:
        builder: its TFDS builder, which gives it its name on disk.
        open: opens the raw files that `config.data` names.
        catalogue: lists the pictures of the wanted splits, with faults and notes.
        options: fields of `config.data` that decide what is prepared, besides name and root.
    """

    builder: type[StoredPictures]
    open: Callable[[ConfigDict], RawFiles]
    catalogue: Callable[[RawFiles, ConfigDict, Collection[str]], Catalogue]
    options: tuple[str, ...]


def _open_root(data: ConfigDict) -> RawFiles:
    return open_root(data.root)


def _generated(raw: RawFiles, data: ConfigDict, needed: Collection[str]) -> Catalogue:
    del raw
    records = [record for record in synthetic.records(data) if record.split in needed]
    return Catalogue(records, classes=synthetic_options.class_names(data))


DATA_SETS = {
    "synthetic": DataSet(
        Synthetic, synthetic.SyntheticFiles, _generated, synthetic_options.OPTIONS
    ),
    "magnetic_tile": DataSet(
        MagneticTile, _open_root, magnetic_tile.catalogue, magnetic_tile.OPTIONS
    ),
    "ksdd2": DataSet(Ksdd2, _open_root, ksdd2.catalogue, ksdd2.OPTIONS),
    "bsdata": DataSet(Bsdata, bsdata.open_release, bsdata.catalogue, bsdata.OPTIONS),
    "folder": DataSet(Folder, _open_root, folder.catalogue, folder.OPTIONS),
}


def data_set(name: str) -> DataSet:
    """Looks a data set up.

    Raises:
        UserError: there is none of this name.
    """
    if name not in DATA_SETS:
        raise UserError(f"config.data.name: {name!r} is unknown: give {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
