"""Several classes of defect: how well each is found, and which is taken for which.

A network with one class of defect has none of this.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from defect_jax.metrics.class_counts import ACCURACY, IOU, ClassPixels
from defect_jax.report.cards import Fact
from defect_jax.report.tables import NumberTable
from defect_jax.report.words import pixel_share

Metrics = Mapping[str, int | float | None]
MOST_NAMES = 3  # a card has no room for more


class ClassRow(NamedTuple):
    """How well one class is found."""

    name: str
    true: int  # pixels
    share: str  # of all pixels
    overlap: int | float | None
    accuracy: int | float | None
    taken_for: str  # most often, with the share of the pixels, or ""


class ClassSection(NamedTuple):
    """What the section of the report shows."""

    names: list[str]
    means: tuple[int | float | None, int | float | None]  # pooled IoU and pixel accuracy
    rows: list[ClassRow]
    findings: list[Markup]
    pixels: list[list[int]]  # [true class, decided class]

    @property
    def counts(self) -> NumberTable:
        """Return the pixels as the table that is folded below their shares."""
        rows = [(name, *row) for name, row in zip(self.names, self.pixels, strict=True)]
        return NumberTable("Pixels, true class by decided class", ("True class", *self.names), rows)


def class_section(classes: ClassPixels | None, metrics: Metrics) -> ClassSection | None:
    """Return the section; None for a network with one class of defect."""
    if classes is None:
        return None
    names, pixels = classes.names, classes.pixels.tolist()
    return ClassSection(
        names,
        (metrics.get("class_miou"), metrics.get("class_mpa")),
        _rows(names, pixels, metrics),
        _findings(names, pixels),
        pixels,
    )


def class_facts(
    names: Sequence[str], true_mask: np.ndarray, decided_mask: np.ndarray
) -> list[Fact]:
    """Return two lines of a card; none for a network with one class of defect.

    Args:
        names: of the classes, the first the background's; empty for one class of defect.
        true_mask, decided_mask: the class of every pixel [h w].
    """
    if not names:
        return []
    true, decided = classes_of(true_mask), classes_of(decided_mask)
    swapped = bool(true and decided and true[0][0] != decided[0][0])
    return [
        Fact("True class", _named(names, true)),
        Fact("Decided", _named(names, decided), style="wrong" if swapped else ""),
    ]


def classes_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the classes of defects in the mask with their pixels, the largest first.

    >>> classes_of(np.array([[0, 0, 2, 2], [0, 1, 2, 0]], np.uint8))
    [(2, 3), (1, 1)]
    """
    pixels = np.bincount(mask.reshape(-1))[1:].tolist()
    found = [(index, count) for index, count in enumerate(pixels, 1) if count]
    return sorted(found, key=lambda pair: -pair[1])


def _named(names: Sequence[str], found: list[tuple[int, int]]) -> str:
    """Return the class alone, or with the share of the marked pixels where there are several."""
    whole = sum(count for _, count in found)
    texts = [
        f"{names[index]} {pixel_share(count, whole)}" if len(found) > 1 else names[index]
        for index, count in found[:MOST_NAMES]
    ]
    if len(found) > MOST_NAMES:
        texts.append(f"{len(found) - MOST_NAMES} more")
    return ", ".join(texts) or "none"


def _rows(names: list[str], pixels: list[list[int]], metrics: Metrics) -> list[ClassRow]:
    whole = max(1, sum(map(sum, pixels)))
    rows = []
    for index, (name, row) in enumerate(zip(names, pixels, strict=True)):
        true = sum(row)
        count, other = _largest(row, without=index)
        taken_for = f"{names[other]}, {pixel_share(count, true)}" if count else ""
        overlap, accuracy = metrics.get(f"{IOU}{name}"), metrics.get(f"{ACCURACY}{name}")
        rows.append(ClassRow(name, true, _of_all(true, whole), overlap, accuracy, taken_for))
    return rows


def _of_all(true: int, whole: int) -> str:
    """Return the share as `pixel_share` does, but a rare class keeps its digits.

    >>> _of_all(8, 49_152), _of_all(49_133, 49_152), _of_all(0, 5)
    ('0.0163%', '> 99.9%', '0%')
    """
    if 0 < 100 * true < whole:
        return f"{100 * true / whole:.3g}%"
    return pixel_share(true, whole)


def _findings(names: list[str], pixels: list[list[int]]) -> list[Markup]:
    """Return the three mistakes there can be, each where it weighs most."""
    true = [sum(row) for row in pixels]
    found = []
    defects = [index for index in range(1, len(names)) if true[index]]
    worst = max(defects, key=lambda index: pixels[index][0] / true[index], default=0)
    if worst and pixels[worst][0]:
        text = Markup("Marked least: <b>{}</b>. {} of its pixels are not marked as any defect.")
        found.append(text.format(names[worst], pixel_share(pixels[worst][0], true[worst])))
    found.append(_swapped(names, pixels, true))
    count, other = _largest(pixels[0], without=0)
    if count:
        text = Markup("Of the good surface, {} is marked, most of it as <b>{}</b>.")
        marked = pixel_share(sum(pixels[0][1:]), true[0])
        return [*found, text.format(marked, names[other])]
    return [*found, Markup("No good surface is marked.")]


def _swapped(names: list[str], pixels: list[list[int]], true: list[int]) -> Markup:
    """Return the two classes that are confused most, by the share of the true one."""
    defects = range(1, len(names))
    pairs = [(i, j) for i in defects for j in defects if i != j and pixels[i][j]]
    if not pairs:
        return Markup("No pixel of one class of defect is taken for another class of defect.")
    one, other = max(pairs, key=lambda pair: pixels[pair[0]][pair[1]] / true[pair[0]])
    text = Markup("Confused most: <b>{}</b>. {} of its pixels are taken for <b>{}</b>.")
    return text.format(names[one], pixel_share(pixels[one][other], true[one]), names[other])


def _largest(pixels: list[int], without: int) -> tuple[int, int]:
    """Return the largest of the other counts and where it stands; the first one of equals.

    >>> _largest([5, 9, 7, 7], without=1)
    (7, 2)
    """
    others = [index for index in range(len(pixels)) if index != without]
    best = max(others, key=lambda index: pixels[index])
    return pixels[best], best
