"""split.csv of a workdir: which images the network has learnt, by content.

A data set grows, is corrected and renamed while its networks are in use. What a network was trained
on stays what it was, so the workdir keeps it, and is judged by that alone.
"""

import csv
import io
from collections.abc import Iterable
from typing import NamedTuple

from defect_jax.data.prepare.folds import OUT_OF_FOLD, is_fold
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.data.sources.records import SPLITS
from defect_jax.distributed import processes
from defect_jax.runtime.atomic_files import write_text
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import csv_text, from_cell
from defect_jax.runtime.paths import AnyPath, exists, read_text

SPLIT_FILE = "split.csv"


class KeptRow(NamedTuple):
    """One image as it was when training began.

    Attributes:
        sha256: of the image's file.
        mask_sha256: of the mask's file, that of nothing where there was none; empty where an older
            version has not noted it.
    """

    split: str
    id: str
    group: str
    class_name: str
    label: int
    sha256: str
    mask_sha256: str


def rows_of(prepared: Prepared) -> list[KeptRow]:
    """Return what is kept of a prepared set."""
    return [
        KeptRow(name, row.id, row.group, row.class_name, row.label, row.sha256, row.mask_sha256)
        for name, split in prepared.splits.items()
        for row in split.rows
    ]


def keep(workdir: AnyPath, prepared: Prepared, anew: bool) -> None:
    """Write split.csv; a run that goes on has it already, and only one that begins `anew` writes
    it over what another left that had saved nothing."""
    path = workdir / SPLIT_FILE
    if exists(path) and not anew:
        return
    try:
        write_text(path, csv_text([KeptRow._fields, *rows_of(prepared)]))
    except OSError as error:
        raise UserError(f"--workdir {workdir}: cannot be written: {error.strerror}") from error


def read(workdir: AnyPath) -> list[KeptRow] | None:
    """Return what split.csv holds, on all hosts alike; None where there is none.

    Raises:
        UserError: it cannot be read, or is no such table.
    """
    path = workdir / SPLIT_FILE
    text = processes.from_first(lambda: _text(path))
    if text is None:
        return None
    try:
        rows = kept_rows(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (csv.Error, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: is damaged ({str(error):.80}): copy it from where the network was trained"
        ) from error
    return rows


def judged(workdir: AnyPath) -> list[str]:
    """Return the splits that a run ends with judging: test; of folds these, and test if it is
    there."""
    splits = {row.split for row in read(workdir) or []}
    if not any(map(is_fold, splits)):
        return ["test"]
    return [OUT_OF_FOLD, *(["test"] if "test" in splits else [])]


def kept_rows(lines: Iterable[dict[str, str]]) -> list[KeptRow]:
    """Read lines of split.csv, of a workdir or of a prepared set.

    Raises:
        LookupError, TypeError, ValueError: they are not such lines.
    """
    rows = [
        KeptRow(
            split=_known(line["split"]),
            id=from_cell(line["id"]),
            group=from_cell(line["group"]),
            class_name=from_cell(line["class_name"]),
            label=("0", "1").index(line["label"]),
            sha256=line["sha256"],
            mask_sha256=line.get("mask_sha256", ""),
        )
        for line in lines
    ]
    if any(cell is None for row in rows for cell in row):
        raise ValueError("a line is cut off")
    if len({row.id for row in rows}) < len(rows) or not rows:
        raise ValueError("an id twice" if rows else "no line")
    return rows


def _known(split: str) -> str:
    return split if is_fold(split) else SPLITS[SPLITS.index(split)]


def _text(path: AnyPath) -> str | None:
    try:
        return read_text(path) if exists(path) else None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
