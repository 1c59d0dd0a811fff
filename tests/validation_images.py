"""Validation images for the tests of decisions, and the options that decide on them."""

import numpy as np

from defect_jax.configs.base import base
from defect_jax.decision.held_out import Validation


def options(**changes):
    return base().decision.to_dict() | changes


def images(label, score, mask_score=None, group=None, area_px=None):
    """One group an image where no groups are given; masks of a thousand pixels."""
    names = np.array([f"p{index:04}" for index in range(len(label))])
    score = np.asarray(score, np.float32)
    return Validation(
        id=names,
        group=names if group is None else np.array([f"g{name}" for name in group]),
        label=np.asarray(label),
        score=score,
        mask_score=score if mask_score is None else np.asarray(mask_score, np.float32),
        area_px=np.full(len(label), 1000) if area_px is None else np.asarray(area_px),
    )
