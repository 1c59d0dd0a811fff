"""The TFDS builder of every data set.

It stores images that `examine` has checked, as they come; array_record, since the default format
needs TensorFlow. What was prepared is read back with `tfds.builder_from_directory`, because a
builder that takes its images at construction cannot be pickled into a worker process.
"""

import contextlib
import io
import types
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

tfds.disable_progress_bar()  # ours is shown instead


class _OwnInfo(tfds.core.DatasetInfo):
    """What is known of a set that no bucket of TFDS can hold."""

    def initialize_from_bucket(self) -> None:
        """Ask no bucket: TFDS would, and leave a temporary folder each time."""


def stored_features() -> tfds.features.FeaturesDict:
    """Return what an example holds."""
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
        "masked": number(np.int64),
        "ignored": text(),
    }
    return tfds.features.FeaturesDict(features)


class StoredImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Stores examples in the order in which they come."""

    VERSION = tfds.core.Version("1.0.0")
    # TFDS would look beside the code for checksums of downloads; there are none, and the search
    # imports importlib_resources, which TFDS does not install.
    code_path = None

    def __init__(
        self, *, data_dir: str, counts: Mapping[str, int], examples: Iterator[dict[str, Any]]
    ):
        """Take the number of examples of each split, and all examples, split after split."""
        self._counts, self._examples = counts, examples
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return _OwnInfo(
            builder=self,
            description=f"Images, masks and labels of {self.name}, prepared by defect_jax.",
            features=stored_features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager
        return {split: self._generate_examples(n) for split, n in self._counts.items()}

    def _generate_examples(self, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(islice(self._examples, count))

    def store(self) -> Path:
        """Write everything and return the folder; print nothing of TFDS's own."""
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


def builder_class(name: str) -> type[StoredImages]:
    """Return the builder of a data set: TFDS names a set on disk after its builder's class.

    >>> builder_class("magnetic_tile").name
    'magnetic_tile'
    """
    class_name = "".join(part.capitalize() for part in name.split("_"))
    options = {"skip_registration": True}
    return types.new_class(
        class_name, (StoredImages,), options, lambda body: body.update(__module__=__name__)
    )
