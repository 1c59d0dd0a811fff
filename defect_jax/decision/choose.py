"""All that is decided on the validation split, from one table of its images."""

import dataclasses
from typing import NamedTuple

import numpy as np

from defect_jax.decision import combination, sequential, shots
from defect_jax.decision.apply import Thresholds, mask_rejects, rejects
from defect_jax.decision.record import (
    REJECTS_NOTHING,
    Combination,
    DecisionRule,
    PartDecision,
    Promise,
    SequentialTest,
)
from defect_jax.decision.rules import RULES, Chosen, LabelledScores, Options, rates
from defect_jax.metrics import calibration
from defect_jax.runtime.errors import UserError

FALLBACK_THRESHOLD = 0.5
PROMISES = "guaranteed_miss_rate"
AREA_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)  # of the marked areas of good images


class Validation(NamedTuple):
    """The images that everything is chosen on, an entry each.

    Attributes:
        id, group: of the image, and of the part it shows.
        label: 1 = defective.
        score: of the head, float32; the mask's where there is no head.
        mask_score: highest probability of the mask.
        area_px: pixels of at least the pixel threshold.
    """

    id: np.ndarray
    group: np.ndarray
    label: np.ndarray
    score: np.ndarray
    mask_score: np.ndarray
    area_px: np.ndarray


def choose(
    images: Validation,
    pixel_threshold: float | None,
    options: Options,
    checkpoint_step: int,
    compared: int = 1,
) -> DecisionRule:
    """Choose temperature, thresholds, minimum area and how the shots of a part are taken together.

    Without defective or without good images no rule has a useful answer: then all thresholds are
    0.5 and `note` says so.

    Args:
        images: of the validation split.
        pixel_threshold: that `images.area_px` was counted with; lowered to the mask's threshold
            where it is above. None, when no pixel is defective, becomes that too.
        options: `config.decision`.
        checkpoint_step: of the network that made the scores.
        compared: checkpoints that were compared on the same images before.

    Raises:
        UserError: too few parts for the promise that the rule shall make, or no decision with the
            minimum area that was asked for.
    """
    label = images.label
    base = DecisionRule(
        threshold=FALLBACK_THRESHOLD,
        mask_threshold=FALLBACK_THRESHOLD,
        pixel_threshold=_at_most(pixel_threshold, FALLBACK_THRESHOLD),
        checkpoint_step=checkpoint_step,
        pictures=label.size,
        defective=int(label.sum()),
        rule=options["rule"],
        options=dict(options),
    )
    if not 0 < label.sum() < label.size:
        return dataclasses.replace(base, note=_nothing_to_choose_from(label))
    head = _choose(images, images.score, options, compared)
    mask, min_area_px = _choose_mask(images, pixel_threshold, options, compared)
    part, sequential_test, part_promise = _choose_part(images, options, compared)
    return dataclasses.replace(
        base,
        threshold=head.threshold,
        mask_threshold=mask.threshold,
        pixel_threshold=_at_most(pixel_threshold, mask.threshold),
        min_area_px=min_area_px,
        f1=rates(label, rejects(images.score, head.threshold)).f1,
        mask_f1=rates(label, _mask_rejects(images, mask.threshold, min_area_px)).f1,
        promise=head.promise,
        mask_promise=mask.promise,
        part=part,
        part_promise=part_promise,
        sequential=sequential_test,
        logistic=_choose_logistic(images, options, compared),
        **_temperature(images),
    )


def _at_most(pixel_threshold: float | None, mask_threshold: float) -> float:
    return mask_threshold if pixel_threshold is None else min(pixel_threshold, mask_threshold)


def _choose(images: Validation, score: np.ndarray, options: Options, compared: int) -> Chosen:
    scored = LabelledScores(images.label, score, images.group)
    return _rounded(RULES[options["rule"]].choose(scored, options, compared))


def _rounded(chosen: Chosen) -> Chosen:
    """Round so that float32 scores are parted alike: devices compare in float32."""
    rounded = np.float32(chosen.threshold)
    if float(rounded) < chosen.threshold:
        rounded = np.nextafter(rounded, np.float32(np.inf))
    return chosen._replace(threshold=float(rounded))


