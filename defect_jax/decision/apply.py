"""The rule that turns probabilities into a decision: evaluation, prediction, tiles, exported files.

The same lines run on NumPy arrays (tiles, strip by strip) and inside JAX programs (evaluation,
prediction, export): each function takes the array namespace of what it is given.

What is not a number accepts nothing. A pixel whose probability is not finite counts as marked and
makes the mask's score infinite; a score that is not finite rejects, whatever the thresholds are.
"""

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import special

from defect_jax.decision.record import DecisionRule
from defect_jax.decision.ways import is_number, negate, rejects, verdict
from defect_jax.metrics.calibration import logit, logit_jax


class Thresholds(NamedTuple):
    """What decides on a mask."""

    mask: Any  # shape=(), float32; of the highest probability of a pixel
    pixel: Any  # shape=(), float32; of each pixel
    area_px: Any  # shape=(), int32; fewest pixels that reject

    @classmethod
    def of(cls, rule: DecisionRule) -> "Thresholds":
        """Take the thresholds of a decision rule, in the types that programs compute in."""
        mask, pixel = np.float32(rule.mask_threshold), np.float32(rule.pixel_threshold)
        return cls(mask, pixel, np.int32(rule.min_area_px))


class Functions(NamedTuple):
    """Of scores, each with a twin in float32 for programs."""

    logit: Callable[[Any], Any]
    expit: Callable[[Any], Any]


ON_HOST = Functions(logit, special.expit)
IN_PROGRAMS = Functions(logit_jax, jax.nn.sigmoid)


class Marked(NamedTuple):
    """What the pixels of an image, or of part of one, say before the image is decided on."""

    mask_score: Any  # "...", float32: highest defect probability of a pixel
    area_px: Any  # "...", int32: pixels that reach the pixel threshold
    classes: Any  # "... h w", uint8: class of these pixels, 0 elsewhere


class Decision(NamedTuple):
    """What is decided on an image; with a leading axis of images inside a program.

    The texts are those of an exported file's card.
    """

    probability: Annotated[
        Any, "float32 [b]: of a defect, by what decides, calibrated on the validation split"
    ]
    rejected: Annotated[
        Any,
        "bool [b]: the verdict: probability >= verdict.probability_threshold, or score or "
        "mask_score is not a finite number",
    ]
    mask: Annotated[
        Any, "uint8 [b, h, w]: class of each pixel: 0 = good, otherwise its place in classes"
    ]
    score: Annotated[Any, "float32 [b]: of the classification head, before calibration"]
    mask_score: Annotated[Any, "float32 [b]: highest probability of a pixel"]
    mask_rejected: Annotated[Any, "bool [b]: whether the mask marks anything"]
    score_rejected: Annotated[Any, "bool [b]: score >= thresholds.threshold"]


def defect_probability(
    maps: Float[Any, "*shape"], class_axis: int, valid: Bool[Any, "*rest"] | None = None
) -> Float[Any, "*less"]:
    """Add up the probabilities of all classes of defect; 0 outside `valid`.

    >>> maps = np.array([[[0.2, 0.1]], [[0.3, 0.0]]], np.float32)  # two classes, two pixels
    >>> defect_probability(maps, class_axis=0).round(1).tolist()
    [[0.5, 0.1]]
    """
    probability = maps.sum(axis=class_axis)
    if valid is None:
        return probability
    return maps.__array_namespace__().where(valid, probability, 0.0)


def mark(
    probability: Float[Any, "*b h w"],
    likeliest: Int[Any, "*b h w"],
    thresholds: Thresholds,
    valid: Bool[Any, "*b h w"] | None = None,
) -> Marked:
    """Mark the pixels that reach the pixel threshold, and measure what decides on the image.

    A pixel without a finite probability is marked, and the image's score is infinite.

    Args:
        probability: of any defect; 0 where it is not valid.
        likeliest: place of the most probable class of defect, from 0.
        valid: False where a pixel is not the image's; None: all are.

    >>> probability = np.array([[0.2, 0.6, 0.9]], np.float32)
    >>> mark(probability, np.array([[0, 0, 1]]), Thresholds(0.8, 0.5, 1)).classes.tolist()
    [[0, 1, 2]]
    """
    xp = probability.__array_namespace__()
    # Infinity passes every maximum and every threshold: onnxruntime's maximum may lose a NaN.
    probability = xp.where(is_number(probability), probability, math.inf)
    marked = probability >= thresholds.pixel
    if valid is not None:
        marked = marked & valid
    return Marked(
        mask_score=probability.max(axis=(-2, -1)),
        area_px=marked.sum(axis=(-2, -1), dtype=xp.int32),
        classes=xp.where(marked, 1 + likeliest, 0).astype(xp.uint8),
    )


