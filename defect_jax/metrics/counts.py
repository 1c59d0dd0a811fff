"""Pixel confusion counts of a decided mask, and the pooled metrics that follow from them."""

from typing import Any

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from defect_jax.metrics.wide import WideCount


@flax.struct.dataclass
class PixelCounts:
    """True and false positive and negative pixels over all pictures, exact and in constant memory.

    >>> decided = jnp.array([[[True, True, False, False]]])
    >>> mask = jnp.array([[[True, False, True, False]]])
    >>> counts = PixelCounts.empty().update(decided, mask, jnp.ones((1, 1, 4), bool))
    >>> {key: round(value, 4) for key, value in counts.compute().items()}
    {'miou_pooled': 0.3333, 'miou': 0.3333, 'mpa': 0.5}
    """

    confusion: (
        Any  # WideCount, shape=(4,): true negative, false positive, false negative, true positive
    )

    @classmethod
    def empty(cls) -> "PixelCounts":
        return cls(confusion=WideCount.zeros(4))

    def update(
        self,
        decided: Bool[Array, "b h w"],
        mask: Bool[Array, "b h w"],
        valid: Bool[Array, "b h w"],
    ) -> "PixelCounts":
        """Adds one batch; pixels outside `valid` are padding and count nowhere."""
        cells = (~decided & ~mask, decided & ~mask, ~decided & mask, decided & mask)
        counts = jnp.stack([jnp.sum(cell & valid, dtype=jnp.uint32) for cell in cells])
        return PixelCounts(confusion=self.confusion.add(counts))

    def merge(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(confusion=self.confusion.merge(other.confusion))

    def compute(self) -> dict[str, float | None]:
        """The pooled metrics, on the host.

        Returns:
          `miou_pooled`: IoU of the defect class pooled over all pixels, ΣTP / Σ(TP + FP + FN).
          `miou`: mean over background and defect of the pooled IoU. `mpa`: mean over background and
          defect of the share of that class's pixels that is found. A class that occurs neither in
          the truth nor in the prediction is left out of the mean; None when nothing is left.
        """
        tn, fp, fn, tp = (int(count) for count in self.confusion.to_numpy())
        return {
            "miou_pooled": _ratio(tp, tp + fp + fn),
            "miou": _mean([_ratio(tn, tn + fp + fn), _ratio(tp, tp + fp + fn)]),
            "mpa": _mean([_ratio(tn, tn + fp), _ratio(tp, tp + fn)]),
        }


def picture_counts(
    decided: Bool[Array, "b h w"], mask: Bool[Array, "b h w"], valid: Bool[Array, "b h w"]
) -> dict[str, Int32[Array, " b"]]:
    """Pixels of every picture: in both masks, in the true one, in the decided one.

    >>> decided, mask = jnp.array([[[True, True, False]]]), jnp.array([[[True, False, True]]])
    >>> {k: int(v[0]) for k, v in picture_counts(decided, mask, jnp.ones_like(mask)).items()}
    {'intersection_px': 1, 'true_px': 2, 'predicted_px': 2}
    """
    cells = {
        "intersection_px": decided & mask & valid,
        "true_px": mask & valid,
        "predicted_px": decided & valid,
    }
    return {name: jnp.sum(cell, axis=(1, 2), dtype=jnp.int32) for name, cell in cells.items()}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
