"""What every annotation format is read into: one entry an image, with the shapes that it names."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float64

from defect_jax.data.annotations.opened import Opened
from defect_jax.data.sources.records import GOOD_FOLDERS, listed

DEFECT = "defect"  # the class of a shape that nobody named
NO_DEFECT = GOOD_FOLDERS | {"background", "_background_", "ignore", "ignored", "unlabeled"}


class BadAnnotation(ValueError):
    """What a format says of an image, and cannot be used; the message names no file."""


class Patch(NamedTuple):
    """The part of an image that a shape lies in."""

    top: int
    left: int
    inside: Bool[np.ndarray, "p q"]


class Area(Protocol):
    """A shape that knows which pixels it covers; see `shapes`."""

    def patch(self, height: int, width: int) -> Patch:
        """Return the pixels of an image of that size.

        Raises:
            BadAnnotation: the shape does not fit that image, or is none.
        """


class Shape(NamedTuple):
    """What somebody drew, and what he called it."""

    label: str
    kind: str  # as people call it: "polygon"
    area: Area


class Entry(NamedTuple):
    """One image, as an annotation names it.

    Attributes:
        written: the path as it is written there, whatever machine it was written on.
        where: the annotation's file among the raw files.
        shapes: none for a good part.
        size: height and width of the image that was annotated; None where nobody noted them.
        split: "train", "val" or "test" where the annotation fixes it.
        fault: why the image cannot be used; nothing if it can.
        embedded: whether the annotation's file holds the picture itself.
    """

    written: str
    where: str
    shapes: tuple[Shape, ...] = ()
    size: tuple[int, int] | None = None
    split: str = ""
    fault: str = ""
    embedded: bool = False


class Format(NamedTuple):
    """What a format declares: all it takes to add one.

    Attributes:
        name: as people call it.
        find: returns the files that hold its annotations; none where the input is of another.
        read: returns the entries of those files.
        good: which images are good parts in it, as what follows "those".
        picture: returns the picture that a file of annotations holds.
    """

    name: str
    find: Callable[[Opened], list[str]]
    read: Callable[[Opened, Sequence[str]], list[Entry]]
    good: str
    picture: Callable[[Opened, str], bytes] | None = None


def corners(values: Any) -> Float64[np.ndarray, "n 2"]:
    """Return points, x before y.

    >>> corners([[0, 1], [2, 3.5]])[1]
    array([2. , 3.5])

    Raises:
        BadAnnotation: they are no pairs of finite numbers.
    """
    try:
        points = np.array(values, np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise BadAnnotation("has a shape whose points are no pairs of numbers: draw it again")
    return points


def number(value: Any) -> float:
    """Return a finite number, of JSON or of a text.

    Raises:
        BadAnnotation: it is none.
    """
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = np.nan
    if isinstance(value, bool) or not np.isfinite(result):
        raise BadAnnotation(f"has {str(value)[:40]!r} where a number belongs: draw it again")
    return result


def size_of(height: Any, width: Any) -> tuple[int, int] | None:
    """Return height and width where both are noted, and are whole."""
    sides = [number(side) for side in (height, width) if side not in (None, "")]
    if len(sides) < 2:
        return None
    if any(side < 1 or side != int(side) for side in sides):
        raise BadAnnotation(f"is said to have {sides[1]:g}x{sides[0]:g} px: annotate it again")
    return int(sides[0]), int(sides[1])


def class_name(value: Any) -> str:
    """Return the name of a class as one line; that of a shape without a name is `DEFECT`."""
    return " ".join(str(value).split())[:200] or DEFECT if value is not None else DEFECT


def read_or_fault(entry: Entry, read: Callable[[], Entry]) -> Entry:
    """Return what `read` makes of an entry, or the entry with what is wrong with it."""
    try:
        return read()
    except BadAnnotation as error:
        return entry._replace(fault=str(error))
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0][:80]
        return entry._replace(fault=f"has an annotation that cannot be read ({what})")


def refuse_names(shapes: Iterable[Shape], whole: Iterable[str] = ()) -> None:
    """Refuse shapes that mark what is no defect, and defects that no shape marks.

    Args:
        whole: what the image as a whole is called.

    Raises:
        BadAnnotation: a shape is called "ok", say, or an image without shapes is called "scratch".
    """
    shapes = list(shapes)
    other = [shape.label for shape in shapes if shape.label.lower() in NO_DEFECT]
    if other:
        raise BadAnnotation(
            f"has a shape called {other[0]!r}, which is no defect: remove it, or call it otherwise"
        )
    called = [name for name in whole if name.lower() not in NO_DEFECT]
    if called and not shapes:
        raise BadAnnotation(
            f"is called {listed(called, 3)} as a whole, and no shape marks where: outline it"
        )
