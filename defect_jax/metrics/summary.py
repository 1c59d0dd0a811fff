"""metrics.json: every metric with its meaning, joined from images and pixels, and checked."""

import json
import math
from collections.abc import Mapping

from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.field_rules import is_number, is_plain
from defect_jax.runtime.json_files import read_json
from defect_jax.runtime.paths import AnyPath

Metrics = dict[str, int | float | None]

MEANINGS = {
    "images": "images in this split",
    "defective": "of them defective",
    "good": "of them good",
    "masked_images": "images whose true mask is known, good ones among them",
    "verdict_recall": "defective images that are rejected by what decides",
    "verdict_precision": "rejected images that are defective",
    "verdict_accuracy": "images that are decided rightly",
    "verdict_false_positive_rate": "good images that are rejected",
    "verdict_false_negatives": "defective images that are accepted (misses)",
    "verdict_false_positives": "good images that are rejected (false alarms)",
    "recall": "defective images that the score rejects",
    "precision": "rejected images that are defective",
    "accuracy": "images that the score decides rightly",
    "false_positive_rate": "good images that the score rejects",
    "false_negatives": "defective images that the score accepts (misses)",
    "false_positives": "good images that the score rejects (false alarms)",
    "image_auroc": "chance that a defective image scores higher than a good one",
    "image_ap": "mean precision over all thresholds of the score (step-wise)",
    "image_ap_trapezoid": "the same with the curve joined by lines, as some papers do",
    "recall_at_fpr_05": "recall where 5 % of the good images are rejected, read off this split",
    "fpr_at_recall_95": "good images rejected where 95 % of the defects are found, read off "
    "this split",
    "mask_image_auroc": "image_auroc of the highest probability in the mask",
    "mask_image_ap": "image_ap of the highest probability in the mask",
    "seg_recall": "defective images in which the mask marks something",
    "seg_accuracy": "images that the mask decides rightly",
    "seg_fpr": "good images in which the mask marks something",
    "seg_miou": "mean overlap (IoU) over images with a true or a predicted defect; a miss and a "
    "false alarm count 0",
    "seg_recall_hit": "defective images in which the mask touches the defect",
    "seg_recall_iou_10": "defective images whose mask overlaps with IoU of at least 0.1",
    "seg_recall_iou_30": "the same with IoU of at least 0.3",
    "seg_recall_iou_50": "the same with IoU of at least 0.5",
    "miou_pooled": "overlap (IoU) of the defect pixels of all images together",
    "miou": "mean of the pooled IoU of defect and of background",
    "mpa": "mean of the share of defect and of background pixels found",
    "pixel_ap": "mean precision of pixels over all thresholds",
    "pixel_auroc": "chance that a defect pixel scores higher than a good one",
    "aupro": "mean overlap of a defect region up to 30 % of the good pixels marked; every region "
    "counts alike",
    "parts": "physical parts in this split: groups of images",
    "defective_parts": "of them with a defect in any image",
    "part_recall": "defective parts that all shots together reject",
    "part_precision": "rejected parts that are defective",
    "part_false_positive_rate": "good parts that all shots together reject",
    "part_false_negatives": "defective parts accepted (misses)",
    "part_false_positives": "good parts rejected (false alarms)",
    "part_ap": "mean precision over all thresholds of the part's score",
    "part_auroc": "chance that a defective part scores higher than a good one",
    "part_recall_at_fpr_05": "part_recall where 5 % of the good parts are rejected, read off this "
    "split",
    "sequential_recall": "defective parts that the causal test rejects",
    "sequential_false_positive_rate": "good parts that the causal test rejects",
    "sequential_shots": "shots that the causal test uses, mean of a part",
    "shots": "shots that there are, mean of a part",
    "either_recall": "defective images that the score or the mask rejects",
    "either_false_positive_rate": "good images that the score or the mask rejects",
    "logistic_recall": "defective images that score and mask together reject (logistic)",
    "logistic_false_positive_rate": "good images that they reject",
    "logistic_ap": "image_ap of score and mask together (logistic)",
    "ece": "expected calibration error of the calibrated probability",
    "ece_uncalibrated": "the same of the score that decides, as it is",
}

