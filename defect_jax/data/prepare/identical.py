"""Images with the very same pixels: one label and one split for all of them.

The same bytes, or the same pixels saved by another program. What is learnt on one is known of the
other, so in two splits it makes the figures too good; with two labels, one of them is wrong.
"""

from collections import defaultdict
from collections.abc import Sequence

from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.prepare.examine import Facts
from defect_jax.data.sources.records import SPLITS, Catalogue, Fault, Record, listed

Stored = Sequence[tuple[Record, Facts]]


def identical_sets(stored: Stored) -> list[list[tuple[Record, Facts]]]:
    """Return the sets of two or more images with the same pixels, in order of ids."""
    by_pixels = defaultdict(list)
    for record, facts in sorted(stored, key=lambda one: one[0].id):
        if facts.pixels_sha256:
            by_pixels[facts.pixels_sha256].append((record, facts))
    return [same for same in by_pixels.values() if len(same) > 1]


def kept_together(found: Catalogue, stored: Stored) -> list[Record] | None:
    """Return the records split anew where images with the same pixels are in two splits.

    Exact copies are in one already; the same pixels in another file are only known from here on.

    Returns:
        The records in order of splits and ids; None where there is nothing to change.
    """
    sets = identical_sets(stored)
    labels_agree = all(len({(r.label, f.truth_sha256) for r, f in same}) == 1 for same in sets)
    in_two = any(len({record.split for record, _ in same}) > 1 for same in sets)
    if found.together is None or not in_two or not labels_agree:
        return None
    records = found.together([[record for record, _ in same] for same in sets])
    return sorted(records, key=lambda record: (SPLITS.index(record.split), record.id))


def identical_faults(raw: RawFiles, stored: Stored) -> list[Fault]:
    """Find identical images that contradict each other, and name both.

    Where the splits are made here, identical images are in one; those that are left in two were
    put there by their folders.
    """
    faults = []
    for (first, facts), *others in identical_sets(stored):
        for record, other in others:
            what = _contradiction(first, facts, record, other)
            if what:
                text = f"shows the very pixels of {first.image}, but {what}"
                faults.append(Fault(raw.where(record.image), text))
    return faults


def _contradiction(first: Record, facts: Facts, record: Record, other: Facts) -> str:
    if first.label != record.label:
        kinds = ("good", "defective")
        return (
            f"is {kinds[record.label]} and that one {kinds[first.label]}: "
            "correct one, or keep one of the two"
        )
    drawn = first.masked and record.masked
    if drawn and facts.truth_sha256 != other.truth_sha256:
        return "the two masks differ: correct one, or keep one of the two"
    if first.split != record.split:
        return f"is in {record.split} and that one in {first.split}: keep one of the two"
    return ""


def identical_notes(stored: Stored, own: bool) -> list[str]:
    """Say how many images are copies; of a release, also how they contradict each other."""
    sets = identical_sets(stored)
    if not sets:
        return []
    extra = sum(len(same) - 1 for same in sets)
    names = [" = ".join(record.id for record, _ in same[:3]) for same in sets]
    notes = [f"{extra} images are copies of others, with the very same pixels: {listed(names)}"]
    if own:
        return notes  # contradictions are faults there
    labels = sum(len({facts.truth_sha256 for _, facts in same}) > 1 for same in sets)
    splits = sum(len({record.split for record, _ in same}) > 1 for same in sets)
    if labels:
        notes.append(f"{labels} of these images have two different masks in the release")
    if splits:
        notes.append(f"leaking: {splits} of these images are in two splits of the release")
    return notes
