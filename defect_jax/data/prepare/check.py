"""All faults of a data set in one pass (`--mode=check`)."""

from collections.abc import Collection
from functools import partial

from ml_collections import ConfigDict

from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.reading import in_threads
from defect_jax.data.prepare.examine import examine
from defect_jax.data.sources.data_sets import data_set
from defect_jax.data.sources.records import SPLITS, Catalogue, Fault, name_faults, split_faults
from defect_jax.runtime.console import answer
from defect_jax.runtime.errors import UserError


def find_faults(data: ConfigDict) -> list[Fault]:
    """Read the whole data set and return every fault found; change nothing.

    Args:
        data: `config.data`.
    """
    try:
        chosen = data_set(data.name)
        raw = chosen.open(data)
        found = chosen.catalogue(raw, data, SPLITS)
    except UserError as error:  # nothing more can be said about this data set
        where, _, what = str(error).partition(": ")
        return [Fault(where, what)]
    return all_faults(raw, data, found, SPLITS)


def report_faults(data: ConfigDict) -> None:
    """Print every fault of a data set, one a line.

    Raises:
        UserError: there is at least one.
    """
    faults = find_faults(data)
    for fault in faults:
        answer(str(fault))
    if faults:
        raise UserError(f"{data.name}: faults to mend: {len(faults)}, listed above")
    answer(f"{data.name}: no fault found")


def all_faults(
    raw: RawFiles, data: ConfigDict, found: Catalogue, needed: Collection[str]
) -> list[Fault]:
    """Return the faults of the file names, of the splits, and of every image and mask."""
    faults = listing_faults(found, needed)
    look = partial(examine, raw, data, len(found.classes))
    for examined in in_threads(look, found.records, "Checking images"):
        faults += examined.faults
    return faults


def listing_faults(found: Catalogue, needed: Collection[str]) -> list[Fault]:
    """Return the faults that are known before any image is opened."""
    classes = {
        split: [record.class_name for record in found.records if record.split == split]
        for split in SPLITS
        if split in needed
    }
    return found.faults + name_faults(found.records) + split_faults(classes, found.has_good)


def refuse(faults: list[Fault]) -> None:
    """Stop with the first fault and the number of the others, if there is any.

    Raises:
        UserError: there is at least one fault.
    """
    if faults:
        more = len(faults) - 1
        rest = f" (and {more} more: --mode=check lists them all)" if more else ""
        raise UserError(f"{faults[0]}{rest}")
