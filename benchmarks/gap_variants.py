"""What is compared on gappy defects: networks with and without pixel confidence, and controls."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.controls.post_processing import blur, closing, fill_holes, unchanged


class Variant(NamedTuple):
    """One line of the table.

    Attributes:
        title: in the table.
        row: of the ablation whose networks it takes.
        pixel_confidence: in place of the network's own; None: its own.
        smooth, mend: as those of `controls.post_processing.Control`.
    """

    title: str
    row: str
    pixel_confidence: str | None = None
    smooth: Callable[[np.ndarray], np.ndarray] = unchanged
    mend: Callable[[np.ndarray], np.ndarray] = unchanged


VARIANTS = tuple(
    variant
    for depth, plain, learnt in (
        ("four rows", "base", "confidence"),
        ("two rows", "shallow", "shallow_confidence"),
    )
    for variant in (
        Variant(f"{depth}, plain", plain),
        Variant(f"{depth}, closing 3 px", plain, mend=closing(3)),
        Variant(f"{depth}, closing 5 px", plain, mend=closing(5)),
        Variant(f"{depth}, holes filled", plain, mend=fill_holes),
        Variant(f"{depth}, blur 3 px", plain, smooth=blur(3)),
        Variant(f"{depth}, blur 5 px", plain, smooth=blur(5)),
        Variant(f"{depth}, fixed confidence", plain, "fixed"),
        Variant(f"{depth}, trained with confidence, before it", learnt, "none"),
        Variant(f"{depth}, trained with confidence, after it", learnt),
    )
)