def _choose_mask(
    images: Validation, pixel_threshold: float | None, options: Options, compared: int
) -> tuple[Chosen, int]:
    """Return the threshold and minimum area together: of several areas the one that the rule likes
    best.

    An image with too small an area cannot be rejected and counts as if it scored nothing. An area
    is left out if the rule would have to reject these, too; and where a promise must hold, any but
    a given one.
    """
    rule, best = RULES[options["rule"]], None
    for area_px in _areas(images, options):
        score = np.where(images.area_px >= area_px, images.mask_score, 0.0)
        chosen = _choose(images, score if area_px > 1 else images.mask_score, options, compared)
        if area_px > 1:
            if chosen.threshold <= 0.0:
                continue
            # All that is large enough has pixels above their threshold: this decides alike.
            chosen = chosen._replace(threshold=max(chosen.threshold, pixel_threshold or 0.0))
        rejected = _mask_rejects(images, chosen.threshold, area_px)
        loss = rule.loss(options, rates(images.label, rejected))
        if best is None or loss < best[0]:  # of equal loss the smallest area
            best = (loss, chosen, area_px)
    if best is None:
        raise UserError(
            f"config.decision.min_area_px={options['min_area_px']}: too many validation defects "
            f"are smaller in the mask for the rule {options['rule']}; ask for a smaller area"
        )
    return best[1], best[2]


def _areas(images: Validation, options: Options) -> list[int]:
    given = options["min_area_px"]
    if given is not None:
        return [given]
    if options["rule"] == PROMISES:
        return [1]
    marked = images.area_px[(images.label == 0) & (images.area_px > 0)]
    if not marked.size:
        return [1]
    above = np.quantile(marked, AREA_QUANTILES, method="higher").astype(int) + 1
    return [1, *sorted(set(above.tolist()))]


def _mask_rejects(images: Validation, threshold: float, area_px: int) -> np.ndarray:
    # A pixel that reaches the mask's threshold reaches the pixel's too, which is lowered to it.
    smallest_px = area_px if area_px > 1 else 0
    thresholds = Thresholds(threshold, threshold, smallest_px)
    return mask_rejects(images.mask_score, images.area_px, thresholds)


def _choose_part(
    images: Validation, options: Options, compared: int
) -> tuple[PartDecision, SequentialTest, Promise | None]:
    """Return how the shots of a part are taken together, its threshold, and the causal test."""
    parts = shots.parts_of(images.group.tolist(), images.id.tolist(), images.label)
    promises = options["rule"] == PROMISES  # which leaves nothing to choose on the same parts
    name = options["shots"] or ("max" if promises else shots.best_shots(parts, images.score))
    running = shots.running_scores(parts, images.score, name)
    score = np.array([scores[-1] for scores in running])
    table = LabelledScores(parts.label, score, np.array(parts.group))
    if not 0 < parts.label.sum() < parts.label.size:
        chosen = Chosen(FALLBACK_THRESHOLD)
    else:
        chosen = RULES[options["rule"]].choose(table, options, compared)
    decision = PartDecision(name, chosen.threshold, len(parts.group), int(parts.label.sum()))
    test = sequential.choose_test(parts.label, running, chosen.threshold, may_accept=not promises)
    return decision, test, chosen.promise


def _choose_logistic(images: Validation, options: Options, compared: int) -> Combination | None:
    """Return None without a head, and for a promise: weights fitted on the same parts would break
    it."""
    if options["rule"] == PROMISES or np.array_equal(images.score, images.mask_score):
        return None
    weights = combination.fit(images.label, images.score, images.mask_score)
    score = combination.combined(weights, images.score, images.mask_score)
    scored = LabelledScores(images.label, score, images.group)
    chosen = RULES[options["rule"]].choose(scored, options, compared)
    return Combination(*weights, min(chosen.threshold, REJECTS_NOTHING))


def _temperature(images: Validation) -> dict[str, float | None]:
    label, score = images.label, images.score
    temperature = calibration.best_temperature(label, score)
    after = calibration.temperature_scale(score, temperature)
    return {
        "temperature": temperature,
        "ece_before": calibration.expected_calibration_error(label, score),
        "ece_after": calibration.expected_calibration_error(label, after),
    }


def _nothing_to_choose_from(label: np.ndarray) -> str:
    missing = "no defective" if not label.any() else "no good"
    return (
        f"The validation split has {missing} image, so no threshold could be chosen: "
        f"{FALLBACK_THRESHOLD} is only a placeholder."
    )
