"""What near-duplicates say of the groups and splits of a data set: notes, and groups to propose."""

from collections.abc import Sequence
from typing import NamedTuple

from defect_jax.data.prepare.examine import Facts
from defect_jax.data.prepare.near_duplicates import find_pairs
from defect_jax.data.sources.groups import joined_groups
from defect_jax.data.sources.records import Catalogue, Record, listed

Stored = Sequence[tuple[Record, Facts]]
NOT_TOLD_APART = (
    "the images are too alike to tell near-duplicates by hashes: only you know which show one part"
)


class Alike(NamedTuple):
    """Near-duplicates that are not in one group.

    Attributes:
        pairs: two rows of what is stored, each.
        complete: False where the images are too alike to tell.
    """

    pairs: list[tuple[int, int]]
    complete: bool


def alike_images(stored: Stored) -> Alike:
    """Find the near-duplicates that no group keeps together."""
    rows, complete = find_pairs([facts.thumbnail for _, facts in stored if facts.thumbnail])
    groups = [record.group for record, facts in stored if facts.thumbnail]
    pairs = [(one, other) for one, other in rows.tolist() if groups[one] != groups[other]]
    return Alike(pairs, complete)


def grouping_notes(stored: Stored, found: Catalogue, alike: Alike) -> list[str]:
    """Say whether groups were known, and what near-duplicates there are in spite of them."""
    notes = []
    if not found.grouped:
        who = "there is no groups.csv" if found.own else "the release names no parts"
        notes.append(f"{who}: every image counts as a part of its own")
    if not alike.complete:
        return notes + [NOT_TOLD_APART]
    if alike.pairs:
        rows = {row for pair in alike.pairs for row in pair}
        shown = [f"{stored[one][0].id} ~ {stored[other][0].id}" for one, other in alike.pairs]
        hint = " (--mode=check proposes groups)" * found.own
        notes.append(
            f"{len(rows)} images look like one of another group{hint}: {listed(shown, most=3)}"
        )
    return notes + _across_splits(stored, found, alike)


def _across_splits(stored: Stored, found: Catalogue, alike: Alike) -> list[str]:
    """Say how many images of each split have a near-duplicate in training."""
    seen = {row for pair in alike.pairs for row in pair if _is_met_in_training(stored, pair, row)}
    told = []
    for split in ("val", "test"):
        rows = [row for row, (record, _) in enumerate(stored) if record.split == split]
        defective = [row for row in rows if stored[row][0].label]
        met = [row for row in rows if row in seen]
        if met:
            told.append(
                f"{len(met)} of {len(rows)} images of {split} "
                f"({len(seen & set(defective))} of {len(defective)} defective)"
            )
    if not told:
        return []
    # The page of the report makes a warning of a note that speaks of leaking.
    start = "" if found.grouped else "leaking, as it seems: "
    return [f"{start}{' and '.join(told)} look like an image of train"]


def _is_met_in_training(stored: Stored, pair: tuple[int, int], row: int) -> bool:
    (other,) = set(pair) - {row}
    return stored[row][0].split != "train" and stored[other][0].split == "train"


def proposed_groups(records: Sequence[Record], stored: Stored, alike: Alike) -> dict[str, str]:
    """Return the group of every image by its id, with near-duplicates joined.

    Args:
        records: all images, also those with faults, which no pair names.
    """
    sets = [(stored[one][0].group, stored[other][0].group) for one, other in alike.pairs]
    joined = joined_groups(records, sets)
    return {record.id: joined[record.group] for record in sorted(records, key=lambda r: r.id)}
