"""Recall and overlap of some of the defects: one class of them, or one range of sizes."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from defect_jax.metrics.images import ImageRow, mean
from defect_jax.metrics.intervals import rate_interval

QUARTERS = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
SMALLEST = 0.1


class Slice(NamedTuple):
    """Some of the defective images, and how they fared; rates are None where there are none."""

    kind: str  # "class" or "size"
    name: str
    defective: int
    recall: float | None  # rejected by the score
    recall_low: float | None
    recall_high: float | None
    seg_recall_hit: float | None  # the mask touches the defect
    seg_miou: float | None


def size_edges(defect_px: Sequence[int]) -> list[int] | None:
    """Return sizes in px that bound the smallest tenth and the quarters of the training defects.

    Returns:
        The 10 %, 25 %, 50 % and 75 % quantiles, each a size that occurs; None without defects.

    >>> size_edges([0, 0, 10, 20, 30, 40])
    [10, 10, 20, 30]
    """
    sizes = np.array([size for size in defect_px if size > 0])
    if not sizes.size:
        return None
    shares = (SMALLEST, 0.25, 0.5, 0.75)
    return [int(edge) for edge in np.quantile(sizes, shares, method="inverted_cdf")]


def by_size(images: Sequence[ImageRow], edges: Sequence[int] | None) -> list[Slice]:
    """Return the smallest tenth and the four quarters, by the sizes of the training defects.

    Args:
        images: of one split.
        edges: `size_edges` of the training split.
    """
    if edges is None:
        return []
    defective = [image for image in images if image.true_px > 0]
    tenth = [image for image in defective if image.true_px <= edges[0]]
    slices = [slice_of("size", f"smallest tenth: up to {edges[0]:,} px", tenth)]
    limits = [0, *edges[1:], np.inf]
    for name, low, high in zip(QUARTERS, limits[:-1], limits[1:], strict=True):
        inside = [image for image in defective if low < image.true_px <= high]
        bounds = f"above {low:,} px" if high == np.inf else f"up to {high:,} px"
        slices.append(slice_of("size", f"{name}: {bounds}", inside))
    return slices


def by_class(images: Sequence[ImageRow], class_names: Iterable[str]) -> list[Slice]:
    """Return one slice a class of defect; none where all defects are of one class.

    Args:
        images: of one split.
        class_names: of each image.
    """
    classes: dict[str, list[ImageRow]] = {}
    for image, name in zip(images, class_names, strict=True):
        if image.label:
            classes.setdefault(name, []).append(image)
    if len(classes) < 2:
        return []
    return [slice_of("class", name, inside) for name, inside in sorted(classes.items())]


def slice_of(kind: str, name: str, defective: Sequence[ImageRow]) -> Slice:
    """Return how these defective images fared.

    >>> found = ImageRow("a", "a", 1, 0.9, 0.8, 1, 1, 0.5, 20, 30, 30, 0.9, 1)
    >>> slice_of("class", "crack", [found]).seg_miou
    0.5
    """
    rejected, drawn = [p.rejected for p in defective], [p for p in defective if p.masked]
    low, high = rate_interval(rejected, [p.group for p in defective]) or (None, None)
    return Slice(
        kind=kind,
        name=name,
        defective=len(defective),
        recall=mean(rejected),
        recall_low=low,
        recall_high=high,
        seg_recall_hit=mean([image.intersection_px > 0 for image in drawn]),
        seg_miou=mean([image.iou or 0.0 for image in drawn]),
    )


def slice_metrics(slices: Sequence[Slice]) -> dict[str, int | float | None]:
    """Return flat keys for metrics.json, such as size_smallest_tenth_recall and
    class_MT_Crack_recall."""
    values: dict[str, int | float | None] = {}
    for piece in slices:
        name = f"{piece.kind}_{piece.name.partition(':')[0].replace(' ', '_')}"
        for field in Slice._fields[2:]:
            values[f"{name}_{field}"] = getattr(piece, field)
    return values
