"""How the bytes of a page are shared among its pictures."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from defect_jax.report.thumbnails import LONGER_SIDE_PX

Shown = TypeVar("Shown")
PAGE_BYTES = 14_200_000  # of 15 MB; the rest is for plots, tables and script
TELLING_SIDE_PX, OTHER_SIDE_PX = LONGER_SIDE_PX, 320
TELLING_WEIGHT = 4  # a picture that was decided wrongly is worth four that were not
LARGEST_BYTES, LEAST_BYTES = 150_000, 6_000
CARD_BYTES = 2_200  # what a card costs beside its picture, roughly


def most_pictures(row_bytes: int) -> int:
    """How many pictures get a card, so that none has less than `LEAST_BYTES`.

    >>> most_pictures(0), most_pictures(4_200_000)
    (1392, 980)
    """
    each = LEAST_BYTES * 4 // 3 + CARD_BYTES
    return max(0, PAGE_BYTES - row_bytes) // each


def share_out(
    telling: Sequence[bool], row_bytes: int, show: Callable[[int, int, int], str]
) -> Iterator[str]:
    """Yields `show(index, longer_side_px, limit)` of each, what one leaves going to the others.

    Args:
      telling: whether a picture was decided wrongly or nearly so, in the order of the pictures.
      row_bytes: of the page, already spent on the numbers of all pictures.
      show: makes the card of a picture whose JPEG has at most `limit` bytes.
    """
    left = PAGE_BYTES - row_bytes
    weights = [TELLING_WEIGHT if is_telling else 1 for is_telling in telling]
    weight_left = sum(weights)
    for index, weight in enumerate(weights):
        for_jpegs = (left - CARD_BYTES * (len(weights) - index)) * 3 / 4  # base64 is a third longer
        fair = for_jpegs * weight / weight_left
        side = TELLING_SIDE_PX if telling[index] else OTHER_SIDE_PX
        card = show(index, side, int(min(max(fair, 1_000), LARGEST_BYTES)))
        left -= len(card.encode())
        weight_left -= weight
        yield card