def mark_strips(
    strips: Iterator[Float[np.ndarray, "_ w classes"]],
    native_px: tuple[int, int],
    thresholds: Thresholds,
) -> Marked:
    """Mark an image whose map comes in strips from top to bottom, and is never held whole."""
    classes = np.zeros(native_px, np.uint8)
    mask_score, area_px, row = np.float32(0.0), np.int32(0), 0
    for maps in strips:
        probability = defect_probability(maps, class_axis=-1)
        marked = mark(probability, maps.argmax(axis=-1), thresholds)
        classes[row : row + len(maps)] = marked.classes
        mask_score = max(mask_score, marked.mask_score)
        area_px += marked.area_px
        row += len(maps)
    return Marked(float(mask_score), int(area_px), classes)


def mask_rejects(mask_score: Any, area_px: Any, thresholds: Thresholds) -> Any:
    """Return whether the mask rejects: it is high enough somewhere, and large enough.

    One threshold for images and pixels would have to be high, for few false alarms, and low, for
    whole masks. A score that is not finite rejects from one pixel on.

    >>> mask_rejects(math.inf, 1, Thresholds(2.0, 2.0, 50))
    True
    """
    large = (area_px >= thresholds.area_px) | negate(is_number(mask_score))
    return rejects(mask_score, thresholds.mask) & large


def decide_mask(marked: Marked, thresholds: Thresholds) -> UInt8[Any, "*b h w"]:
    """Return the class of each pixel where the mask rejects the image, 0 everywhere elsewhere."""
    xp = marked.classes.__array_namespace__()
    rejected = xp.asarray(mask_rejects(marked.mask_score, marked.area_px, thresholds))
    return xp.where(rejected[..., None, None], marked.classes, xp.uint8(0))


def score_of(marked: Marked, label: Any) -> Any:
    """Return the score that decides on the part: the classification head's, else the mask's."""
    return marked.mask_score if label is None else label


def is_too_small(mask_score: float, mask_rejected: int, rule: DecisionRule) -> bool:
    """Return whether a mask whose score is high enough rejects nothing for its few pixels.

    >>> rule = DecisionRule(0.5, 0.4, 0.3, 1, 9, 5, min_area_px=18)
    >>> [is_too_small(score, rejected, rule) for score, rejected in ((0.9, 0), (0.9, 1), (0.1, 0))]
    [True, False, False]
    """
    return not mask_rejected and bool(rejects(mask_score, rule.mask_threshold))


def decide(
    marked: Marked,
    label: Any,
    rule: DecisionRule,
    functions: Functions = ON_HOST,
) -> Decision:
    """Decide on images by score, by mask, and in the way that counts.

    Args:
        label: probability of the classification head, a number or an array; None without one.
        functions: of scores; those of programs inside of one.
    """
    score, mask = score_of(marked, label), decide_mask(marked, Thresholds.of(rule))
    mask_rejected = (mask > 0).any(axis=(-2, -1))
    decided = verdict(score, marked.mask_score, mask_rejected, rule, functions.logit)
    undecided = negate(is_number(score)) | negate(is_number(marked.mask_score))
    return Decision(
        probability=functions.expit(decided.logit / rule.temperature),
        rejected=decided.rejected | undecided,
        mask=mask,
        score=score,
        mask_score=marked.mask_score,
        mask_rejected=mask_rejected,
        score_rejected=rejects(score, rule.threshold),
    )


def why_undecided(score: float, mask_score: float) -> str:
    """Return why nothing was decided on an image, empty where it was.

    >>> why_undecided(0.5, 0.5), why_undecided(math.nan, 0.5)
    ('', "not decided: the network's score is nan, which is no number")
    """
    for name, value in (("score", score), ("mask's score", mask_score)):
        if not is_number(value):
            return f"not decided: the network's {name} is {value}, which is no number"
    return ""
