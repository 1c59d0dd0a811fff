"""The mask's threshold and the smallest area that rejects, chosen together."""

from collections.abc import Callable

import numpy as np

from defect_jax.decision.held_out import Validation
from defect_jax.decision.rules import PROMISES, RULES, Chosen, Options, rates
from defect_jax.runtime.errors import UserError

AREA_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)  # of the marked areas of good images


def choose_mask(
    images: Validation,
    pixel_threshold: float | None,
    options: Options,
    choose: Callable[[np.ndarray], Chosen],
) -> tuple[Chosen, int]:
    """Return the threshold and minimum area: of several areas the one that the rule likes best.

    An image with too small an area cannot be rejected and counts as if it scored nothing. An area
    is left out if the rule would have to reject these, too; and where a promise must hold, any but
    a given one.

    Args:
        choose: by the rule, from a score of each image.

    Raises:
        UserError: no area is left.
    """
    rule, best = RULES[options["rule"]], None
    for area_px in _areas(images, options):
        score = np.where(images.area_px >= area_px, images.mask_score, 0.0)
        chosen = choose(score if area_px > 1 else images.mask_score)
        if area_px > 1:
            if chosen.threshold <= 0.0:
                continue
            # All that is large enough has pixels above their threshold: this decides alike.
            chosen = chosen._replace(threshold=max(chosen.threshold, pixel_threshold or 0.0))
        rejected = images.mask_rejects(chosen.threshold, area_px)
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
