"""A data set as TFDS has prepared it: which folder it is in, and what is said beside its images.

TFDS imports the Python module that `features.json` names for each feature, and a prepared set may
come from somebody else. So TFDS reads none of it: both files are read here, as JSON within limits,
and no name in them is ever imported. Of `dataset_info.json` the name, the format and the splits
count; `moduleName` and the rest are passed over.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from defect_jax.data.files.tfds_features import Feature, NotTfds, all_features
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import read_json, read_limited
from defect_jax.runtime.paths import as_path, is_remote

FEATURES_FILE, INFO_FILE, LABELS = "features.json", "dataset_info.json", ".labels.txt"
FORMAT = "array_record"
DOWNLOADS = "downloads"  # TFDS puts them beside the sets
SPELLING = re.compile(r"([A-Za-z]\w*)(?:/([\w.+-]+))?(?::([0-9]+\.[0-9]+\.[0-9]+))?", re.ASCII)
VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+", re.ASCII)
PLAIN = re.compile(r"\w[\w-]*", re.ASCII)  # names of sets and splits, which are parts of file names
SHARDS = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
MOST_INFO_BYTES = 16 << 20  # with statistics of every feature
MOST_LABEL_BYTES = 1 << 20
MOST_SHARDS, MOST_EXAMPLES = 100_000, 10**9


class TfdsFolder(NamedTuple):
    """One version of a prepared set.

    Attributes:
        path: of the folder with the version's files.
        features: by name; one inside another is named as `outer/inner`.
        shards: split -> its files, and how many examples each holds.
    """

    path: Path
    features: dict[str, Feature]
    shards: dict[str, list[tuple[Path, int]]]


def find_set(root: str, spelled: str) -> TfdsFolder:
    """Return the set that `config.data.tfds` names below the TFDS folder `root`.

    Raises:
        UserError: there is none, TFDS has not written it, or in a format that needs TensorFlow.
    """
    path = _version_folder(_data_dir(root), spelled)
    try:
        info, features = (_json(path / INFO_FILE, MOST_INFO_BYTES), _json(path / FEATURES_FILE))
        _refuse_other_formats(path, info)
        shards = _shards(path, info)
    except NotTfds as error:
        raise UserError(f"{path / INFO_FILE}: {error}: copy or prepare the set again") from None
    try:
        return TfdsFolder(path, all_features(features), shards)
    except NotTfds as error:
        text = f"{path / FEATURES_FILE}: {error}: prepare the set again with TFDS 4.9 or newer"
        raise UserError(text) from None


def label_names(folder: TfdsFolder, name: str) -> list[str]:
    """Return the names of the classes of a ClassLabel; none where TFDS has written none."""
    path = folder.path / f"{name.replace('/', '-')}{LABELS}"
    try:
        lines = read_limited(path, MOST_LABEL_BYTES).split("\n")
    except FileNotFoundError:
        return []
    return [line.strip() for line in lines if line.strip()]  # as TFDS reads them


def _data_dir(root: str) -> Path:
    advice = "give the folder that TFDS prepares into, its data_dir"
    if not root:
        raise UserError(f"config.data.root: not set: {advice}")
    path = as_path(root)
    if is_remote(path):
        raise UserError(f"config.data.root: {path} is in a bucket: copy the set to a disk first")
    if not path.is_dir():
        raise UserError(f"config.data.root: {path} is no folder that is there: {advice}")
    return path


def _version_folder(root: Path, spelled: str) -> Path:
    """Return the folder of the version that is named, or of the highest."""
    given = SPELLING.fullmatch(spelled)
    if given is None:
        what = f"{spelled!r} names no set" if spelled else "not set"
        raise UserError(f"config.data.tfds: {what}: give NAME[/CONFIG][:VERSION], as 'mnist:3.0.1'")
    name, config, version = given.groups()
    folder = _below(root, name, "set")
    if config:
        folder = _below(folder, config, "config")
    there = [entry for entry in _folders(folder) if VERSION.fullmatch(entry)]
    if not there and not config:
        found = ", ".join(f"{name}/{entry}" for entry in _folders(folder)) or "nothing"
        raise UserError(f"config.data.tfds: {folder} holds no version, but {found}: give one")
    if version and version not in there:
        text = f"{folder} has no version {version}; there are {', '.join(there) or 'none'}"
        raise UserError(f"config.data.tfds: {text}: give one of them, or prepare it")
    if not there:
        raise UserError(f"config.data.tfds: {folder} holds no version: prepare the set")
    return folder / (version or max(there, key=lambda text: [int(n) for n in text.split(".")]))


def _below(folder: Path, name: str, kind: str) -> Path:
    if not (folder / name).is_dir():
        found = ", ".join(_folders(folder)[:20]) or "none"
        raise UserError(
            f"config.data.tfds: {folder} holds no {kind} {name!r}; there are {found}: give one of "
            "them, or prepare it"
        )
    return folder / name


def _folders(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    return [name for name in names if name[0].isalnum() and name != DOWNLOADS]


def _json(path: Path, most_bytes: int = MOST_LABEL_BYTES) -> Any:
    try:
        return read_json(path, most_bytes)
    except FileNotFoundError:
        raise UserError(f"{path}: is not there: copy or prepare the set again") from None


def _refuse_other_formats(path: Path, info: Any) -> None:
    """Refuse what only TensorFlow reads, and say how to have it in the other format.

    Raises:
        NotTfds: the file has no fields.
    """
    if not isinstance(info, Mapping):
        raise NotTfds("is not what TFDS writes")
    written = info.get("fileFormat", "tfrecord")
    others = info.get("alternativeFileFormats", [])
    if written != FORMAT and FORMAT not in (others if isinstance(others, list) else ()):
        raise UserError(
            f"{path}: is stored as {str(written)[:40]}, and only {FORMAT} is read: prepare it with "
            f"file_format={FORMAT!r}, or convert it where TensorFlow is: tfds convert_format "
            f"--dataset_version_dir={path} --out_file_format={FORMAT}"
        )


def _shards(path: Path, info: Mapping[str, Any]) -> dict[str, list[tuple[Path, int]]]:
    """Return split -> its files with their numbers of examples; splits without any are left out.

    Raises:
        NotTfds: a field is not what TFDS writes.
    """
    name, splits = info.get("name"), info.get("splits", [])
    if not (isinstance(name, str) and PLAIN.fullmatch(name)) or not isinstance(splits, list):
        raise NotTfds("has no name of a set, or no splits")
    shards = {}
    for split in splits:
        called, lengths = _split(split)
        files = [
            path / f"{name}-{called}.{FORMAT}-{number:05d}-of-{len(lengths):05d}"
            for number in range(len(lengths))
        ]
        if any(lengths):
            shards[called] = list(zip(files, lengths, strict=True))
    return shards


def _split(split: Any) -> tuple[str, list[int]]:
    """Return the name of a split and the number of examples of each of its files."""
    fields = split if isinstance(split, Mapping) else {}
    called, lengths = fields.get("name"), fields.get("shardLengths", [])
    if not isinstance(called, str) or not PLAIN.fullmatch(called):
        raise NotTfds("has a split without a plain name")
    if fields.get("filepathTemplate", SHARDS) != SHARDS:
        raise NotTfds(f"names the files of {called} in a way of its own, which is not read")
    counts = [int(n) for n in lengths if isinstance(n, str) and n.isdecimal() and len(n) < 11]
    if len(counts) != len(lengths) or len(counts) > MOST_SHARDS or sum(counts) > MOST_EXAMPLES:
        raise NotTfds(f"has shardLengths of {called} that are no numbers of examples")
    return called, counts
