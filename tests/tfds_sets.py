"""Makes small data sets as others prepare them with TFDS, as array_record without TensorFlow."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from raw_data import config, defect_mask, encoded, noise

Examples = Sequence[dict[str, Any]]


def grey() -> tfds.features.Image:
    """Returns the feature of a grey image of any size."""
    return tfds.features.Image(shape=(None, None, 1))


def features(**changes) -> dict[str, Any]:
    """Returns features of image, mask, label and id; None takes one away."""
    label = tfds.features.ClassLabel(names=["good", "dent"])
    usual = {"image": grey(), "mask": grey(), "label": label, "id": tfds.features.Text()}
    return {name: feature for name, feature in (usual | changes).items() if feature is not None}


def part(number: int, bad: bool, **changes) -> dict[str, Any]:
    """Returns an example of `features()`: noise, with a defect of 3x4 px in a bad part."""
    mask = defect_mask() if bad else np.zeros((12, 16), np.uint8)
    usual = {
        "image": encoded(noise(number)),
        "mask": encoded(mask),
        "label": int(bad),
        "id": f"part_{number}",
    }
    return usual | changes


def parts(first: int, good: int = 10, bad: int = 5, **changes) -> list[dict[str, Any]]:
    """Returns examples with numbers from `first` on, good ones before bad ones."""
    return [part(first + n, n >= good, **changes) for n in range(good + bad)]


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Asks no bucket."""


class Parts(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder as a user of TFDS writes it."""

    VERSION = tfds.core.Version("1.2.0")
    code_path = None

    def __init__(self, root: Path, splits: Mapping[str, Examples], features: Mapping[str, Any]):
        self._splits, self._features = splits, features
        super().__init__(data_dir=str(root), file_format="array_record")

    def _info(self) -> _Info:
        described = tfds.features.FeaturesDict(dict(self._features))
        return _Info(builder=self, features=described)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {name: self._generate_examples(found) for name, found in self._splits.items()}

    def _generate_examples(self, examples: Examples) -> Any:
        yield from enumerate(examples)


def tfds_set(
    root: Path, splits: Mapping[str, Examples] | None = None, described: Mapping | None = None
) -> Path:
    """Prepares `parts:1.2.0` below a TFDS data folder, which is returned.

    Args:
        splits: their examples; 15 in each of train, validation and test if not given.
        described: the features; `features()` if not given.
    """
    if splits is None:
        splits = {"train": parts(0), "validation": parts(100), "test": parts(200)}
    builder = Parts(root, splits, described or features())
    options = tfds.download.DownloadConfig(try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(download_config=options)
    return root


def tfds_config(root: Path, tmp_path: Path, **changes) -> ConfigDict:
    """Returns a `config.data` for the set of `tfds_set`."""
    fields = dict(tfds="parts", tfds_image="image", tfds_mask="mask", tfds_label="", tfds_id="")
    return config("tfds", root, tmp_path, **fields | {"tfds_group": "", **changes})
