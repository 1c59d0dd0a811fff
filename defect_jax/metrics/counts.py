"""Pixel confusion counts of a decided mask, and the pooled metrics that follow from them."""

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, UInt32


@flax.struct.dataclass
class Uint64Counter:
    """An array of 64-bit counts.

    >>> count = Uint64Counter.zeros(1)
    >>> for _ in range(3):
    ...     count = count.add(jnp.array([4_000_000_000], jnp.uint32))
    >>> int(count.to_numpy()[0])
    12000000000
    """

    high: Any  # shape=any, dtype=uint32; Any, because trees of shardings have the same form
    low: Any  # the same shape and dtype

    @classmethod
    def zeros(cls, *shape: int) -> "Uint64Counter":
        return cls(high=jnp.zeros(shape, jnp.uint32), low=jnp.zeros(shape, jnp.uint32))

    def add(self, amount: UInt32[Array, "..."], shift: int = 0) -> "Uint64Counter":
        """Add `amount · 2^shift`, 0 <= shift < 32, of the same shape as the count."""
        spilled = amount >> (32 - shift) if shift else jnp.zeros_like(amount)
        return self.merge(Uint64Counter(high=spilled, low=amount << shift))

    def merge(self, other: "Uint64Counter") -> "Uint64Counter":
        low = self.low + other.low
        carry = (low < other.low).astype(jnp.uint32)
        return Uint64Counter(high=self.high + other.high + carry, low=low)

    def to_numpy(self) -> np.ndarray:
        """Return the counts on the host, as uint64."""
        high, low = jax.device_get((self.high, self.low))
        return (np.asarray(high, np.uint64) << np.uint64(32)) + np.asarray(low, np.uint64)


@flax.struct.dataclass
class PixelCounts:
    """True and false positive and negative pixels over all images, exact and in constant memory.

    >>> decided = jnp.array([[[True, True, False, False]]])
    >>> mask = jnp.array([[[True, False, True, False]]])
    >>> counts = PixelCounts.empty().update(decided, mask, jnp.ones((1, 1, 4), bool))
    >>> {key: round(value, 4) for key, value in counts.compute().items()}
    {'miou_pooled': 0.3333, 'miou': 0.3333, 'mpa': 0.5}
    """

    # Uint64Counter, shape=(4,): true negative, false positive, false negative, true positive
    confusion: Any

    @classmethod
    def empty(cls) -> "PixelCounts":
        return cls(confusion=Uint64Counter.zeros(4))

    def update(
        self,
        decided: Bool[Array, "b h w"],
        mask: Bool[Array, "b h w"],
        valid: Bool[Array, "b h w"],
    ) -> "PixelCounts":
        """Add one batch; pixels outside `valid` are padding and count nowhere."""
        cells = (~decided & ~mask, decided & ~mask, ~decided & mask, decided & mask)
        counts = jnp.stack([jnp.sum(cell & valid, dtype=jnp.uint32) for cell in cells])
        return PixelCounts(confusion=self.confusion.add(counts))

    def merge(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(confusion=self.confusion.merge(other.confusion))

    def compute(self) -> dict[str, float | None]:
        """Return the pooled metrics, on the host.

        Returns:
          `miou_pooled`: IoU of the defect class pooled over all pixels, ΣTP / Σ(TP + FP + FN).
          `miou`: mean over background and defect of the pooled IoU. `mpa`: mean over background and
          defect of the share of that class's pixels that is found. A class that occurs neither in
          the truth nor in the prediction is left out of the mean; None when nothing is left.
        """
        tn, fp, fn, tp = (int(count) for count in self.confusion.to_numpy())
        return {
            "miou_pooled": ratio(tp, tp + fp + fn),
            "miou": mean_of_defined([ratio(tn, tn + fp + fn), ratio(tp, tp + fp + fn)]),
            "mpa": mean_of_defined([ratio(tn, tn + fp), ratio(tp, tp + fn)]),
        }


def image_counts(
    decided: Bool[Array, "b h w"], mask: Bool[Array, "b h w"], valid: Bool[Array, "b h w"]
) -> dict[str, Int32[Array, " b"]]:
    """Return pixels of every image: in both masks, in the true one, in the decided one.

    >>> decided, mask = jnp.array([[[True, True, False]]]), jnp.array([[[True, False, True]]])
    >>> {k: int(v[0]) for k, v in image_counts(decided, mask, jnp.ones_like(mask)).items()}
    {'intersection_px': 1, 'true_px': 2, 'predicted_px': 2}
    """
    cells = {
        "intersection_px": decided & mask & valid,
        "true_px": mask & valid,
        "predicted_px": decided & valid,
    }
    return {name: jnp.sum(cell, axis=(1, 2), dtype=jnp.int32) for name, cell in cells.items()}


def ratio(part: int, whole: int) -> float | None:
    """Return a share; None of nothing."""
    return part / whole if whole else None


def mean_of_defined(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not None; None without any."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
