"""The classes in a picture's true and decided mask, in the words of its card."""

from collections.abc import Sequence
from html import escape

import numpy as np

from defect_jax.report.words import pixel_share

MOST_NAMES = 3  # a card has no room for more


def class_lines(names: Sequence[str], true_mask: np.ndarray, decided_mask: np.ndarray) -> str:
    """Two lines of a card; "" for a network with one class of defect.

    Args:
        names: of the classes, the first the background's; empty for one class of defect.
        true_mask, decided_mask: the class of every pixel [h w].
    """
    if not names:
        return ""
    true, decided = classes_of(true_mask), classes_of(decided_mask)
    swapped = bool(true and decided and true[0][0] != decided[0][0])
    return _line("True class", names, true, False) + _line("Decided", names, decided, swapped)


def classes_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """The classes of defects in the mask with their pixels, the largest first.

    >>> classes_of(np.array([[0, 0, 2, 2], [0, 1, 2, 0]], np.uint8))
    [(2, 3), (1, 1)]
    """
    pixels = np.bincount(mask.reshape(-1))[1:].tolist()
    found = [(index, count) for index, count in enumerate(pixels, 1) if count]
    return sorted(found, key=lambda pair: -pair[1])


def _line(name: str, names: Sequence[str], found: list[tuple[int, int]], wrong: bool) -> str:
    """The class alone, or with the share of the marked pixels where there are several."""
    whole = sum(count for _, count in found)
    texts = [
        f"{names[index]} {pixel_share(count, whole)}" if len(found) > 1 else names[index]
        for index, count in found[:MOST_NAMES]
    ]
    if len(found) > MOST_NAMES:
        texts.append(f"{len(found) - MOST_NAMES} more")
    style = ' class="wrong"' if wrong else ""
    return f"<div><dt>{name}</dt><dd{style}>{escape(', '.join(texts) or 'none')}</dd></div>"
