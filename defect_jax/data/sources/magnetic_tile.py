"""Magnetic tile: the public release, split by piece of tile as its protocol says.

The release is `MT_<class>/Imgs/exp<E>_num_<N>.jpg` with masks of the same name in `.png` (Huang,
Qiu, Yuan: "Surface defect saliency of magnetic tile", The Visual Computer, 2018). Each piece of
tile was photographed about six times, so a split over images shows the same defect to both
sides; `magnetic_tile_protocol.csv` gives every image its piece (group) and one of five folds,
whole groups, balanced by class.
"""

import csv
import re
from collections.abc import Collection
from importlib import resources
from typing import NamedTuple

from ml_collections import ConfigDict

from defect_jax.data.files.raw_files import RawFiles, open_data_root, top_folder
from defect_jax.data.files.reading import empty_masks
from defect_jax.data.sources.labels import without_mask
from defect_jax.data.sources.records import GOOD, Catalogue, DataSet, Fault, Record, listed
from defect_jax.data.sources.splits import SHARES, Member, grouped_split
from defect_jax.runtime.errors import UserError

OPTIONS = ("split", "fold", "seed", "mask_threshold", "mask_alpha", "trust_masks")
FOLDS = 5
FREE = "MT_Free"
DEFECTS = ("MT_Blowhole", "MT_Break", "MT_Crack", "MT_Fray", "MT_Uneven")
IMAGE = re.compile(r"(MT_[A-Za-z]+)/Imgs/([^/]+)\.(jpg|png)")


class Entry(NamedTuple):
    """One line of the protocol."""

    class_name: str
    name: str
    group: str
    fold: int

    @property
    def id(self) -> str:
        """Return the path of the image below the root, without its suffix."""
        return f"{self.class_name}/Imgs/{self.name}"


def protocol() -> list[Entry]:
    """Read the protocol that comes with the package: 1344 images, 202 groups, five folds."""
    table = resources.files("defect_jax.data.sources") / "magnetic_tile_protocol.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return [Entry(r["class"], r["name"], r["group"], int(r["fold"])) for r in rows]


def catalogue(raw: RawFiles, data: ConfigDict, needed: Collection[str]) -> Catalogue:
    """List the images of the wanted splits and everything that is wrong with the release.

    `data.split` is `"grouped"`: test = fold `data.fold`, val = the next, train = the rest; or
    `"random"`: 60/20/20 over single images, for comparison with the literature. Of defective
    images whose mask is empty the label counts, and the mask is not known.
    """
    _check_options(data)
    found = Catalogue(leaking=data.split == "random", classes=DEFECTS)
    top, present = _images(raw, data.root)
    entries = protocol()
    found.faults = _strangers(raw, top, present, entries)
    if not found.leaking:
        entries = [entry for entry in entries if _fold_split(entry.fold, data.fold) in needed]
    found.faults += _missing(raw, top, present, entries)
    entries = [e for e in entries if {f"{e.id}.jpg", f"{e.id}.png"} <= present]
    masks = [f"{top}{entry.id}.png" for entry in entries if entry.class_name != FREE]
    empty = empty_masks(raw, masks, data)
    undrawn = sorted(entry.id for entry in entries if f"{top}{entry.id}.png" in empty)
    if undrawn:
        found.notes.append(
            f"of {len(undrawn)} defective images with an empty mask the label alone counts: "
            f"{listed(undrawn)}"
        )
    splits = _random_splits(entries, data.seed) if found.leaking else {}
    for entry in entries:
        split = splits.get(entry.id) or _fold_split(entry.fold, data.fold)
        if split in needed:
            record = _record(entry, top, split)
            is_drawn = entry.id not in undrawn
            found.records.append(record if is_drawn else without_mask(record, record.class_name))
    if found.leaking:
        found.notes.append(
            "leaking: config.data.split is 'random', so images of one piece of tile are in "
            "training and in test; only for comparison with the literature"
        )
    return found


def _check_options(data: ConfigDict) -> None:
    if data.fold not in range(FOLDS):
        raise UserError(f"config.data.fold: {data.fold} is no fold: give 0 to {FOLDS - 1}")
    if data.split not in ("grouped", "random"):
        raise UserError(f"config.data.split: {data.split!r} is unknown: give 'grouped' or 'random'")


def _images(raw: RawFiles, root: str) -> tuple[str, set[str]]:
    """Return the leading folder to cut off, and the names of all images and masks without it."""
    names = [name for name in raw.names() if IMAGE.search(name)]
    top = top_folder(names, (FREE, *DEFECTS), root)
    present = {name.removeprefix(top) for name in names if name.startswith(top)}
    present = {name for name in present if IMAGE.fullmatch(name)}
    if not present:
        raise UserError(
            f"config.data.root: {root} holds no MT_<class>/Imgs/*.jpg: "
            "give the folder of the release, or a .tar of it"
        )
    return top, present


def _strangers(raw: RawFiles, top: str, present: set[str], entries: list[Entry]) -> list[Fault]:
    known = {f"{entry.id}{suffix}" for entry in entries for suffix in (".jpg", ".png")}
    what = "is no image of the release, so it has no group and no fold: move it elsewhere"
    return [Fault(raw.where(top + name), what) for name in sorted(present - known)]


def _missing(raw: RawFiles, top: str, present: set[str], entries: list[Entry]) -> list[Fault]:
    names = [f"{entry.id}{suffix}" for entry in entries for suffix in (".jpg", ".png")]
    what = "is missing: copy the release again"
    return [Fault(raw.where(top + name), what) for name in names if name not in present]


def _fold_split(fold: int, test_fold: int) -> str:
    return {0: "test", 1: "val"}.get((fold - test_fold) % FOLDS, "train")


def _random_splits(entries: list[Entry], seed: int) -> dict[str, str]:
    members = [Member(entry.id, entry.id, entry.class_name) for entry in entries]
    return grouped_split(members, SHARES, seed)


def _record(entry: Entry, top: str, split: str) -> Record:
    is_good = entry.class_name == FREE
    return Record(
        id=entry.id,
        image=f"{top}{entry.id}.jpg",
        mask=f"{top}{entry.id}.png",
        group=entry.group,
        class_name=GOOD if is_good else entry.class_name,
        split=split,
        # Not 0 for a good part: its mask would then be empty whatever it marks, and no fault.
        class_id=1 if is_good else DEFECTS.index(entry.class_name) + 1,
    )


DATA_SET = DataSet(
    open=open_data_root,
    catalogue=catalogue,
    options=OPTIONS,
    licence="trained on Magnetic Tile, which asks that its paper be cited",
)
