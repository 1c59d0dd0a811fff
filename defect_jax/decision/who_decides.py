"""Who decides: the score, the mask, either of them, or both in one score.

Chosen on validation images alone. What each way would do to new parts is measured by holding out a
fifth of the parts in turn and choosing all thresholds on the others. The score decides unless
another way makes fewer mistakes than it in nine of ten draws of the parts (bootstrap): with few
parts the ways differ by luck, and the one that looks best often is not.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from defect_jax.decision.held_out import Validation, held_out
from defect_jax.decision.record import DecisionRule
from defect_jax.decision.rules import PROMISES, RULES, Options, Rates
from defect_jax.decision.ways import WAYS, verdict
from defect_jax.metrics.bootstrap import Weights, replicates
from defect_jax.runtime.errors import UserError

FEWEST_PARTS = 10  # of either kind; with fewer every choice is luck
SURE = 0.9  # share of the draws in which another way must do better
REPEATS = 3  # of the division into five
Choose = Callable[[Validation], DecisionRule]


class Decides(NamedTuple):
    """Who decides, why, and the mistakes of each way on parts held out."""

    name: str  # of a `Way`
    why: str
    mistakes: dict[str, float]  # way -> what the rule would have small; empty: not measured


def who_decides(
    images: Validation, options: Options, choose: Choose, rule: DecisionRule
) -> Decides:
    """Choose among the ways to decide.

    Args:
        options: `config.decision`; `decides` names a way that counts whatever the images say.
        choose: the thresholds of all ways, from some of the images.
        rule: the same from all of them.

    Raises:
        UserError: `decides` names a way that there is not.
    """
    if options["decides"]:
        _refuse_missing(options["decides"], rule)
        return Decides(options["decides"], "config.decision.decides names it", {})
    if np.array_equal(images.score, images.mask_score):
        return Decides("mask", "there is no classification head", {})
    if options["rule"] == PROMISES:
        return Decides("score", "a choice on the same parts would break the promise", {})
    if few := _too_few_parts(images):
        return Decides("score", few, {})
    return _best(images, options, choose)


def _too_few_parts(images: Validation) -> str:
    """Return why nothing can be chosen, empty where there are enough parts of both kinds.

    A part whose images are of both kinds counts as both.
    """
    defective, good = (len(set(images.group[images.label == kind])) for kind in (1, 0))
    if min(defective, good) >= FEWEST_PARTS:
        return ""
    return (
        f"only {defective} defective and {good} good parts are there to choose from, and it takes "
        f"{FEWEST_PARTS} of both to prefer another way to the simplest"
    )


def _best(images: Validation, options: Options, choose: Choose) -> Decides:
    rejected = held_out_decisions(images, choose)

    def mistakes(weights: Weights) -> Float[np.ndarray, "ways draws"]:
        return _mistakes(options, images.label, rejected, weights)

    of = dict(zip(WAYS, mistakes(np.ones((1, images.label.size)))[:, 0].tolist(), strict=True))
    rival = min(of, key=of.__getitem__)
    names = list(WAYS)
    drawn = np.concatenate([mistakes(w) for w in replicates(images.group.tolist())], axis=1)
    better = np.mean(drawn[names.index(rival)] < drawn[names.index("score")])
    shown = ", ".join(f"{name} {value:.3f}" for name, value in of.items())
    if better >= SURE:
        return Decides(rival, f"it makes the fewest mistakes on parts held out ({shown})", of)
    return Decides("score", f"no other way is clearly better on parts held out ({shown})", of)


def held_out_decisions(images: Validation, choose: Choose) -> Float[np.ndarray, "ways images"]:
    """Return how often each way rejects each image, by thresholds chosen without its part."""
    rejected = np.zeros((len(WAYS), images.label.size))
    for seed in range(REPEATS):
        for inside in held_out(images.label, images.group, seed):
            rejected[:, inside] += _decisions(images.only(~inside), images.only(inside), choose)
    return rejected / REPEATS


def _decisions(others: Validation, judged: Validation, choose: Choose) -> np.ndarray:
    try:
        rule = choose(others)
    except UserError:  # the smallest area that was asked for leaves these too few defects
        return np.ones((len(WAYS), judged.label.size))
    scores = judged.score, judged.mask_score
    mask = judged.mask_rejects(rule.mask_threshold, rule.min_area_px)
    by = [dataclasses.replace(rule, decides=name) for name in WAYS]
    return np.array([verdict(*scores, mask, each).rejected for each in by], float)


def _mistakes(
    options: Options, label: np.ndarray, rejected: np.ndarray, weights: Weights
) -> Float[np.ndarray, "ways draws"]:
    """Return what the rule would have small, for each way and each draw of the parts."""
    found, alarms = rejected * label @ weights.T, rejected * (1 - label) @ weights.T
    defective, good = weights @ label, weights @ (1 - label)
    with np.errstate(invalid="ignore"):  # a draw without one kind of part: never better
        f1 = 2.0 * found / (found + alarms + defective)
        rates = Rates(f1, found / defective, alarms / good)
    return RULES[options["rule"]].held_out(options, rates)


def _refuse_missing(name: str, rule: DecisionRule) -> None:
    if name == "logistic" and rule.logistic is None:
        raise UserError(
            "config.decision.decides=logistic: score and mask cannot be combined without a "
            "classification head, nor under a promise: name another way"
        )
