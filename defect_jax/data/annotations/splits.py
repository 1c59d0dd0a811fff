"""Which split a source fixes, and whether it can be kept.

A split of the `folder` layout needs a test split, and good and defective parts in each. Where a
source has others, its images are pooled and dealt anew, and that is said.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

from defect_jax.data.sources.folder_layout import SPLIT_NAMES

YEAR = re.compile(r"(19|20)\d\d$")  # train2017
IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img", "jpegimages"})
GOOD, DEFECTIVE = 0, 1


class Decided(NamedTuple):
    """What becomes of the splits of a source.

    Attributes:
        names: split of the source -> that of the layout; empty where all images are pooled.
        note: what to say about it; nothing where the source fixes none.
    """

    names: Mapping[str, str]
    note: str = ""


def split_named(name: str) -> str:
    """Return the split that a word stands for, and nothing for another word.

    >>> split_named("Valid"), split_named("train2017"), split_named("trained")
    ('val', 'train', '')
    """
    return SPLIT_NAMES.get(YEAR.sub("", name.lower()), "")


def split_of_file(name: str) -> str:
    """Return the split that the name of an annotation's file, or a folder above it, stands for.

    >>> split_of_file("annotations/instances_val2017.json")
    'val'
    """
    words = re.split(r"[/_.\s-]", name)
    return next((split for word in reversed(words) if (split := split_named(word))), "")


def split_of_picture(name: str) -> str:
    """Return the split that a folder above a picture stands for.

    >>> split_of_picture("bottle/test/good/000.png"), split_of_picture("train.png")
    ('test', '')
    """
    return next((split for part in name.split("/")[:-1] if (split := split_named(part))), "")


def decide(kinds: Collection[tuple[str, int]]) -> Decided:
    """Return what becomes of splits, by the split and the kind of each image.

    >>> decide([("train", 0), ("train", 1), ("val", 0), ("val", 1)]).names
    {'train': 'train', 'val': 'test'}
    """
    counts = Counter(kinds)
    there = defaultdict(set)
    for split, kind in counts:
        there[split].add(kind)
    if not there.keys() - {""}:
        return Decided({})
    if "" in there:
        return Decided({}, _pooled("some images are in none"))
    lacking = [
        f"{split} holds no {('good', 'defective')[kind]} image"
        for split in sorted(there)
        for kind in (GOOD, DEFECTIVE)
        if kind not in there[split]
    ]
    if lacking:
        return Decided({}, _pooled(", ".join(lacking)))
    if there.keys() == {"train", "val"}:
        note = "splits: kept; there is no test split, so val is the test split"
        return Decided({"train": "train", "val": "test"}, note)
    if not {"train", "test"} <= there.keys():
        return Decided({}, _pooled(f"there is {', '.join(sorted(there))} alone"))
    return Decided({split: split for split in there}, "splits: kept")


def _pooled(why: str) -> str:
    return f"splits: those of the source are not kept ({why}); images will be split anew"


def below(picture: str, split: str, how: int = 0) -> str:
    """Return the path of a picture below images/, without what leads to it.

    >>> [below("release/images/train/line_1/0001.png", "train", how) for how in (0, 1, 2)]
    ['line_1/0001.png', 'from_train/line_1/0001.png', 'release/images/from_train/line_1/0001.png']

    Args:
        split: whose folder is left out.
        how: 0; 1 keeps that folder under a name that fixes no split; 2 keeps all folders.
    """
    *folders, file = picture.split("/")
    names = []
    for folder in folders if how == 2 else _behind_images(folders):
        if how == 0 and split and split_named(folder) == split:
            split = ""  # one of that name below it is another
        else:
            names.append(f"from_{folder}" if folder.lower() in SPLIT_NAMES else folder)
    return "/".join([*names, file])


def _behind_images(folders: list[str]) -> list[str]:
    """Return the folders below images/, and those above it that name a split."""
    places = [at for at, folder in enumerate(folders) if folder.lower() in IMAGE_FOLDERS]
    first = places[0] if places else -1
    return [one for one in folders[: max(first, 0)] if split_named(one)] + folders[first + 1 :]
