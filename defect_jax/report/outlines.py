"""The outline of a mask as the path of an SVG."""

import cv2
import numpy as np
from jaxtyping import Bool

GAP_PX = 5  # between a defect and its outline, or the outline of a hair crack would hide it
LONGEST_PATH = 1_500  # characters; a mask of noise must not outgrow its picture
MOST_REGIONS = 120  # no more fit
SHORTEST_POINT = 4  # characters
TOLERANCES_PX = (1.0, 2.0, 4.0, 8.0)


def outline(mask: Bool[np.ndarray, "h w"], width: int, height: int) -> str:
    """The path around every defect, in whole pixels of a frame of `width` by `height`.

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


def _grown(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """A pixel is set when any pixel below it is: a hair crack must not vanish from the page."""
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
    """Largest first, in the pixels of the frame, which the border has moved."""
    contours, _ = cv2.findContours(grown, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    largest = sorted(contours, key=cv2.contourArea, reverse=True)[:MOST_REGIONS]
    return [contour - (GAP_PX + 1) for contour in largest]


def _path(points: np.ndarray) -> str:
    return "M" + " ".join(f"{x} {y}" for x, y in points.tolist()) + "Z"
