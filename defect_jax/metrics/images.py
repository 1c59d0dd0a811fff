"""One row an image: its decision, its overlap, and the metrics that count images.

Definitions after the sample-centric evaluation of arXiv 2510.13226: images that have neither a
defect nor a predicted one say nothing about localisation and are left out of its mean, so that a
line of good parts cannot hide the misses.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from defect_jax.metrics import ranking
from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import csv_text, from_cell
from defect_jax.runtime.field_rules import is_plain
from defect_jax.runtime.json_files import read_limited
from defect_jax.runtime.paths import AnyPath, as_path

MOST_BYTES = 256 << 20  # of predictions.csv
LARGEST_SHARE = 1.0 + 1e-3  # what several classes add up to is rounded


class ImageRow(NamedTuple):
    """A row of predictions.csv."""

    id: str  # path below the data root, without suffix
    group: str  # images of one group are never split
    label: int  # 1 = defective
    score: float  # probability of the classification head
    mask_score: float  # highest probability of the mask
    decision: int  # 1 = rejected by the score
    mask_decision: int  # 1 = rejected by the mask
    iou: float | None  # None for a true negative of the mask
    intersection_px: int
    true_px: int
    predicted_px: int
    probability: float  # of a defect, by what decides, calibrated
    rejected: int  # 1 = rejected by what decides: the verdict
    masked: int = 1  # 0 = a defective image without a mask: true_px and intersection_px say nothing


def image_iou(intersection_px: int, true_px: int, predicted_px: int) -> float | None:
    """Return the intersection over union of the two masks; None when both are empty.

    >>> image_iou(1, 2, 3), image_iou(0, 0, 5), image_iou(0, 0, 0)
    (0.25, 0.0, None)
    """
    union_px = true_px + predicted_px - intersection_px
    return intersection_px / union_px if union_px else None


def image_metrics(images: Sequence[ImageRow]) -> dict[str, int | float | None]:
    """Return every metric of metrics.json that counts images; None where it is not defined.

    >>> miss = ImageRow("a", "a", 1, 0.2, 0.1, 0, 0, 0.0, 0, 40, 0, 0.2, 0)
    >>> found = ImageRow("b", "b", 1, 0.9, 0.8, 1, 1, 0.5, 20, 30, 30, 0.9, 1)
    >>> good = ImageRow("c", "c", 0, 0.1, 0.1, 0, 0, None, 0, 0, 0, 0.1, 0)
    >>> metrics = image_metrics([miss, found, good])
    >>> metrics["seg_miou"], metrics["seg_recall"], metrics["image_auroc"], metrics["precision"]
    (0.25, 0.5, 1.0, 1.0)
    """
    defective = sum(image.label for image in images)
    counts = {"images": len(images), "defective": defective}
    counts["good"] = len(images) - defective
    counts["masked_images"] = sum(image.masked for image in images)
    return counts | _mask_metrics(images) | _rankings(images) | _decision_metrics(images)


def _mask_metrics(images: Sequence[ImageRow]) -> dict[str, float | None]:
    """Return metrics of the mask: of its decision, rejected when any pixel is predicted defective,
    over all images; of where it marks, over those whose mask is known."""
    marks = [(image.label, image.predicted_px > 0) for image in images]
    known = [image for image in images if image.masked]
    defective = [(image, image.iou) for image in known if image.true_px > 0]
    return {
        "seg_miou": mean([image.iou for image in known if image.iou is not None]),
        "seg_recall": mean([marked for label, marked in marks if label]),
        "seg_accuracy": mean([bool(label) == marked for label, marked in marks]),
        "seg_fpr": mean([marked for label, marked in marks if not label]),
        "seg_recall_hit": mean([p.intersection_px > 0 for p, _ in defective]),
        "seg_recall_iou_10": mean([iou >= 0.1 for _, iou in defective]),
        "seg_recall_iou_30": mean([iou >= 0.3 for _, iou in defective]),
        "seg_recall_iou_50": mean([iou >= 0.5 for _, iou in defective]),
    }


def _rankings(images: Sequence[ImageRow]) -> dict[str, float | None]:
    label = [image.label for image in images]
    score = [image.score for image in images]
    mask_score = [image.mask_score for image in images]
    return {
        "image_ap": ranking.average_precision(label, score),
        "image_ap_trapezoid": ranking.average_precision_trapezoid(label, score),
        "image_auroc": ranking.auroc(label, score),
        "mask_image_ap": ranking.average_precision(label, mask_score),
        "mask_image_auroc": ranking.auroc(label, mask_score),
        "recall_at_fpr_05": ranking.recall_at_fpr(label, score, 0.05),
        "fpr_at_recall_95": ranking.fpr_at_recall(label, score, 0.95),
    }


def _decision_metrics(images: Sequence[ImageRow]) -> dict[str, int | float | None]:
    """Return metrics of the verdict, and of the classification head at its own threshold."""
    label = [image.label for image in images]
    verdict = decision_metrics(label, [image.rejected for image in images])
    head = decision_metrics(label, [image.decision for image in images])
    return {f"verdict_{name}": value for name, value in verdict.items()} | head


def decision_metrics(
    label: Sequence[int], decision: Sequence[int]
) -> dict[str, int | float | None]:
    """Return what a decision does to good and to defective images.

    >>> metrics = decision_metrics([1, 1, 0, 0], [1, 0, 0, 1])
    >>> metrics["recall"], metrics["false_positive_rate"], metrics["false_negatives"]
    (0.5, 0.5, 1)
    """
    pairs = list(zip(label, decision, strict=True))
    return {
        "recall": mean([rejected for truth, rejected in pairs if truth]),
        "precision": mean([truth for truth, rejected in pairs if rejected]),
        "accuracy": mean([truth == rejected for truth, rejected in pairs]),
        "false_positive_rate": mean([rejected for truth, rejected in pairs if not truth]),
        "false_negatives": pairs.count((1, 0)),
        "false_positives": pairs.count((0, 1)),
    }


def mean(values: Sequence[int | float]) -> float | None:
    """Return the mean, or None of nothing."""
    return sum(values) / len(values) if values else None


def write_predictions(path: AnyPath | str, images: Sequence[ImageRow]) -> None:
    """Write predictions.csv, whole or not at all; its floats read back unchanged."""
    atomic_files.write_text(path, csv_text([ImageRow._fields, *images]))


def read_predictions(path: AnyPath | str) -> list[ImageRow]:
    """Read predictions.csv; a `UserError` names the row and the column that is wrong."""
    try:
        text = read_limited(as_path(path), MOST_BYTES)
        header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    except (OSError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table of predictions: {error}") from error
    if tuple(header) != ImageRow._fields:
        raise UserError(f"{path}: the first line must be {','.join(ImageRow._fields)}")
    images = [_parse(path, line, row) for line, row in enumerate(rows, 2)]
    if doubles := [name for name, times in Counter(i.id for i in images).items() if times > 1]:
        raise UserError(f"{path}: the id {doubles[0]!r} is there twice")
    return images


def _zero_or_one(text: str) -> int:
    if text not in ("0", "1"):
        raise ValueError
    return int(text)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= LARGEST_SHARE:  # of what is no number neither is true
        raise ValueError
    return value


def _iou(text: str) -> float | None:
    return _share(text) if text else None


def _name(text: str) -> str:
    name = from_cell(text)
    if not is_plain(name):
        raise ValueError
    return name


def _pixels(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 13):
        raise ValueError
    return int(text)


PARSERS: dict[str, Callable] = {"id": _name, "group": _name, "score": _share}
PARSERS |= dict.fromkeys(("mask_score", "probability"), _share)
KINDS = ("label", "decision", "mask_decision", "rejected", "masked")
PARSERS |= dict.fromkeys(KINDS, _zero_or_one)
PARSERS |= {"iou": _iou} | dict.fromkeys(("intersection_px", "true_px", "predicted_px"), _pixels)


def _parse(path: AnyPath | str, line: int, row: list[str]) -> ImageRow:
    if len(row) != len(ImageRow._fields):
        raise UserError(f"{path}, line {line}: {len(row)} columns instead of {len(PARSERS)}")
    values = {}
    for name, text in zip(ImageRow._fields, row, strict=True):
        try:
            values[name] = PARSERS[name](text)
        except ValueError:
            raise UserError(f"{path}, line {line}: {name} cannot be {text[:100]!r}") from None
    return ImageRow(**values)