NEEDS_DEFECTIVE = {
    *(
        "verdict_recall",
        "recall",
        "image_ap",
        "image_ap_trapezoid",
        "mask_image_ap",
        "seg_recall",
        "seg_recall_hit",
    ),
    *("seg_recall_iou_10", "seg_recall_iou_30", "seg_recall_iou_50", "pixel_ap"),
    *("part_recall", "part_ap", "sequential_recall", "either_recall"),
}
NEEDS_GOOD = {
    *("verdict_false_positive_rate", "false_positive_rate", "seg_fpr", "part_false_positive_rate"),
    *("sequential_false_positive_rate", "either_false_positive_rate"),
}
NEEDS_BOTH = {
    *("image_auroc", "mask_image_auroc", "recall_at_fpr_05", "fpr_at_recall_95"),
    *("pixel_auroc", "aupro", "part_auroc", "part_recall_at_fpr_05"),
}


def join_metrics(
    *parts: Mapping[str, int | float | None], images: int, defective: int
) -> tuple[Metrics, list[str]]:
    """Join the metrics of images and pixels into the flat object of metrics.json.

    Args:
      *parts: what `image_metrics`, `part_metrics`, `combined_metrics`, `PixelCounts.compute` and
        `PixelHistogram.compute` return.
      images: images of the split, to be sure that each was seen exactly once.
      defective: how many of them are defective.

    Returns:
      The metrics in a fixed order, not-a-number as None, and one line for every None that says why
      there is no value.

    Raises:
      ValueError: a key is missing, unknown or given twice, or the counts are not the split's.
    """
    keys = [key for part in parts for key in part]
    if sorted(keys) != sorted(MEANINGS):
        odd = sorted(set(keys) ^ set(MEANINGS)) or sorted(k for k in keys if keys.count(k) > 1)
        raise ValueError(f"metrics missing, unknown or given twice: {', '.join(odd)}")
    joined = {key: value for part in parts for key, value in part.items()}
    seen, expected = (joined["images"], joined["defective"]), (images, defective)
    if seen != expected or joined["good"] != images - defective:
        raise ValueError(f"evaluated {seen} (images, defective), but the split has {expected}")
    metrics = {key: _finite(joined[key]) for key in MEANINGS}
    return metrics, [_reason(key, metrics) for key, value in metrics.items() if value is None]


def write_metrics(path: AnyPath | str, metrics: Metrics) -> None:
    """Write metrics.json, whole or not at all; a value that is not defined is null."""
    atomic_files.write_text(path, json.dumps(metrics, indent=2, allow_nan=False) + "\n")


def read_metrics(path: AnyPath) -> Metrics:
    """Return what `write_metrics` wrote.

    Raises:
        FileNotFoundError: it is not there.
        UserError: it is something else; the file is named.
    """
    metrics = read_json(path)
    numbers = isinstance(metrics, dict) and all(
        value is None or is_number(value) for value in metrics.values()
    )
    if not numbers or not all(map(is_plain, metrics)):
        raise UserError(f"{path}: must hold one object of numbers and null: evaluate again")
    return metrics


def _finite(value: int | float | None) -> int | float | None:
    if value is None or isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None


def _reason(key: str, metrics: Metrics) -> str:
    if not metrics["images"]:
        why = "the split is empty"
    elif not metrics["defective"] and key in NEEDS_DEFECTIVE | NEEDS_BOTH:
        why = "the split has no defective image"
    elif not metrics["good"] and key in NEEDS_BOTH | NEEDS_GOOD:
        why = "the split has no good image"
    elif key in ("part_false_positive_rate", "sequential_false_positive_rate"):
        why = "the split has no good part"
    elif key in ("part_auroc", "part_recall_at_fpr_05"):
        why = "the split has no good part"
    elif key.startswith("logistic"):
        why = "the decision has no logistic combination"
    elif key == "part_precision":
        why = "no part is rejected"
    elif key in ("precision", "verdict_precision"):
        why = "no image is rejected"
    elif key in ("seg_miou", "miou_pooled"):
        why = "there is neither a true nor a predicted defect"
    else:
        why = "the value is not finite"
    return f"{key} is null: {why}"
