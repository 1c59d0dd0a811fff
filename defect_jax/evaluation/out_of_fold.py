"""Decisions from scores out of fold: one from all parts, to ship, and one for each fold, to judge.

A fold is judged by thresholds of every kind that the other folds chose, so that no part has a say
in how it is decided on itself.
"""

import dataclasses
from collections.abc import Sequence
from functools import reduce

import jax
import numpy as np
from ml_collections import ConfigDict

from defect_jax.data.prepare.folds import OUT_OF_FOLD
from defect_jax.data.prepare.prepared import Split
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Thresholds
from defect_jax.decision.choose import choose
from defect_jax.decision.held_out import Validation
from defect_jax.decision.record import REJECTS_NOTHING
from defect_jax.decision.rules import PROMISES, Options, possible_miss_rate
from defect_jax.evaluation.evaluator import Evaluate, OnMask, Scores
from defect_jax.evaluation.validation import mask_thresholds, to_choose_on
from defect_jax.metrics.histogram import PixelHistogram
from defect_jax.models.initialise import Variables


class HeldOut:
    """The images of one fold, and the network that has not seen them.

    Attributes:
        split: the images.
        scores: theirs, with nothing marked.
    """

    def __init__(self, split: Split, member: Variables, evaluate: Evaluate):
        self.split, self._member, self._evaluate = split, member, evaluate
        self.scores = evaluate(member, mask_thresholds(REJECTS_NOTHING, REJECTS_NOTHING))
        self._marked: dict[float, Scores] = {}

    def to_choose_on(self, pixel_threshold: float) -> Validation:
        """Return the table to choose on, with what this threshold marks in each image."""
        if pixel_threshold not in self._marked:
            thresholds = mask_thresholds(0.0, pixel_threshold)
            self._marked[pixel_threshold] = self._evaluate(self._member, thresholds)
        return to_choose_on(self.split, self.scores, self._marked[pixel_threshold])

    def decided(self, rule: DecisionRule, on_mask: OnMask) -> Scores:
        """Return the scores of a pass that decides by a rule; arguments as those of
        `Evaluator`."""
        return self._evaluate(self._member, Thresholds.of(rule), on_mask, shown=True)


def decide_on(
    folds: Sequence[HeldOut], config: ConfigDict, step: int, options: Options | None = None
) -> DecisionRule:
    """Decide everything on some folds together; the networks are of one step, none was chosen.

    Args:
        step: of the checkpoints.
        options: in place of `config.decision`.

    Raises:
        UserError: as `choose`.
    """
    options = config.decision.to_dict() if options is None else dict(options)
    pixel_threshold = merged_histogram(folds).best_f1_threshold()
    pixel = REJECTS_NOTHING if pixel_threshold is None else pixel_threshold
    tables = [fold.to_choose_on(pixel) for fold in folds]
    images = Validation(*map(np.concatenate, zip(*tables, strict=True)))
    made = choose(images, pixel_threshold, options, step, compared=1)
    return dataclasses.replace(made, prune=config.model.prune, chosen_on=OUT_OF_FOLD)


def decide_on_others(
    folds: Sequence[HeldOut], number: int, config: ConfigDict, step: int
) -> DecisionRule:
    """Decide on all folds but one, for that one.

    Fewer parts than all may be too few for the promise: the least miss rate that they can promise
    takes its place then, for which none of them may be missed.
    """
    others = [fold for place, fold in enumerate(folds) if place != number]
    options = config.decision.to_dict()
    if options["rule"] == PROMISES:
        parts = {row.group for fold in others for row in fold.split.rows if row.label}
        least = possible_miss_rate(len(parts), options["confidence"], compared=1)
        options["miss_rate"] = max(options["miss_rate"], least)
    return decide_on(others, config, step, options)


def merged_histogram(folds: Sequence[HeldOut]) -> PixelHistogram:
    """Return the pixels of several folds, counted together."""
    return reduce(PixelHistogram.merge, [fold.scores.histogram for fold in folds])


def merged_scores(scores: Sequence[Scores]) -> Scores:
    """Return the scores of several splits as those of one: their rows one after the other."""
    names = scores[0].images
    images = {name: np.concatenate([each.images[name] for each in scores]) for name in names}
    kinds = zip(*(each[1:] for each in scores), strict=True)
    together = [None if same[0] is None else reduce(type(same[0]).merge, same) for same in kinds]
    return Scores(images, *jax.device_get(together))
