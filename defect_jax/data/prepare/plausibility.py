"""What is odd about the masks of a whole data set, though each can be read by itself.

A mask that marks the background, or everything, is as good a file as any other. Together they
tell: where most masks mark more than half of their images, they are inside out, and nothing that
is learnt or measured on them means anything. Such a set is refused; what could be right is a note.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from defect_jax.data.files.masks import MaskRules
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.prepare.examine import Facts
from defect_jax.data.sources.records import BAD_FOLDERS, GOOD_FOLDERS, Fault, Record, listed

MOST_MARKED = 0.5  # of an image, by most of its masks
BLACK = ("0", "#000000")
TRUST = "set config.data.trust_masks=True if they are right"

Stored = Sequence[tuple[Record, Facts]]


class Doubts(NamedTuple):
    """What cannot be right, and what the user should look at."""

    faults: list[Fault]
    notes: list[str]


def doubts_about_masks(raw: RawFiles, data: ConfigDict, stored: Stored) -> Doubts:
    """Find masks that are odd among the others.

    Args:
        data: `config.data`; with `trust_masks`, all that is odd is a note.
        stored: the images without faults, as `examine` found them.
    """
    stored = sorted(stored, key=lambda one: one[0].id)
    marking = [(record, facts) for record, facts in stored if facts.defect_px]
    covering = [(record, facts) for record, facts in marking if share(facts) > MOST_MARKED]
    faint = [(record, facts) for record, facts in stored if is_faint(facts)]
    rules = MaskRules.of(data)
    faults = []
    for odd, of, what in (
        (covering, marking, _covers), (faint, [*marking, *faint], _marks_nothing)
    ):  # fmt: skip
        if 2 * len(odd) > len(of) and not rules.trusted:
            others = f"as do {len(odd)} of all {len(of)}"
            faults += [Fault(_where(raw, record), what(facts, others)) for record, facts in odd]
    told = {fault.where for fault in faults}
    notes = [
        *_covering_note([one for one in covering if _where(raw, one[0]) not in told]),
        *_faint_note([one for one in faint if _where(raw, one[0]) not in told], data),
        *(_level_note(marking) if rules.above == 0 else []),
        *_folder_notes(stored),
        *_identical_note(marking),
    ]
    return Doubts(faults, notes)


def share(facts: Facts) -> float:
    """Return how much of an image is marked."""
    return facts.defect_px / (facts.height * facts.width)


def is_faint(facts: Facts) -> bool:
    """Return whether a mask holds something, all of which counts as background."""
    levels = [level for level in facts.mask_levels if level not in BLACK]
    return facts.defect_px == 0 and bool(levels)


def _where(raw: RawFiles, record: Record) -> str:
    return raw.where(record.mask or record.image)


def _covers(facts: Facts, others: str) -> str:
    return (
        f"marks {share(facts):.0%} of its image, {others} masks: they show the parts and not the "
        f"defects; invert them (defects white on black), or {TRUST}"
    )


def _marks_nothing(facts: Facts, others: str) -> str:
    return (
        f"holds values up to {facts.mask_levels[-1]}, none above config.data.mask_threshold, "
        f"{others} masks that hold any: lower the threshold, or {TRUST}"
    )


def _covering_note(covering: Stored) -> list[str]:
    names = [f"{record.id} ({share(facts):.0%})" for record, facts in covering]
    if not names:
        return []
    return [
        f"{len(names)} masks mark more than half of their image; invert those that mark the "
        f"background: {listed(names)}"
    ]


def _faint_note(faint: Stored, data: ConfigDict) -> list[str]:
    names = [f"{record.id} (up to {facts.mask_levels[-1]})" for record, facts in faint]
    if not names:
        return []
    return [
        f"{len(names)} masks hold values, but none above config.data.mask_threshold="
        f"{data.mask_threshold}, so these parts count as good; lower it if they are not: "
        f"{listed(names)}"
    ]


def _level_note(marking: Stored) -> list[str]:
    names = [
        f"{record.id} ({listed(list(facts.mask_levels), most=4)})"
        for record, facts in marking
        if len(facts.mask_levels) > 2
    ]
    if not names:
        return []
    return [
        f"{len(names)} masks hold more than two values, all of which but 0 count as defect; name "
        "kinds of defect in config.data.classes, or set config.data.mask_threshold: "
        f"{listed(names)}"
    ]


def _folder_notes(stored: Stored) -> list[str]:
    """Compare the folders' names with what the masks say."""

    def named(folders: frozenset[str], label: int) -> list[str]:
        return [
            record.id
            for record, _ in stored
            if folders & set(record.id.lower().split("/")[:-1]) and record.label == label
        ]

    marked, unmarked = named(GOOD_FOLDERS, 1), named(BAD_FOLDERS, 0)
    notes = []
    if marked:
        notes.append(
            f"{len(marked)} images in a folder of good parts have a mask that marks a defect and "
            f"count as defective; empty or remove the mask if they are good: {listed(marked)}"
        )
    if unmarked:
        notes.append(
            f"{len(unmarked)} images in a folder of defective parts have no mask, or an empty one, "
            f"and count as good; add their masks, or move them from images/ into bad/: "
            f"{listed(unmarked)}"
        )
    return notes


def _identical_note(marking: Stored) -> list[str]:
    """Find masks that are the same, pixel for pixel, on images of different parts."""
    same = defaultdict(list)
    for record, facts in marking:
        if share(facts) < 1.0:
            same[facts.truth_sha256, facts.height, facts.width].append((record, facts))
    names = [
        record.id
        for alike in same.values()
        if len({record.group for record, _ in alike}) > 1
        and len({facts.image_sha256 for _, facts in alike}) > 1
        for record, _ in alike
    ]
    if not names:
        return []
    return [
        f"{len(names)} masks are the same, pixel for pixel, as that of another part; look whether "
        f"they were copied by mistake: {listed(sorted(names))}"
    ]
