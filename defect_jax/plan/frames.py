"""How images enter the network: one frame that keeps small defects visible, or tiles."""

import math
from typing import NamedTuple

from defect_jax.plan.facts import DataFacts
from defect_jax.plan.scales import Scale

SIDE_UNIT_PX = 32  # five rows of an encoder halve a side so often
SEEN_PX = 2.0  # least width of a small defect in the frame
LOST_PX = 1.0  # below it a defect is gone, and tiles are better than any frame
EVEN = 1.2  # images that differ less in their sides' ratio count as alike
MOST_STRETCH = 2.0


class Frame(NamedTuple):
    """How images enter the network."""

    size: tuple[int, int]  # height and width
    stretch: float
    overlap_px: int  # above 0: tiles
    defect_px: float  # width of a small defect in it
    reason: str


def chosen_frame(data: DataFacts, scale: Scale) -> Frame:
    """Return the smallest frame in which small defects are seen; tiles where none would do."""
    alike = data.uneven < EVEN
    stretch = 1.0 if alike else min(MOST_STRETCH, data.uneven)
    wanted = data.smallest_defect
    for frame_px in (scale.frame_px, scale.most_frame_px):
        size = frame_size(data, frame_px, alike)
        width = wanted * shrink(data, size, alike)
        if not wanted or width >= SEEN_PX:
            break
    if wanted and width < LOST_PX and math.prod(size) < data.height * data.width:
        tile = scale.tile_px
        reason = (
            f"tiles at the images' own size: one defect in ten is below {wanted:.1f} px wide, "
            f"which is {width:.1f} px in {size[0]}x{size[1]}"
        )
        return Frame((tile, tile), 1.0, tile // 4, wanted, reason)
    seen = f"; nine defects in ten are at least {width:.1f} px wide in it" if wanted else ""
    native = f"{data.height}x{data.width} px"
    kept = "their own size" if shrink(data, size, alike) == 1.0 else "scaled"
    return Frame(size, stretch, 0, width, f"median image {native}, {kept}{seen}")


def frame_size(data: DataFacts, frame_px: int, alike: bool) -> tuple[int, int]:
    """Return a height and a width of about so many pixels, no larger than the median image.

    Images that are high or wide by turns get a square.

    >>> alike = DataFacts(78, 17, 78, 17, 42, 1260, 500, 1.0, 9.0, 15.0, 17)
    >>> frame_size(alike, 192 * 192, True), frame_size(alike, 192 * 192, False)
    ((320, 128), (192, 192))
    """
    middle = math.sqrt(data.height * data.width)
    sides = (float(data.height), float(data.width)) if alike else (middle, middle)
    scale = math.sqrt(frame_px) / middle
    height, width = (_rounded(side * scale) if scale < 1.0 else _up(side) for side in sides)
    return max(SIDE_UNIT_PX, height), max(SIDE_UNIT_PX, width)


def _rounded(side: float) -> int:
    return round(side / SIDE_UNIT_PX) * SIDE_UNIT_PX


def _up(side: float) -> int:
    return math.ceil(side / SIDE_UNIT_PX) * SIDE_UNIT_PX


def shrink(data: DataFacts, size: tuple[int, int], alike: bool) -> float:
    """Return by how much the median image is scaled into a frame, at most 1."""
    if alike:
        return min(1.0, size[0] / data.height, size[1] / data.width)
    return min(1.0, math.sqrt(math.prod(size) / (data.height * data.width)))
