"""What an evaluation carries from batch to batch on the device."""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, UInt8

from defect_jax.metrics.class_counts import ClassCounts
from defect_jax.metrics.counts import PixelCounts
from defect_jax.metrics.histogram import PixelHistogram


class Accumulated(NamedTuple):
    """All pixels so far: by probability, by decision, and by class."""

    histogram: PixelHistogram
    counts: PixelCounts
    classes: ClassCounts | None  # None where pixels are defect or not

    @classmethod
    def empty(cls, num_classes: int) -> "Accumulated":
        """Return the state that has seen nothing; `num_classes` counts those of defects."""
        classes = ClassCounts.empty(num_classes) if num_classes > 1 else None
        return cls(PixelHistogram.empty(), PixelCounts.empty(), classes)

    def update(
        self,
        probability: Float[Array, "b h w"],
        decided: UInt8[Array, "b h w"],
        valid: Bool[Array, "b h w"],
        truth: dict[str, Any],
    ) -> "Accumulated":
        """Add one batch.

        Args:
            probability: of any defect.
            decided: class of each pixel, 0 = background.
            valid: False where the pixel is padding.
            truth: `native_mask` (class of each pixel), `region_weight` and `regions` of a batch.
        """
        seen = self.seen(probability, valid, truth)
        return seen.counted(decided, valid, truth["native_mask"])

    def seen(
        self,
        probability: Float[Array, "b h w"],
        valid: Bool[Array, "b h w"],
        truth: dict[str, Any],
    ) -> "Accumulated":
        """Add the probabilities of a batch alone, as `update` does."""
        regions = truth["region_weight"], truth["regions"]
        mask = truth["native_mask"] > 0
        return self._replace(histogram=self.histogram.update(probability, mask, valid, *regions))

    def counted(
        self,
        decided: UInt8[Array, "b h w"],
        valid: Bool[Array, "b h w"],
        mask: UInt8[Array, "b h w"],
    ) -> "Accumulated":
        """Add what was decided in a batch alone; `mask` has the true class of each pixel."""
        counts = self.counts.update(decided > 0, mask > 0, valid)
        classes = None if self.classes is None else self.classes.update(decided, mask, valid)
        return self._replace(counts=counts, classes=classes)
