"""A prepared data set on disk: its tables, and its images as random-access sources.

<directory>/split.csv    one row an image, in the order of the sources
<directory>/info.json    what holds for the whole set, and what it was prepared from
<directory>/<name>/...   the images, as TFDS wrote them
"""

import csv
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from defect_jax.data.prepare.stored_features import check_rows, checked_fields, checked_folder
from defect_jax.data.sources.records import SPLITS
from defect_jax.runtime.atomic_files import write_text
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import csv_text, from_cell
from defect_jax.runtime.json_files import read_json

SPLIT_FILE = "split.csv"
INFO_FILE = "info.json"
ORIGIN = ("layout", "options", "raw", "splits")  # of what a set was prepared
MOST_INFO_BYTES = 16 << 20  # notes may list many files
COLUMNS = (
    "split", "id", "group", "class_name", "label", "height", "width", "defect_px", "sha256",
    "mask_sha256", "masked", "ignored_px",
)  # fmt: skip


class SplitRow(NamedTuple):
    """What is known of an image without decoding it; sizes in px.

    The hashes are of the raw files, `mask_sha256` that of nothing where there is no mask. `masked`
    is 0 for a defective image whose defect nobody has drawn: its mask is not known. `ignored_px`
    counts the pixels that are not judged, see `data.geometry.region`.
    """

    id: str
    group: str
    class_name: str
    label: int
    height: int
    width: int
    defect_px: int
    sha256: str = ""
    mask_sha256: str = ""
    masked: int = 1
    ignored_px: int = 0


@dataclass(frozen=True)
class Split:
    """The images of one split.

    Attributes:
        source: random access, may be pickled. An element is a dict of id, group and class_name
            (bytes), label, height, width and masked (integers), image (bytes for
            `images.decode_image`), mask (an 8-bit PNG of one channel with class ids, 0 for
            background, all 0 for a good part and for a mask that is not known) and ignored (such a
            PNG of what is not judged, see `data.geometry.region`; empty where all is).
        rows: one for each element of `source`, in the same order.
        decoded_cache: `pipeline.decoded_cache.DecodedCache`; None: each image is decoded anew.
        disturbance: `distortions.disturbance.Disturbance` of each image; None: as it was stored.
    """

    source: Any
    rows: list[SplitRow]
    decoded_cache: Any = None
    disturbance: Any = None


@dataclass(frozen=True)
class DataInfo:
    """What holds for a whole prepared set.

    Attributes:
        name: the data set's name.
        channels: 1 if all images are grey, else 3; of shots of several lights the sum of `lights`.
        bit_depth: 8 if all images have 8 bits a channel, else 16.
        fingerprint: SHA-256 over the ids, the image files and the mask files; with several
            classes also over what decides the class ids.
        leaking: True when images of one part are in several splits.
        notes: what the user should know, one sentence each.
        classes: names of the classes 1 … N of the masks.
        lights: channels of each light of shots of several, 1 or 3; empty where there is one.
    """

    name: str
    channels: int
    bit_depth: int
    fingerprint: str
    leaking: bool
    notes: list[str]
    classes: list[str]
    lights: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready for training and evaluation."""

    directory: Path
    splits: dict[str, Split]
    info: DataInfo


def write(
    directory: Path,
    table: Sequence[tuple[str, SplitRow]],
    info: DataInfo,
    origin: dict[str, Any],
) -> None:
    """Write the tables of a prepared set.

    Args:
        directory: where the images already are.
        table: split and row of every image, split after split.
        info: what holds for the whole set.
        origin: what it was prepared from, kept in info.json.
    """
    rows = ((split, *row) for split, row in table)
    write_text(directory / SPLIT_FILE, csv_text([COLUMNS, *rows]))
    write_text(directory / INFO_FILE, json.dumps(asdict(info) | {"origin": origin}, indent=2))


def read_origin(directory: Path) -> tuple[dict[str, Any], str] | None:
    """Return what a set was prepared from, and its fingerprint, or None where nothing can be
    read."""
    try:
        fields = read_json(directory / INFO_FILE, MOST_INFO_BYTES)
        origin = {name: fields["origin"][name] for name in ORIGIN}
        fingerprint = fields["fingerprint"]
    except (OSError, UserError, LookupError, TypeError):
        return None
    splits, layout = origin["splits"], origin["layout"]
    known = isinstance(splits, list) and all(split in SPLITS for split in splits)
    known = known and isinstance(layout, int) and isinstance(origin["options"], dict)
    return (origin, fingerprint) if known and isinstance(fingerprint, str) else None


def load(directory: Path, needed: Collection[str]) -> Prepared:
    """Open a prepared set.

    Raises:
        UserError: files of it are gone or damaged.
    """
    try:
        info = _read_info(directory)
        rows = _read_rows(directory)
        check_rows(row for split in rows.values() for row in split)
        builder = tfds.builder_from_directory(checked_folder(directory, info.name))
        sources = {split: builder.as_data_source(split) for split in SPLITS if split in needed}
        splits = {split: Split(source, rows[split]) for split, source in sources.items()}
        whole = all(len(split.source) == len(split.rows) for split in splits.values())
    except Exception as error:
        # JSON, CSV, TFDS and array_record each have exceptions of their own for a damaged file.
        raise UserError(
            f"{directory} is damaged ({error}): delete it to prepare it again"
        ) from error
    if not whole:
        raise UserError(f"{directory} is damaged (images are missing): delete it")
    return Prepared(directory, splits, info)


def _read_info(directory: Path) -> DataInfo:
    fields = read_json(directory / INFO_FILE, MOST_INFO_BYTES)
    del fields["origin"]
    return DataInfo(**checked_fields(DataInfo, fields))


def _read_rows(directory: Path) -> dict[str, list[SplitRow]]:
    rows = {split: [] for split in SPLITS}
    with (directory / SPLIT_FILE).open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file, strict=True):
            texts = [from_cell(line[name]) for name in SplitRow._fields[:3]]
            numbers = [int(line[name]) for name in SplitRow._fields[3:7]]
            hashes = [line[name] for name in SplitRow._fields[7:9]]
            row = SplitRow(*texts, *numbers, *hashes, int(line["masked"]), int(line["ignored_px"]))
            rows[line["split"]].append(row)
    return rows
