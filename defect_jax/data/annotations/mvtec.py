"""MVTec AD and sets in its arrangement: train/good, test/KIND, ground_truth/KIND/NAME_mask.png.

The kinds are the classes. An image in another folder than good/ that has no mask is a fault. Where
ground_truth/ has a folder an image, as in MVTec LOCO, the masks in it are joined.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from defect_jax.data.annotations.entries import Entry, Format, Shape, class_name
from defect_jax.data.annotations.opened import Opened
from defect_jax.data.annotations.shapes import Stored, Union
from defect_jax.data.annotations.splits import split_named, split_of_picture
from defect_jax.data.files.masks import MaskRules
from defect_jax.data.files.output_names import without_suffix
from defect_jax.data.sources.records import GOOD_FOLDERS

TRUTH = "ground_truth"
TRUSTED = MaskRules(trusted=True)  # the masks of MVTec LOCO have a value for each kind


def find(opened: Opened) -> list[str]:
    """Return the masks below ground_truth/, where images lie beside it."""
    if opened.only:
        return []
    return [name for name in opened.pictures() if TRUTH in name.lower().split("/")[:-1]]


def read(opened: Opened, names: Sequence[str]) -> list[Entry]:
    """Return an entry for each image below train/ and test/."""
    masks = _by_image(names)
    truths = set(names)
    entries = []
    for picture in opened.pictures():
        split, folders = split_of_picture(picture), picture.split("/")[:-1]
        if picture in truths or not split:
            continue
        place = next(at for at, folder in enumerate(folders) if split_named(folder))
        below = "/".join(without_suffix(picture).split("/")[place + 1 :])
        kind = folders[place + 1] if len(folders) > place + 1 else ""
        of_image = masks.get((tuple(folders[:place]), below), ())
        bare = Entry(picture, picture, split=split)
        entries.append(_entry(opened, bare, kind, of_image))
    return entries


def _entry(opened: Opened, bare: Entry, kind: str, masks: Sequence[str]) -> Entry:
    if not masks:
        if kind.lower() in GOOD_FOLDERS:
            return bare
        what = f"is in {kind or 'no'}/ and has no mask below {TRUTH}/: add it, or move it to good/"
        return bare._replace(fault=what)
    rules = TRUSTED if len(masks) > 1 else MaskRules()
    parts = tuple(Stored(partial(opened.raw.read, mask), rules=rules) for mask in masks)
    return bare._replace(shapes=(Shape(class_name(kind), "mask", Union(parts)),))


def _by_image(names: Iterable[str]) -> dict[tuple[tuple[str, ...], str], list[str]]:
    """Return the masks of each image, by the folders above ground_truth/ and the path below it."""
    masks = defaultdict(list)
    for name in names:
        folders = name.split("/")
        place = [folder.lower() for folder in folders].index(TRUTH)
        above, below = tuple(folders[:place]), without_suffix("/".join(folders[place + 1 :]))
        masks[above, below.removesuffix("_mask")].append(name)
        if below.count("/") > 1:  # KIND/NAME/000.png
            masks[above, below.rpartition("/")[0]].append(name)
    return masks


FORMAT = Format("MVTec AD", find, read, "in good/")
