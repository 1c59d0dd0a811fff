"""Whether the files of a prepared set are what `builder` and `prepared` write, before TFDS reads
them.

TFDS imports the Python class that `features.json` names. A prepared set may come from somebody
else, so the file must say word for word what our builder's says, and `dataset_info.json` nothing
but what ours does: then no name in them is anybody's choice.
"""

import functools
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from defect_jax.data.prepare.builder import stored_features
from defect_jax.data.sources.records import SPLITS
from defect_jax.runtime.json_files import read_json

FEATURES_FILE, DATA_SET_FILE = "features.json", "dataset_info.json"
NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
VERSION_FOLDER = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
OUR_MODULE = re.compile(r"defect_jax(\.[a-z_]+)*")
SHARDS = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
LARGEST_SIDE_PX = 2**20


class NotOurs(ValueError):
    """A file holds what no program of ours writes."""


def checked_folder(directory: Path, name: str) -> Path:
    """Return the folder that TFDS may read the images of a set from.

    Args:
        directory: of the prepared set.
        name: the data set's, from info.json.

    Raises:
        NotOurs: a file in it is not what our builder writes.
    """
    if not NAME.fullmatch(name):
        raise NotOurs(f"{name[:40]!r} is no data set's name")
    (folder,) = (directory / name).iterdir()  # TFDS puts the version here
    if not VERSION_FOLDER.fullmatch(folder.name):
        raise NotOurs(f"{folder.name[:40]!r} is no version")
    if read_json(folder / FEATURES_FILE) != _our_features():
        raise NotOurs(f"{FEATURES_FILE} is not ours")
    _check_data_set(read_json(folder / DATA_SET_FILE), name)
    return folder


@functools.cache
def _our_features() -> Any:
    """Return what TFDS writes for our features."""
    with TemporaryDirectory() as folder:
        stored_features().save_config(folder)
        return read_json(Path(folder) / FEATURES_FILE)


def _check_data_set(found: Any, name: str) -> None:
    if not isinstance(found, dict):
        raise NotOurs(f"{DATA_SET_FILE} is not ours")
    expected = {
        "name": lambda value: value == name,
        "fileFormat": lambda value: value == "array_record",
        "version": lambda value: _fits(VERSION_FOLDER, value),
        "moduleName": lambda value: _fits(OUR_MODULE, value),
        "description": lambda value: isinstance(value, str),
        "disableShuffling": lambda value: value is True,
        "splits": lambda value: isinstance(value, list) and all(map(_is_split, value)),
    }
    for field, value in found.items():
        if field not in expected or not expected[field](value):
            raise NotOurs(f"{DATA_SET_FILE}: {field[:40]!r} is not ours")
    if missing := expected.keys() - found.keys():
        raise NotOurs(f"{DATA_SET_FILE}: {min(missing)!r} is missing")


def _is_split(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    lengths = value.get("shardLengths", [])
    return (
        value.keys() <= {"filepathTemplate", "name", "numBytes", "shardLengths"}
        and value.get("filepathTemplate") == SHARDS
        and value.get("name") in SPLITS
        and isinstance(lengths, list)
        and all(_is_count(text) for text in [value.get("numBytes", "0"), *lengths])
    )


def _is_count(text: Any) -> bool:
    return isinstance(text, str) and text.isdecimal() and len(text) < 16


def _fits(pattern: re.Pattern, value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def checked_fields(kind: type, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass of texts, numbers and lists of these, as JSON has them.

    Raises:
        NotOurs: one is missing, not known, or of another type.
    """
    hints, names = typing.get_type_hints(kind), {field.name for field in fields(kind)}
    if found.keys() != names:
        raise NotOurs(f"fields are {sorted(found)}, must be {sorted(names)}")
    for name, value in found.items():
        wanted = typing.get_origin(hints[name]) or hints[name]
        (of,) = typing.get_args(hints[name]) or (object,)
        items = value if isinstance(value, list) else []
        if type(value) is not wanted or any(not isinstance(item, of) for item in items):
            raise NotOurs(f"{name} is not {hints[name]}")
    return dict(found)


def check_rows(rows: Iterable[Any]) -> None:
    """Check the numbers of `prepared.SplitRow`s: they decide how much memory is asked for.

    Raises:
        NotOurs: a number is out of its range; the image is named.
    """
    for row in rows:
        sides = row.height, row.width
        inside = all(1 <= side <= LARGEST_SIDE_PX for side in sides)
        inside = inside and row.label in (0, 1) and row.masked in (0, 1)
        counts = row.defect_px, row.ignored_px
        if not inside or not all(0 <= count <= row.height * row.width for count in counts):
            raise NotOurs(f"the numbers of {row.id[:100]!r} are out of range")
