"""What --mode=import will write, decided before anything is written, and what it leaves out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from defect_jax.data.annotations.entries import Entry, Format
from defect_jax.data.annotations.finding import Found, find_pictures, path_parts
from defect_jax.data.annotations.opened import Opened
from defect_jax.data.annotations.splits import Decided, below, decide, split_of_picture
from defect_jax.data.files.bounded import is_picture
from defect_jax.data.files.class_masks import MOST_CLASSES
from defect_jax.data.files.output_names import faults_of, without_suffix
from defect_jax.data.sources.records import GOOD_FOLDERS

UNKNOWN = (
    "no annotation names it, so nobody said whether it is good: annotate it, or put it into a "
    "folder called good/"
)
TWICE = "is the name of two images: rename one of them"
WAYS = (0, 1, 2)  # to name an image; see `splits.below`


class Item(NamedTuple):
    """An image to write.

    Attributes:
        entry: what was drawn.
        picture: its name among the raw files; "" where the annotation holds it itself.
        path: of the image below images/.
    """

    entry: Entry
    picture: str
    path: str


class Left(NamedTuple):
    """An image, or an annotation, that is left out, and why."""

    name: str
    why: str


class Listing(NamedTuple):
    """All that was found.

    Attributes:
        items: what will be written.
        left: what will not.
        classes: names of the classes 1 … N; one where masks are 0 and 255.
        note: what becomes of the splits of the source; nothing where it fixes none.
    """

    items: list[Item]
    left: list[Left]
    classes: tuple[str, ...]
    note: str


def list_all(opened: Opened, format: Format, names: Sequence[str]) -> Listing:
    """Return what an input of a format holds.

    Raises:
        UserError: a file of annotations cannot be used at all.
    """
    # Not pictures alone: of one in WebP the reason is that, and not that it is nowhere.
    files = sorted({*opened.raw.names()} - {*names})
    found, lost = find_pictures(format.read(opened, names), files)
    good, unknown = _without_entry(opened, found, lost, names)
    left = [Left(entry.written or entry.where, entry.fault) for entry in lost]
    left += [Left(one.entry.written, one.entry.fault) for one in found if one.entry.fault]
    usable = [_with_split(one) for one in (*found, *good) if not one.entry.fault]
    decided = decide([(one.entry.split, int(bool(one.entry.shapes))) for one in usable])
    items = _named(usable, decided)
    faults = _name_faults([item.path for item in items])
    left += [Left(item.path, faults[item.path]) for item in items if item.path in faults]
    left += [Left(name, UNKNOWN) for name in unknown]
    items = [item for item in items if item.path not in faults]
    return Listing(items, left, _classes(items), decided.note)


def _without_entry(
    opened: Opened, found: Sequence[Found], lost: Iterable[Entry], names: Iterable[str]
) -> tuple[list[Found], list[str]]:
    """Return the pictures that no annotation names: those that a folder calls good, the others."""
    known = {one.picture for one in found} | {*names} | {name for e in lost for name in _near(e)}
    rest = [name for name in _in_question(opened, found) if name not in known]
    good = [name for name in rest if GOOD_FOLDERS & set(name.lower().split("/")[:-1])]
    return [Found(Entry(name, name), name) for name in good], sorted({*rest} - {*good})


def _in_question(opened: Opened, found: Iterable[Found]) -> list[str]:
    """Return the pictures that an annotation may have left out.

    Where the user named a file, the folder that it lies in may hold anything: only what lies beside
    an annotated picture counts.
    """
    if not opened.only:
        return opened.pictures()
    folders = {one.picture.rpartition("/")[0] for one in found if one.picture}
    return [name for name in opened.pictures() if name.rpartition("/")[0] in folders]


def _name_faults(paths: Sequence[str]) -> dict[str, str]:
    """Return why images cannot be written under their paths, of those that cannot."""
    twice = [path for path, count in Counter(paths).items() if count > 1]
    faults = faults_of({path: without_suffix(path) for path in paths})
    return {path: why for path, why in faults.items() if why} | dict.fromkeys(twice, TWICE)


def _near(entry: Entry) -> list[str]:
    """Return the names under which an entry that is left out may be among the pictures."""
    return [entry.written, "/".join(path_parts(entry.written))]


def _with_split(one: Found) -> Found:
    entry = one.entry
    return one._replace(
        entry=entry._replace(split=entry.split or split_of_picture(one.picture or entry.where))
    )


def _named(found: Iterable[Found], decided: Decided) -> list[Item]:
    """Return the images with the shortest paths that tell them all apart."""
    found = sorted(found, key=lambda one: (one.picture, one.entry.where))
    for how in WAYS:
        items = [_item(one, decided, how) for one in found]
        if len({without_suffix(item.path).casefold() for item in items}) == len(items):
            break
    return items


def _item(one: Found, decided: Decided, how: int) -> Item:
    split = one.entry.split
    path = below(one.picture or _embedded_name(one.entry), split, how)
    if decided.names:
        path = f"{decided.names[split]}/{path}"
    return Item(one.entry, one.picture, path)


def _embedded_name(entry: Entry) -> str:
    """Return the path of a picture that lies in its annotation: beside it, by its own name."""
    folder, slash, _ = entry.where.rpartition("/")
    name = (path_parts(entry.written) or ["image"])[-1]
    return f"{folder}{slash}{name}" if is_picture(name) else f"{folder}{slash}{name}.png"


def _classes(items: Iterable[Item]) -> tuple[str, ...]:
    """Return the names of all classes, sorted; more than a mask can hold are one."""
    names = sorted({shape.label for item in items for shape in item.entry.shapes})
    return tuple(names) if len(names) <= MOST_CLASSES else ("defect",)
