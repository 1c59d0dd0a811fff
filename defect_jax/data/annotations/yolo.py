"""YOLO segmentation: a text file for each picture, in labels/ where that is in images/.

Each line is a class and the corners of one outline, as shares of width and height. A picture
without a text file, or with an empty one, is a good part: that is the rule of the format. A line of
a class and four numbers is a box, which marks no pixels.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import yaml

from defect_jax.data.annotations.entries import (
    BadAnnotation,
    Entry,
    Format,
    Shape,
    class_name,
    corners,
    number,
    read_or_fault,
    refuse_names,
)
from defect_jax.data.annotations.opened import Opened
from defect_jax.data.annotations.shapes import Polygon
from defect_jax.data.annotations.splits import split_of_picture
from defect_jax.data.files.output_names import without_suffix
from defect_jax.data.files.reading import in_threads
from defect_jax.runtime.errors import UserError

IMAGES, LABELS = "images", "labels"
LISTS = ("classes.txt", "obj.names", "_darknet.labels")  # a name a line, or data.yaml
MOST_YAML_CHARACTERS = 1_000_000


def find(opened: Opened) -> list[str]:
    """Return the text files that lie where the pictures' are looked for; none without labels/."""
    if opened.only and not opened.only.lower().endswith((".yaml", ".yml")):
        return []
    there = set(opened.raw.names())
    expected = {name for picture in opened.pictures() for name in _places(picture)}
    return sorted(name for name in expected & there if _is_label(opened, name))


def _is_label(opened: Opened, name: str) -> bool:
    """Return whether a file lies in labels/, or says by itself that it is one."""
    if LABELS in name.lower().split("/")[:-1]:
        return True
    try:
        words = opened.raw.read(name)[:10_000].decode("ascii").partition("\n")[0].split()
        return len(words) >= 5 and words[0].isdecimal() and all(map(_is_float, words[1:]))
    except (OSError, UnicodeDecodeError):
        return False


def _is_float(word: str) -> bool:
    try:
        float(word)
        return True
    except ValueError:
        return False


def _places(picture: str) -> list[str]:
    """Return where the text file of a picture may be.

    >>> _places("a/images/train/1.png")
    ['a/labels/train/1.txt', 'a/images/train/1.txt']
    """
    name = f"{without_suffix(picture)}.txt"
    folders = name.split("/")
    at = [place for place, folder in enumerate(folders[:-1]) if folder.lower() == IMAGES]
    if not at:
        return [name]
    return ["/".join([*folders[: at[-1]], LABELS, *folders[at[-1] + 1 :]]), name]


def read(opened: Opened, names: Sequence[str]) -> list[Entry]:
    """Return an entry for each picture that lies where the format keeps pictures."""
    labels, classes = set(names), _classes(opened)
    folders = {name.rpartition("/")[0] for name in labels}
    items = []
    for picture in opened.pictures():
        places = _places(picture)
        label = next((place for place in places if place in labels), None)
        in_place = IMAGES in picture.lower().split("/")[:-1]
        if label is not None or in_place or picture.rpartition("/")[0] in folders:
            items.append((picture, label))
    return list(in_threads(partial(_read_one, opened, classes), items, "Reading annotations"))


def _read_one(opened: Opened, classes: Mapping[int, str], item: tuple[str, str | None]) -> Entry:
    picture, label = item
    bare = Entry(picture, label or picture, split=split_of_picture(picture))
    if label is None:
        return bare
    try:
        lines = opened.read_text(label).splitlines()
    except UserError as error:
        return bare._replace(fault=str(error).removeprefix(f"{opened.where(label)}: "))
    return read_or_fault(bare, lambda: _with_shapes(bare, lines, classes))


def _with_shapes(bare: Entry, lines: Sequence[str], classes: Mapping[int, str]) -> Entry:
    shapes = [_shape(line.split(), classes) for line in lines if line.strip()]
    refuse_names(shapes)
    return bare._replace(shapes=tuple(shapes))


def _shape(words: list[str], classes: Mapping[int, str]) -> Shape:
    id, *values = map(number, words)
    if len(values) in (4, 5):  # the fifth is how certain a network was
        raise BadAnnotation(
            "has a box (a class and four numbers), which marks no pixels: outline the defect, or "
            "export YOLO segmentation"
        )
    points = corners(list(zip(values[::2], values[1::2], strict=True)))
    label = classes.get(int(id), f"class {id:g}")
    return Shape(label, "polygon", Polygon((points,), touched=True, relative=True))


def _classes(opened: Opened) -> dict[int, str]:
    """Return the names of the classes, of data.yaml or of a list; none where there is neither."""
    for name in opened.raw.names():
        if name.lower().endswith((".yaml", ".yml")) and opened.only in ("", name):
            names = _names_of_yaml(opened, name)
            if names:
                return names
    for name in opened.raw.names():
        if name.rpartition("/")[2].lower() in LISTS:
            return dict(enumerate(map(class_name, opened.read_text(name).split("\n"))))
    return {}


def _names_of_yaml(opened: Opened, name: str) -> dict[int, str]:
    """Return what a file calls the classes; its values are taken as texts, and nothing is made."""
    try:
        text = opened.read_text(name)[:MOST_YAML_CHARACTERS]
        fields = yaml.load(text, Loader=yaml.BaseLoader)
        names = fields["names"]
        pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
        return {int(id): class_name(called) for id, called in pairs}
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return {}


FORMAT = Format("YOLO segmentation", find, read, "without a text file, or with an empty one")
