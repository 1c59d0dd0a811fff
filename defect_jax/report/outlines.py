"""An image with the outlines of its masks over it, as one SVG: the surface below stays bare."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, UInt
from markupsafe import Markup

from defect_jax.report.render import render
from defect_jax.report.thumbnails import LONGER_SIDE_PX, thumbnail

GAP_PX = 5  # between a defect and its outline, or the outline of a hair crack would hide it
LONGEST_PATH = 1_500  # characters; a mask of noise must not outgrow its image
MOST_REGIONS = 120  # no more fit
SHORTEST_POINT = 4  # characters
TOLERANCES_PX = (1.0, 2.0, 4.0, 8.0)


def frame_size(image: UInt[np.ndarray, "h w c"]) -> tuple[int, int]:
    """Return the width and height of the frame, whose pixels the outlines count in.

    >>> frame_size(np.zeros((20, 80, 1), np.uint8))
    (480, 120)
    """
    height, width = image.shape[:2]
    scale = LONGER_SIDE_PX / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def frame(
    name: str,
    alt: str,
    image: UInt[np.ndarray, "h w c"],
    masks: Sequence[tuple[str, Bool[np.ndarray, "h w"]]],
    longer_side_px: int,
    limit: int,
    heat: bytes = b"",
) -> Markup:
    """Return the image as a JPEG of at most `limit` bytes, and over it its outlines.

    Args:
      name: unique in the page; made of letters and digits.
      alt: what is to be seen, for those who do not see it.
      image: of 8 or 16 bits.
      masks: class of the style sheet, "true" or "predicted", and the mask, lowest first.
      heat: a PNG that lies between the image and the outlines; none if empty.
    """
    jpeg = base64.b64encode(thumbnail(image, longer_side_px, limit)).decode()
    layer = base64.b64encode(heat).decode()
    return _svg(name, alt, frame_size(image), masks, jpeg=jpeg, heat=layer)


def same_frame(
    name: str,
    of: str,
    alt: str,
    image: UInt[np.ndarray, "h w c"],
    masks: Sequence[tuple[str, Bool[np.ndarray, "h w"]]],
) -> Markup:
    """Return the image of the frame called `of` again, with other outlines and at no cost."""
    return _svg(name, alt, frame_size(image), masks, of=of)


def outline(mask: Bool[np.ndarray, "h w"], width: int, height: int) -> str:
    """Return the path around every defect, in whole pixels of a frame of `width` by `height`.

    It runs `GAP_PX` outside the defect and hides nothing of it. Where the path grows too long it
    is simplified further, and then its smallest regions are left out. Empty for an empty mask.

    >>> mask = np.zeros((40, 40), bool)
    >>> mask[10:20, 10:20] = True
    >>> outline(mask, 40, 40)[:13], outline(~mask & mask, 40, 40)
    ('M7 6 5 8 5 21', '')
    """
    if not mask.any():
        return ""
    contours = _contours(_grown(mask, width, height))
    for tolerance in TOLERANCES_PX:
        simple = [cv2.approxPolyDP(contour, tolerance, True)[:, 0] for contour in contours]
        if sum(map(len, simple)) > LONGEST_PATH // SHORTEST_POINT and tolerance < TOLERANCES_PX[-1]:
            continue
        path = "".join(_path(points) for points in simple)
        if len(path) <= LONGEST_PATH:
            return path
    whole = path[:LONGEST_PATH].rfind("Z")
    return path[: whole + 1]


def _svg(
    name: str,
    alt: str,
    size: tuple[int, int],
    masks: Sequence[tuple[str, np.ndarray]],
    jpeg: str = "",
    heat: str = "",
    of: str = "",
) -> Markup:
    lines = [(kind, outline(mask, *size)) for kind, mask in masks if mask.any()]
    return render(
        "frame.html", name=name, alt=alt, size=size, lines=lines, jpeg=jpeg, heat=heat, of=of
    )


def _grown(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """Set a pixel where any pixel below it is set: a hair crack must not vanish from the page."""
    if width > mask.shape[1]:
        resized = cv2.resize(
            mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
    else:
        share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        resized = (share > 0.0).astype(np.uint8)
    padded = cv2.copyMakeBorder(resized, *[GAP_PX + 1] * 4, cv2.BORDER_CONSTANT, value=0)
    return cv2.dilate(padded, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, [2 * GAP_PX + 1] * 2))


def _contours(grown: np.ndarray) -> list[np.ndarray]:
    """Return contours, the largest first, in the pixels of the frame, which the border moved."""
    contours, _ = cv2.findContours(grown, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    largest = sorted(contours, key=cv2.contourArea, reverse=True)[:MOST_REGIONS]
    return [contour - (GAP_PX + 1) for contour in largest]


def _path(points: np.ndarray) -> str:
    return "M" + " ".join(f"{x} {y}" for x, y in points.tolist()) + "Z"
