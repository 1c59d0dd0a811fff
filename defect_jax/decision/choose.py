"""All that is decided on the validation split, from one table of its images."""

import dataclasses
from functools import partial

import numpy as np
from scipy import special

from defect_jax.decision import combination, shots
from defect_jax.decision.choose_mask import choose_mask
from defect_jax.decision.empirical import choose_empirical
from defect_jax.decision.held_out import Validation, held_out
from defect_jax.decision.record import (
    REJECTS_NOTHING,
    Combination,
    DecisionRule,
    PartDecision,
    Promise,
    SequentialTest,
)
from defect_jax.decision.rules import PROMISES, RULES, Chosen, LabelledScores, Options, rates
from defect_jax.decision.wald import choose_wald
from defect_jax.decision.ways import rejects, verdict
from defect_jax.decision.who_decides import who_decides
from defect_jax.metrics import calibration

FALLBACK_THRESHOLD = 0.5
SEQUENTIAL = {"empirical": choose_empirical, "wald": choose_wald}


def choose(
    images: Validation,
    pixel_threshold: float | None,
    options: Options,
    checkpoint_step: int,
    compared: int = 1,
) -> DecisionRule:
    """Choose thresholds, who decides, the temperature, and how shots of a part are taken together.

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
    if not images.has_both:
        decides = "mask" if np.array_equal(images.score, images.mask_score) else "score"
        return dataclasses.replace(base, decides=decides, note=_nothing_to_choose_from(label))
    thresholds = partial(_thresholds, base, pixel_threshold, options, compared)
    rule = thresholds(images)
    decides = who_decides(images, options, thresholds, rule)
    rule = dataclasses.replace(
        rule, decides=decides.name, why=decides.why, mistakes=decides.mistakes
    )
    mask = images.mask_rejects(rule.mask_threshold, rule.min_area_px)
    score = special.expit(verdict(images.score, images.mask_score, mask, rule).logit)
    temperature = _temperature(images, score, options)
    probability = calibration.temperature_scale(score, temperature["temperature"])
    part, sequential_test, part_promise = _choose_part(images, probability, options, compared)
    return dataclasses.replace(
        rule,
        f1=rates(label, rejects(images.score, rule.threshold)).f1,
        mask_f1=rates(label, mask).f1,
        part=part,
        part_promise=part_promise,
        sequential=sequential_test,
        **temperature,
    )


def _thresholds(
    base: DecisionRule,
    pixel_threshold: float | None,
    options: Options,
    compared: int,
    images: Validation,
) -> DecisionRule:
    """Return the thresholds of score and mask, and their combination."""
    if not images.has_both:
        return base
    choose = partial(_choose, images, options, compared)
    head = choose(images.score)
    mask, min_area_px = choose_mask(images, pixel_threshold, options, choose)
    return dataclasses.replace(
        base,
        threshold=head.threshold,
        mask_threshold=mask.threshold,
        pixel_threshold=_at_most(pixel_threshold, mask.threshold),
        min_area_px=min_area_px,
        promise=head.promise,
        mask_promise=mask.promise,
        logistic=_choose_logistic(images, options, compared),
    )


def _at_most(pixel_threshold: float | None, mask_threshold: float) -> float:
    return mask_threshold if pixel_threshold is None else min(pixel_threshold, mask_threshold)


def _choose(images: Validation, options: Options, compared: int, score: np.ndarray) -> Chosen:
    scored = LabelledScores(images.label, score, images.group)
    return _rounded(RULES[options["rule"]].choose(scored, options, compared))


def _rounded(chosen: Chosen) -> Chosen:
    """Round so that float32 scores are parted alike: devices compare in float32."""
    rounded = np.float32(chosen.threshold)
    if float(rounded) < chosen.threshold:
        rounded = np.nextafter(rounded, np.float32(np.inf))
    return chosen._replace(threshold=float(rounded))


def _choose_part(
    images: Validation, score: np.ndarray, options: Options, compared: int
) -> tuple[PartDecision, SequentialTest, Promise | None]:
    """Return how the shots of a part are taken together, its threshold, and the causal test.

    Args:
        score: probability that the verdict goes by, of each image.
    """
    parts = shots.parts_of(images.group.tolist(), images.id.tolist(), images.label)
    promises = options["rule"] == PROMISES  # which leaves nothing to choose on the same parts
    name = options["shots"] or ("max" if promises else shots.best_shots(parts, score))
    whole = shots.part_scores(parts, score, name)
    table = LabelledScores(parts.label, whole, np.array(parts.group))
    if not 0 < parts.label.sum() < parts.label.size:
        chosen = Chosen(FALLBACK_THRESHOLD)
    else:
        chosen = RULES[options["rule"]].choose(table, options, compared)
    decision = PartDecision(name, chosen.threshold, len(parts.group), int(parts.label.sum()))
    choose_test = SEQUENTIAL[options["sequential"]]
    of_parts = [np.asarray(score, np.float64)[rows] for rows in parts.rows]
    test = choose_test(parts.label, of_parts, decision, options, may_accept=not promises)
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


def _temperature(
    images: Validation, score: np.ndarray, options: Options
) -> dict[str, float | None]:
    """Return the temperature where it lowers the log loss of parts held out, otherwise 1.

    And 1 where it would be a choice on the parts of a promise: the highest of several shots is the
    same one at every temperature, but their mean is not.
    """
    label, temperature = images.label, 1.0
    bound = options["rule"] == PROMISES and options["shots"] not in ("", "max")
    if not bound and _helps(images, score):
        temperature = calibration.best_temperature(label, score)
    after = calibration.temperature_scale(score, temperature)
    return {
        "temperature": temperature,
        "ece_before": calibration.expected_calibration_error(label, score),
        "ece_after": calibration.expected_calibration_error(label, after),
    }


def _helps(images: Validation, score: np.ndarray) -> bool:
    """Return whether the temperature of some parts lowers the log loss of the others."""
    before = after = 0.0
    for inside in held_out(images.label, images.group):
        temperature = calibration.best_temperature(images.label[~inside], score[~inside])
        truth, mine = images.label[inside], score[inside]
        before += calibration.log_loss(truth, mine).sum()
        after += calibration.log_loss(truth, mine, temperature or 1.0).sum()
    return bool(after < before)


def _nothing_to_choose_from(label: np.ndarray) -> str:
    missing = "no defective" if not label.any() else "no good"
    return (
        f"The validation split has {missing} image, so no threshold could be chosen: "
        f"{FALLBACK_THRESHOLD} is only a placeholder."
    )
