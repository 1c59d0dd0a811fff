"""Prepares a data set once, whole or not at all, and again when what it is made from changes.

A set is built in a folder beside its own (`set_folder`) and renamed at the end, so a killed
preparation leaves nothing that passes for whole; a lock, which the system takes back from a dead
process, lets several processes prepare at once, and tells which remains may be cleared away.
"""

import contextlib
import errno
import fcntl
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
from defect_jax.data.prepare import prepared, set_folder
from defect_jax.data.prepare.builder import builder_class
from defect_jax.data.prepare.check import all_faults, faults_together, listing_faults, refuse
from defect_jax.data.prepare.earlier_sets import best_substitute
from defect_jax.data.prepare.examine import Facts, examine, example, split_row
from defect_jax.data.prepare.identical import kept_together
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.data.prepare.set_folder import cache_folder, directory_of, options_of, origin_of
from defect_jax.data.prepare.summarise import summarise
from defect_jax.data.sources.data_sets import data_set
from defect_jax.data.sources.records import SPLITS, Catalogue, DataSet, Record
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path, exists, is_remote

PARTIAL = ".partial"
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR)


def prepare(
    data: ConfigDict, needed: Collection[str] = SPLITS, trained_on: str | None = None
) -> Prepared:
    """Return the prepared data set, and prepare it first if that has not been done.

    Args:
        data: `config.data`.
        needed: the splits to have; raw files of others need not be there.
        trained_on: fingerprint of the set to take, of those there are, where the raw files are
            gone.

    Raises:
        UserError: the data set has a fault (the first is named, with the number of others), or
            `config.data.data_dir` cannot be written.
    """
    chosen = data_set(data.name)
    cache_folder(data)  # a wrong one is refused before anything is read
    try:
        raw = opened(data, chosen, trained_on)
    except UserError as error:
        return without_raw_files(data, chosen, needed, trained_on, error)
    return from_raw_files(data, chosen, raw, needed)


def opened(data: ConfigDict, chosen: DataSet, trained_on: str | None) -> RawFiles:
    """Open the raw files; for a network that is trained, an empty root is as good as none.

    That is what is left of a disk that is not mounted.

    Raises:
        UserError: there are none.
    """
    raw = chosen.open(data)
    if trained_on and not raw.names():
        raise UserError(f"config.data.root: {data.root} is empty: give the folder with the data")
    return raw


def from_raw_files(
    data: ConfigDict, chosen: DataSet, raw: RawFiles, needed: Collection[str]
) -> Prepared:
    """Return what was prepared from the raw files as they are, and prepare it first if need be."""
    all_at_once = data.get("masked_positives") is not None  # they are counted over the splits
    needed = [split for split in SPLITS if split in needed or all_at_once]
    whole = origin_of(data, chosen, raw, SPLITS)
    for splits in (list(SPLITS), needed):
        origin = whole | {"splits": splits}
        directory = directory_of(data, origin)
        if directory.is_dir():
            return prepared.load(directory, needed)
    home = directory.parent
    with _writing(home), _lock(directory, f"waiting for another process that prepares {data.name}"):
        if not directory.is_dir():
            _clear_remains(home)
            _build(directory, chosen, raw, data, origin)
    return prepared.load(directory, needed)


def without_raw_files(
    data: ConfigDict,
    chosen: DataSet,
    needed: Collection[str],
    trained_on: str | None,
    error: UserError,
) -> Prepared:
    """Fall back to what was prepared before, if the raw data are gone rather than damaged."""
    if _is_there(data.root) if data.root else trained_on is None:
        raise error
    home, options = cache_folder(data) / data.name, options_of(data, chosen)
    substitute = best_substitute(home, set_folder.LAYOUT, options, needed, trained_on)
    if substitute is None:
        raise error
    directory, origin, _ = substitute
    gone = f"{data.root} is gone" if data.root else "config.data.root is not set"
    say(f"{gone}; using what was prepared before: {directory}")
    return prepared.load(directory, origin["splits"] if trained_on else needed)


def _is_there(root: str) -> bool:
    """Return whether there is something at the root; a bucket that does not answer is as good as
    gone, and so is an empty folder."""
    path = as_path(root)
    try:
        if is_remote(path):
            return exists(path)

        return any(path.iterdir()) if path.is_dir() else path.exists()
    except OSError:
        return not is_remote(path)  # what may not be looked at is there


@contextlib.contextmanager
def _writing(home: Path) -> Iterator[None]:
    """Make the folder, and turn a full or read-only disk into a clear message."""
    made = False
    try:
        home.mkdir(parents=True, exist_ok=True)
        made = True
        yield
    except OSError as error:
        if made and error.errno not in NOT_WRITABLE:
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
        stored = _store_together(partial_folder, raw, data, found)
        refuse(faults_together(raw, data, found, stored))
        table = [(record.split, split_row(record, facts)) for record, facts in stored]
        info = summarise(data.name, stored, found)
        prepared.write(partial_folder, table, info, origin)
        os.rename(partial_folder, directory)
    except BaseException:
        shutil.rmtree(partial_folder, ignore_errors=True)
        raise
    for note in info.notes:
        say(f"{data.name}: {note}")


def _store_together(
    folder: Path, raw: RawFiles, data: ConfigDict, found: Catalogue
) -> list[tuple[Record, Facts]]:
    """Store every image, and all again where their pixels show that some belong into one split."""
    stored = _store(folder, raw, data, found)
    records = kept_together(found, stored)
    if records is None:
        return stored
    found.records = records
    shutil.rmtree(folder)
    folder.mkdir()
    return _store(folder, raw, data, found)


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
