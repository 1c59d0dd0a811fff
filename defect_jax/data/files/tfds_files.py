"""The images and masks of a set that TFDS has prepared, as raw files with names.

The image of the example 12 of the split `train` is `train/000012.image.png`, its mask
`train/000012.mask.png`, whatever the bytes are: no reader goes by the suffix. Examples are parsed
here from the records of `array_record`; see `tfds_folder` for why TFDS reads none of them.
"""

import errno
import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from defect_jax.data.files.bounded import BadFile, check_size, regular_handle
from defect_jax.data.files.tfds_features import number, picture, text
from defect_jax.data.files.tfds_folder import FEATURES_FILE, INFO_FILE, LABELS, TfdsFolder
from defect_jax.runtime.errors import UserError

IMAGE, MASK = "image", "mask"
NAME = re.compile(r"(.+)/([0-9]{6,10})\.(image|mask)\.png")


class Row(NamedTuple):
    """What an example holds besides its images; empty where no feature was named for it."""

    label: int | None
    id: str
    group: str


class TfdsFiles:
    """A prepared set as `raw_files.RawFiles`, with `rows` for labels, ids and groups."""

    def __init__(
        self, folder: TfdsFolder, pictures: Mapping[str, str], max_megapixels: float
    ) -> None:
        """Open the files of all splits.

        Args:
            folder: see `tfds_folder.find_set`.
            pictures: `IMAGE`, and `MASK` where there are masks -> the feature that holds it.
            max_megapixels: `config.data.max_megapixels`.

        Raises:
            UserError: a file is missing or damaged, or holds another number of examples.
        """
        self.folder, self._pictures, self._max_megapixels = folder, pictures, max_megapixels
        self._records = {split: _opened(files) for split, files in folder.shards.items()}

    def count(self, split: str) -> int:
        """Return how many examples a split holds."""
        return len(self._records[split])

    def name(self, split: str, index: int, kind: str = IMAGE) -> str:
        """Return the name of the image, or of the mask, of an example."""
        return f"{split}/{index:06d}.{kind}.png"

    def names(self) -> list[str]:
        return sorted(
            self.name(split, index, kind)
            for split in self._records
            for index in range(self.count(split))
            for kind in self._pictures
        )

    def read(self, name: str) -> bytes:
        """Return an image or a mask: as it is stored, or as PNG where it is stored as a tensor.

        Raises:
            OSError: see `RawFiles.read`.
        """
        split, index, kind = self._place(name)
        feature = self._pictures[kind]
        most_px = int(self._max_megapixels * 1e6)
        example = self._example(split, index)
        data = picture(self.folder.features[feature], feature, example, most_px)
        check_size(name, len(data), self._max_megapixels)
        return data

    def row(self, split: str, index: int, label: str, id: str, group: str) -> Row:
        """Return label, id and group of an example, each from the feature of that name.

        Raises:
            OSError: the example cannot be read, or lacks one.
        """
        example = self._example(split, index) if label or id or group else {}
        features = self.folder.features
        return Row(
            number(label, example) if label else None,
            text(features[id], id, example) if id else "",
            text(features[group], group, example) if group else "",
        )

    def size(self, name: str) -> int:
        return len(self.read(name))

    def stamp(self) -> str:
        """Return a text that changes when a file of the set changes."""
        path = self.folder.path
        labels = sorted(path.glob(f"*{LABELS}"))
        shards = [file for files in self.folder.shards.values() for file, _ in files]
        digest = hashlib.sha256()
        for file in [path / INFO_FILE, path / FEATURES_FILE, *labels, *shards]:
            status = file.stat()
            digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def where(self, name: str) -> str:
        """Return the folder with the example, as TFDS counts it, and which image of it."""
        match = NAME.fullmatch(name)
        if match is None:
            return str(self.folder.path / name)
        kind = self._pictures.get(match[3], match[3])
        return f"{self.folder.path} {match[1]}[{int(match[2])}] {kind}"

    def skipped(self) -> Mapping[str, int]:
        return {}

    def lost(self) -> Mapping[str, str]:
        return {}

    def _place(self, name: str) -> tuple[str, int, str]:
        match = NAME.fullmatch(name)
        split, index = (match[1], int(match[2])) if match else ("", 0)
        there = split in self._records and index < self.count(split)
        if match is None or not there or match[3] not in self._pictures:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return split, index, match[3]

    def _example(self, split: str, index: int) -> Mapping[str, Any]:
        """Return the features of an example."""
        # With the rest of TFDS, which takes a third of a second: most commands read no such set.
        from google.protobuf.message import DecodeError
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            record = self._records[split][index]
            return tf_example_pb2.Example.FromString(record).features.feature
        except DecodeError:
            raise BadFile("is no tf.train.Example: copy or prepare the set again") from None
        except (ValueError, RuntimeError, IndexError) as error:  # what array_record raises
            raise BadFile(f"is damaged ({_reason(error)}): copy the set again") from None


def _opened(files: list[tuple[Any, int]]) -> Any:
    """Return the records of a split, by their numbers.

    Raises:
        UserError: a file is missing or damaged, or holds another number of records.
    """
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    for path, count in files:
        try:
            os.close(regular_handle(path))
            there = len(ArrayRecordDataSource([str(path)])) if count else 0
        except BadFile as error:
            raise UserError(f"{path} {error}") from None
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}: copy the set again") from None
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{path}: is damaged ({_reason(error)}): copy the set again") from None
        if there != count:
            raise UserError(
                f"{path}: holds {there} examples, but {INFO_FILE} says {count}: copy the set again"
            )
    return ArrayRecordDataSource([f"{path}[0:{count}]" for path, count in files if count])


def _reason(error: Exception) -> str:
    """Return what array_record says is wrong, without its numbers.

    >>> _reason(ValueError("chunk header hash mismatch (computed 0x1, stored 0x2); at offset 3"))
    'chunk header hash mismatch'
    """
    return re.split(r" \(|[;\n]", str(error))[0][:100]
