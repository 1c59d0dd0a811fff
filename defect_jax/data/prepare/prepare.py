"""Prepares a data set once, whole or not at all, and again when what it is made from changes.

A set is in `<data_dir>/<name>/<digest>`, where the digest covers the options, the state of the
raw files and the splits. It is built in a folder beside that and renamed at the end, so a killed
preparation leaves nothing that passes for whole; a lock, which the system takes back from a dead
process, lets several processes prepare at once, and tells which remains may be cleared away.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.reading import in_threads
from defect_jax.data.prepare import prepared
from defect_jax.data.prepare.builder import builder_class
from defect_jax.data.prepare.check import all_faults, listing_faults, refuse
from defect_jax.data.prepare.examine import Facts, examine, example
from defect_jax.data.prepare.prepared import Prepared, SplitRow
from defect_jax.data.prepare.summarise import summarise
from defect_jax.data.sources.data_sets import data_set
from defect_jax.data.sources.records import SPLITS, Catalogue, DataSet, Record
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path, exists, is_remote

LAYOUT = 2  # raised when what is stored changes, so that older folders are not used
PARTIAL = ".partial"
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR)


def prepare(data: ConfigDict, needed: Collection[str] = SPLITS) -> Prepared:
    """Return the prepared data set, and prepare it first if that has not been done.

    Args:
        data: `config.data`.
        needed: the splits to have; raw files of others need not be there.

    Raises:
        UserError: the data set has a fault (the first is named, with the number of others), or
            `config.data.data_dir` cannot be written.
    """
    chosen = data_set(data.name)
    home = _cache_folder(data) / data.name
    options = _options(data, chosen)
    try:
        raw = chosen.open(data)
    except UserError as error:
        return _without_raw_files(data, home, options, needed, error)
    needed = [split for split in SPLITS if split in needed]
    for splits in (list(SPLITS), needed):
        origin = {"layout": LAYOUT, "options": options, "raw": raw.stamp(), "splits": splits}
        directory = home / _digest(origin)
        if directory.is_dir():
            return prepared.load(directory, needed)
    with _writing(home), _lock(directory, f"waiting for another process that prepares {data.name}"):
        if not directory.is_dir():
            _clear_remains(home)
            _build(directory, chosen, raw, data, origin)
    return prepared.load(directory, needed)


def _cache_folder(data: ConfigDict) -> Path:
    if data.data_dir:
        folder = as_path(data.data_dir)
        if is_remote(folder):
            raise UserError(f"config.data.data_dir: {folder} is no local folder: give one")
        folder = folder.absolute()
    else:
        folder = _user_cache() / "defect_jax"
    root = as_path(data.root) if data.root else None
    if root is None or is_remote(root):
        return folder
    root = root.resolve()
    if root.is_dir() and folder.resolve().is_relative_to(root):
        raise UserError(f"config.data.data_dir: {folder} is in the raw data: choose another")
    return folder


def _user_cache() -> Path:
    try:
        return as_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    except UserError as error:  # a user without a home, as containers have
        raise UserError(f"config.data.data_dir: not set, and {error}") from error


def _options(data: ConfigDict, chosen: DataSet) -> dict[str, Any]:
    """Return what was asked for, in a form that survives JSON.

    What is empty is left out, since the config.json of an older run lacks the newer fields.
    """
    options = {name: data.get(name) for name in chosen.options}
    if data.root:
        root = as_path(data.root)
        options["root"] = str(root if is_remote(root) else root.resolve())
    options = json.loads(json.dumps(options))
    return {name: value for name, value in options.items() if value not in (None, [])}


def _digest(origin: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def _without_raw_files(
    data: ConfigDict, home: Path, options: dict[str, Any], needed: Collection[str], error: UserError
) -> Prepared:
    """Fall back to what was prepared before, if the raw data are gone rather than damaged."""
    if not data.root or _is_there(data.root):
        raise error
    candidates = []
    for directory in home.glob("[!.]*"):
        origin = prepared.read_origin(directory)
        if origin and (origin.get("layout"), origin.get("options")) == (LAYOUT, options):
            if set(needed) <= set(origin["splits"]):
                candidates.append((directory.stat().st_mtime_ns, directory))
    if not candidates:
        raise error
    directory = max(candidates)[1]
    say(f"{data.root} is gone; using what was prepared from it before: {directory}")
    return prepared.load(directory, needed)


def _is_there(root: str) -> bool:
    """Return whether there is something at the root; a bucket that does not answer is as good as
    gone."""
    path = as_path(root)
    if not is_remote(path):
        return path.exists()
    try:
        return exists(path)
    except OSError:
        return False


@contextlib.contextmanager
def _writing(home: Path) -> Iterator[None]:
    """Make the folder, and turn a full or read-only disk into a clear message."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        text = f"config.data.data_dir: cannot write to {home} ({error.strerror}): choose another"
        raise UserError(text) from error


@contextlib.contextmanager
def _lock(directory: Path, waiting: str) -> Iterator[None]:
    with open(directory.with_name(f".{directory.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clear_remains(home: Path) -> None:
    """Remove the folders of preparations that were killed: those whose lock nobody holds."""
    for remains in home.glob(f".*{PARTIAL}"):
        with open(remains.with_suffix(".lock"), "w") as file:
            # Our own lock is held through another file object, so ours counts as held as well.
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(remains)


def _build(
    directory: Path, chosen: DataSet, raw: RawFiles, data: ConfigDict, origin: dict[str, Any]
) -> None:
    needed = origin["splits"]
    found = chosen.catalogue(raw, data, needed)
    if listing_faults(found, needed):
        refuse(all_faults(raw, data, found, needed))
    found.records.sort(key=lambda record: (SPLITS.index(record.split), record.id))
    partial_folder = directory.with_name(f".{directory.name}{PARTIAL}")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir()
    try:
        stored = _store(partial_folder, raw, data, found)
        table = [
            (record.split, _row(record, facts), facts.image_sha256) for record, facts in stored
        ]
        info = summarise(data.name, stored, found)
        prepared.write(partial_folder, table, info, origin)
        os.rename(partial_folder, directory)
    except BaseException:
        shutil.rmtree(partial_folder, ignore_errors=True)
        raise
    for note in info.notes:
        say(f"{data.name}: {note}")


def _store(
    folder: Path, raw: RawFiles, data: ConfigDict, found: Catalogue
) -> list[tuple[Record, Facts]]:
    """Examine every image and store it at once; the first fault ends the storing."""
    stored = []
    look = partial(examine, raw, data, len(found.classes))
    looks = in_threads(look, found.records, f"Preparing {data.name}")

    def examples() -> Iterator[dict[str, Any]]:
        for one in looks:
            if one.faults:
                refuse(one.faults + [fault for other in looks for fault in other.faults])
            stored.append((one.record, one.facts))
            yield example(one)

    counts = Counter(record.split for record in found.records)
    every = examples()
    builder_class(data.name)(data_dir=str(folder), counts=counts, examples=every).store()
    # The builder takes as many as it was promised and no more; this lets the progress bar end.
    if next(every, None) is not None:
        raise RuntimeError(f"TFDS left images of {data.name} out")
    return stored


def _row(record: Record, facts: Facts) -> SplitRow:
    return SplitRow(
        id=record.id,
        group=record.group,
        class_name=record.class_name,
        label=int(facts.defect_px > 0),
        height=facts.height,
        width=facts.width,
        defect_px=facts.defect_px,
    )
