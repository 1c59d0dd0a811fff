"""From scores and a decision to rows and figures: images, parts, slices, metrics."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from scipy import special

from defect_jax.data.prepare.prepared import Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.combination import combined
from defect_jax.decision.parts import decide_parts
from defect_jax.decision.shots import parts_of
from defect_jax.decision.ways import Verdict, rejects, verdict
from defect_jax.evaluation.evaluator import PER_IMAGE, Scores
from defect_jax.metrics import ranking
from defect_jax.metrics.calibration import Values, expected_calibration_error
from defect_jax.metrics.class_counts import class_reasons
from defect_jax.metrics.confidence import confidence_intervals
from defect_jax.metrics.images import ImageRow, image_iou, image_metrics
from defect_jax.metrics.parts import Part, part_metrics
from defect_jax.metrics.slices import Slice, by_class, by_size, slice_metrics
from defect_jax.metrics.summary import Metrics, join_metrics
from defect_jax.runtime.console import say

LEAKING = {"leaking": 1}  # beside every number from a split that parts straddle


# Rows of images, and the rule that decided on them.
Decided = tuple[Sequence[ImageRow], DecisionRule]


class ResultTables(NamedTuple):
    """All that follows from the scores of a split and a decision."""

    images: list[ImageRow]
    parts: list[Part]
    slices: list[Slice]
    metrics: Metrics


def tabulate(
    split: Split, scores: Scores, decision: DecisionRule, data_info: ConfigDict, leaking: bool
) -> ResultTables:
    """Tabulate every image and part of a split.

    Args:
        data_info: `config.data_info` of the network.
        leaking: whether parts are on both sides of the split.
    """
    images = to_images(split, scores, decision)
    parts = to_parts(images, decision)
    slices = to_slices(split, images, data_info.get("defect_edges_px"))
    classes = list(data_info.classes)
    decided = [(images, decision)]
    metrics = to_metrics(split, decided, parts, slices, scores, leaking, classes)
    return ResultTables(images, parts, slices, metrics)


def tabulate_folds(
    split: Split,
    folds: Sequence[tuple[Split, Scores, DecisionRule]],
    scores: Scores,
    data_info: ConfigDict,
    leaking: bool,
) -> ResultTables:
    """Tabulate every image and part once, each fold by its own decision.

    Args:
        split: all folds, one after the other.
        folds: each one's images, scores and decision.
        scores: of all folds.
        data_info, leaking: as of `tabulate`.
    """
    decided = [(to_images(of, own, decision), decision) for of, own, decision in folds]
    images = [image for rows, _ in decided for image in rows]
    parts = [part for rows, decision in decided for part in to_parts(rows, decision)]
    slices = to_slices(split, images, data_info.get("defect_edges_px"))
    classes = list(data_info.classes)
    metrics = to_metrics(split, decided, parts, slices, scores, leaking, classes)
    return ResultTables(images, parts, slices, metrics)


def to_images(split: Split, scores: Scores, decision: DecisionRule) -> list[ImageRow]:
    """Return one row of predictions.csv an image."""
    columns = [scores.images[name].tolist() for name in PER_IMAGE]
    named = (scores.images[name] for name in ("score", "mask_score", "predicted_px"))
    decided = _verdict(*named, decision)
    probability = special.expit(decided.logit / decision.temperature).tolist()
    images = []
    for row, score, mask_score, inside, true, predicted, unsure, chance, rejected in zip(
        split.rows, *columns, probability, decided.rejected.tolist(), strict=True
    ):
        images.append(
            ImageRow(
                id=row.id,
                group=row.group,
                label=row.label,
                score=score,
                mask_score=mask_score,
                decision=int(rejects(score, decision.threshold)),
                mask_decision=int(predicted > 0),
                iou=image_iou(inside, true, predicted - unsure) if row.masked else None,
                intersection_px=inside,
                true_px=true,
                predicted_px=predicted,
                probability=chance,
                rejected=int(rejected),
                masked=row.masked,
            )
        )
    return images


def _verdict(
    score: Values, mask_score: Values, predicted_px: Values, decision: DecisionRule
) -> Verdict:
    # In float64, as on validation: thresholds are not rounded to float32 beside the scores.
    scores = np.asarray(score, np.float64), np.asarray(mask_score, np.float64)
    return verdict(*scores, np.asarray(predicted_px) > 0, decision)


def to_parts(images: Sequence[ImageRow], decision: DecisionRule) -> list[Part]:
    """Return one row of parts.csv a part."""
    names = ("group", "id", "label", "probability")
    group, ids, label, score = ([getattr(p, name) for p in images] for name in names)
    parts = parts_of(group, ids, label)
    return [
        Part(label=int(truth), **decided._asdict())
        for truth, decided in zip(parts.label, decide_parts(parts, score, decision), strict=True)
    ]


def to_slices(
    split: Split, images: Sequence[ImageRow], edges_px: Sequence[int] | None
) -> list[Slice]:
    """Return defects by size, against those of the training split, and by class."""
    names = [row.class_name for row in split.rows]
    return [*by_size(images, edges_px), *by_class(images, names)]


def to_metrics(
    split: Split,
    decided: Sequence[Decided],
    parts: list[Part],
    slices: list[Slice],
    scores: Scores,
    leaking: bool,
    classes: Sequence[str] = ("defect",),
) -> Metrics:
    """Return everything in metrics.json; what is null is explained in a line, what leaks is
    labelled.

    Args:
        decided: all images of the split.
        classes: names of the classes of defects; several add the metrics of `class_metrics`.
    """
    images = [image for rows, _ in decided for image in rows]
    metrics, reasons = join_metrics(
        image_metrics(images),
        scores.histogram.compute(),
        scores.counts.compute(),
        part_metrics(parts),
        combined_metrics(decided),
        images=len(split.rows),
        defective=sum(row.label for row in split.rows),
    )
    of_classes = class_metrics(scores, classes)
    for reason in [*reasons, *class_reasons(of_classes)]:
        say(reason)
    metrics |= confidence_intervals(images, parts) | slice_metrics(slices) | of_classes
    return metrics | LEAKING if leaking else metrics


def class_metrics(scores: Scores, classes: Sequence[str]) -> dict[str, float | None]:
    """Return what `ClassCounts.compute` says; nothing for a network with one class of defect.

    Raises:
        ValueError: the classes taken together are not the defects of the binary metrics.
    """
    if scores.classes is None:
        return {}
    pixels = scores.classes.confusion()
    together = [pixels[0, 0], pixels[0, 1:].sum(), pixels[1:, 0].sum(), pixels[1:, 1:].sum()]
    counts = [list(map(int, cells)) for cells in (together, scores.counts.confusion.to_numpy())]
    if counts[0] != counts[1]:
        raise ValueError(f"pixels by class make {counts[0]}, but defect or not {counts[1]}")
    return scores.classes.compute(classes)


def combined_metrics(decided: Sequence[Decided]) -> dict[str, float | None]:
    """Return the recall and false-positive rate if either rejects, and of the logistic combination;
    ECE.

    Head alone and mask alone are `recall`, `false_positive_rate`, `seg_recall` and `seg_fpr`.
    """
    images = [image for rows, _ in decided for image in rows]
    label = np.array([image.label for image in images])
    either = np.array([bool(p.decision or p.mask_decision) for p in images])
    probability = np.array([image.probability for image in images])
    decisive = np.concatenate([_decisive(*one) for one in decided])
    metrics = _rates("either", label, either) | _rates("logistic", label, None)
    metrics["logistic_ap"] = None
    if all(decision.logistic is not None for _, decision in decided):
        both, rejected = map(
            np.concatenate, zip(*[_logistic(*one) for one in decided], strict=True)
        )
        metrics |= _rates("logistic", label, rejected)
        metrics["logistic_ap"] = ranking.average_precision(label, both)
    return metrics | {
        "ece": expected_calibration_error(label, probability),
        "ece_uncalibrated": expected_calibration_error(label, decisive),
    }


def _decisive(images: Sequence[ImageRow], decision: DecisionRule) -> np.ndarray:
    """Return the probabilities as they were before the temperature."""
    names = ("score", "mask_score", "predicted_px")
    columns = ([getattr(image, name) for image in images] for name in names)
    return special.expit(_verdict(*columns, decision).logit)


def _logistic(images: Sequence[ImageRow], decision: DecisionRule) -> tuple[np.ndarray, np.ndarray]:
    """Return head and mask in one score, and whether it rejects."""
    fitted = decision.logistic
    score, mask_score = np.array([(image.score, image.mask_score) for image in images]).T
    both = combined((fitted.intercept, fitted.head, fitted.mask), score, mask_score)
    return both, rejects(both, fitted.threshold)


def _rates(name: str, label: np.ndarray, rejected: np.ndarray | None) -> dict[str, float | None]:
    rates = {}
    for key, truth in (("recall", 1), ("false_positive_rate", 0)):
        inside = None if rejected is None else rejected[label == truth]
        rates[f"{name}_{key}"] = None if inside is None or not inside.size else float(inside.mean())
    return rates
