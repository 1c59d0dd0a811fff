"""KolektorSDD2: the public release, official test split, a fifth of train for validation.

The release is `train/` and `test/` with `NNNNN.png` and `NNNNN_GT.png` (Božič, Tabernik, Skočaj:
"Mixed supervision for surface-defect detection", Computers in Industry, 2021). An image with any
defect pixel is defective; there are no kinds of defects, and every image is a group of its own.
"""

import re
from collections.abc import Collection
from dataclasses import replace

from ml_collections import ConfigDict

from defect_jax.data.files.raw_files import RawFiles, open_data_root, top_folder
from defect_jax.data.files.reading import empty_masks
from defect_jax.data.sources.records import DEFECT, GOOD, Catalogue, DataSet, Fault, Record, listed
from defect_jax.data.sources.splits import HOLD_OUT_SHARES, Member, grouped_split
from defect_jax.runtime.errors import UserError

OPTIONS = ("seed", "mask_threshold", "mask_alpha", "trust_masks")
FOLDERS = ("train", "test")
# The whole name has to match: the release also holds "10301 (copy).png" and "10301_GT (copy).png",
# and a rule that looks at the ending alone takes the second, a mask, for an image.
FILE = re.compile(r"(train|test)/([0-9]+)(_GT)?\.png")


def catalogue(raw: RawFiles, data: ConfigDict, needed: Collection[str]) -> Catalogue:
    """List the images of the wanted splits; only the folders they need have to be there."""
    top = top_folder([n for n in raw.names() if n.endswith(".png")], FOLDERS, data.root)
    names = [name.removeprefix(top) for name in raw.names() if name.startswith(top)]
    if not any(FILE.fullmatch(name) for name in names):
        raise UserError(
            f"config.data.root: {data.root} holds no train/NNNNN.png or test/NNNNN.png: "
            "give the folder of the release, or its .zip"
        )
    found = Catalogue(grouped=False)
    skipped = [name for name in names if not FILE.fullmatch(name)]
    if skipped:
        found.notes.append(
            f"skipped {len(skipped)} files not named NNNNN.png or NNNNN_GT.png: {listed(skipped)}"
        )
    if "test" in needed:
        found.records += _folder(raw, data, top, "test", found.faults)
    if not {"train", "val"}.isdisjoint(needed):
        found.records += _folder(raw, data, top, "train", found.faults)
        found.records = _with_validation(found.records, data.seed)
    found.records = [record for record in found.records if record.split in needed]
    return found


def _folder(
    raw: RawFiles, data: ConfigDict, top: str, folder: str, faults: list[Fault]
) -> list[Record]:
    """Return the images of one folder that have their mask, and add faults for the others."""
    stems = {"": set(), "_GT": set()}
    for name in raw.names():
        match = FILE.fullmatch(name.removeprefix(top)) if name.startswith(top) else None
        if match and match[1] == folder:
            stems[match[3] or ""].add(match[2])
    for stem in sorted(stems[""] - stems["_GT"]):
        what = f"has no mask: add {stem}_GT.png"
        faults.append(Fault(raw.where(f"{top}{folder}/{stem}.png"), what))
    for stem in sorted(stems["_GT"] - stems[""]):
        what = f"is a mask without an image: add {stem}.png or remove it"
        faults.append(Fault(raw.where(f"{top}{folder}/{stem}_GT.png"), what))
    ids = [f"{folder}/{stem}" for stem in sorted(stems[""] & stems["_GT"])]
    empty = empty_masks(raw, [f"{top}{id}_GT.png" for id in ids], data)
    return [
        Record(
            id=id,
            image=f"{top}{id}.png",
            mask=(mask := f"{top}{id}_GT.png"),
            group=id,
            class_name=GOOD if mask in empty else DEFECT,
            split=folder,
        )
        for id in ids
    ]


def _with_validation(records: list[Record], seed: int) -> list[Record]:
    """Move about a fifth of the training images to validation."""
    train = [Member(r.id, r.group, r.class_name, r.masked) for r in records if r.split == "train"]
    splits = grouped_split(train, HOLD_OUT_SHARES, seed)
    return [replace(record, split=splits.get(record.id, record.split)) for record in records]


DATA_SET = DataSet(
    open=open_data_root,
    catalogue=catalogue,
    options=OPTIONS,
    licence="trained on KolektorSDD2, CC BY-NC-SA 4.0: no commercial use",
    is_in_fixed_test=lambda id: id.startswith("test/"),
)
