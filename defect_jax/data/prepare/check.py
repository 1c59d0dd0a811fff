"""All faults of a data set in one pass (`--mode=check`)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from ml_collections import ConfigDict

from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.reading import in_threads
from defect_jax.data.prepare.depths import depth_faults
from defect_jax.data.prepare.examine import Facts, examine
from defect_jax.data.prepare.grouping import Alike, alike_images
from defect_jax.data.prepare.identical import identical_faults, kept_together
from defect_jax.data.prepare.plausibility import doubts_about_masks
from defect_jax.data.prepare.prepared import DataInfo
from defect_jax.data.prepare.summarise import channel_faults, summarise
from defect_jax.data.sources.data_sets import data_set
from defect_jax.data.sources.records import (
    SPLITS,
    Catalogue,
    Fault,
    Record,
    name_faults,
    split_faults,
)
from defect_jax.runtime.errors import UserError


@dataclass(frozen=True)
class Inspection:
    """All that a look at every file of a data set says.

    Attributes:
        faults: what the user has to mend.
        raw, found: the files and what they are; None where they cannot even be listed.
        stored: the images without faults, in the order in which they would be stored.
        alike: near-duplicates among those.
        info: what would hold for the prepared set; None where no image is without faults.
    """

    faults: list[Fault]
    raw: RawFiles | None = None
    found: Catalogue | None = None
    stored: Sequence[tuple[Record, Facts]] = ()
    alike: Alike = Alike([], True)
    info: DataInfo | None = None


def inspect(data: ConfigDict) -> Inspection:
    """Read the whole data set as it would be prepared; change nothing.

    Args:
        data: `config.data`.
    """
    try:
        chosen = data_set(data.name)
        raw = chosen.open(data)
        found = chosen.catalogue(raw, data, SPLITS)
    except UserError as error:  # nothing more can be said about this data set
        return Inspection([as_fault(error)])
    found.records.sort(key=lambda record: (SPLITS.index(record.split), record.id))
    faults, stored = _look(raw, data, found, SPLITS)
    alike = alike_images(stored)
    info = summarise(data.name, stored, found, alike) if stored else None
    return Inspection(faults, raw, found, stored, alike, info)


def find_faults(data: ConfigDict) -> list[Fault]:
    """Read the whole data set and return every fault found; change nothing."""
    return inspect(data).faults


def as_fault(error: UserError) -> Fault:
    """Return what an error says as a fault: the file or field before the first colon."""
    where, _, what = str(error).partition(": ")
    return Fault(where, what)


def all_faults(
    raw: RawFiles, data: ConfigDict, found: Catalogue, needed: Collection[str]
) -> list[Fault]:
    """Return the faults of the file names, of the splits, and of every image and mask.

    What is odd about the masks is added to the notes of `found`.
    """
    return _look(raw, data, found, needed)[0]


def _look(
    raw: RawFiles, data: ConfigDict, found: Catalogue, needed: Collection[str]
) -> tuple[list[Fault], list[tuple[Record, Facts]]]:
    """Return all faults, and the images that have none by themselves."""
    faults, stored = listing_faults(found, needed), []
    look = partial(examine, raw, data, len(found.classes))
    for examined in in_threads(look, found.records, "Checking images"):
        faults += examined.faults
        stored += [(examined.record, examined.facts)] if examined.facts else []
    stored = _as_kept_together(found, stored)
    return faults + faults_together(raw, data, found, stored), stored


def faults_together(
    raw: RawFiles, data: ConfigDict, found: Catalogue, stored: Sequence[tuple[Record, Facts]]
) -> list[Fault]:
    """Return the faults that images without one by themselves have beside each other.

    What is odd about the masks, but may be meant, is added to the notes of `found`.
    """
    doubts = doubts_about_masks(raw, data, stored)
    found.notes += doubts.notes
    depths = [(raw.where(record.image), facts.depth) for record, facts in stored]
    faults = doubts.faults + depth_faults(depths) + channel_faults(stored)
    return faults + (identical_faults(raw, stored) if found.own else [])


def _as_kept_together(
    found: Catalogue, stored: list[tuple[Record, Facts]]
) -> list[tuple[Record, Facts]]:
    """Return the images in the splits in which `prepare` would store them."""
    records = kept_together(found, stored)
    if records is None:
        return stored
    found.records, facts = records, {record.id: facts for record, facts in stored}
    return [(record, facts[record.id]) for record in records if record.id in facts]


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
