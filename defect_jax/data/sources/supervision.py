"""How much of what people have drawn a network is given: all masks, or those of a few parts.

Labels are cheap and masks are not. With `config.data.masked_positives` a data set is learnt as if
the defects of so many training images had been drawn and no others: the question that a plant asks
before it begins to draw. The published protocol of KolektorSDD2 (Božič, Tabernik, Skočaj 2021) has
0, 16, 53, 126 and 246 of its 246 defective training images drawn; which ones, it chose at random.
"""

from collections.abc import Sequence
from dataclasses import replace

from ml_collections import ConfigDict

from defect_jax.data.sources.labels import without_mask
from defect_jax.data.sources.records import Catalogue, Record
from defect_jax.data.sources.splits import place_of

OPTIONS = ("masked_positives", "drop_unmasked")  # of `config.data`
DRAWN = "drawn: "  # before a name: a place of its own, or the first masks would all be in train
LEARNT = ("train", "val")  # the test split keeps all masks


def with_chosen_masks(found: Catalogue, data: ConfigDict) -> Catalogue:
    """Return what was found with the masks and images that a network shall be given.

    Args:
        found: of all splits where `data.masked_positives` says how many masks there shall be.
        data: `config.data`.
    """
    together = found.together
    before = len(found.records)
    chosen = replace(found, records=_chosen(found.records, data))
    if together is not None:
        chosen.together = lambda sets: _chosen(together(sets), data)
    left_out, unmasked = before - len(chosen.records), _unmasked(chosen.records)
    if left_out:
        chosen.notes.append(
            f"left out {left_out} defective images without a mask (config.data.drop_unmasked)"
        )
    if unmasked:
        chosen.notes.append(f"{unmasked} defective images have a label and no mask")
    return chosen


def _unmasked(records: Sequence[Record]) -> int:
    return sum(not record.masked for record in records)


def _chosen(records: Sequence[Record], data: ConfigDict) -> list[Record]:
    kept = list(records)
    if data.get("masked_positives") is not None:
        kept = masks_of(kept, data.masked_positives, data.seed)
    if data.get("drop_unmasked"):
        kept = [record for record in kept if record.masked or record.split not in LEARNT]
    return kept


def masks_of(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """Keep the masks of the first `count` defective images of training and validation.

    They come part by part, in an order that the names of the parts and the seed make: those of a
    smaller count are among those of a larger one.
    """
    drawn = [r for r in records if r.masked and r.label and r.split in LEARNT]
    drawn.sort(key=lambda record: (place_of(DRAWN + record.group, seed), record.group, record.id))
    lost = {record.id for record in drawn[count:]}
    return [without_mask(r, r.class_name) if r.id in lost else r for r in records]
