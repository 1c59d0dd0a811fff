"""Which class of defect is taken for which: one confusion matrix of pixels over all images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer, UInt64

from defect_jax.metrics.counts import Uint64Counter, mean_of_defined, ratio

BACKGROUND = "background"
CLASS_MEANINGS = {
    "class_miou": "mean over background and every class of defect of the pooled IoU; a class that "
    "is nowhere, neither true nor decided, is left out",
    "class_mpa": "mean over background and every class of defect of the share of its true pixels "
    "that is decided as it; a class without a true pixel is left out",
}
IOU, ACCURACY = "iou/", "pixel_accuracy/"  # before the name of a class, in metrics.json


class ClassPixels(NamedTuple):
    """A confusion matrix with the names of its rows, as the report shows it."""

    names: list[str]  # the first is the background's
    pixels: np.ndarray  # uint64 [truth decided]


@flax.struct.dataclass
class ClassCounts:
    """Pixels by true and by decided class, exact and in constant memory.

    Everything is an exact integer, so the result is the same bit for bit on any number of devices
    and for any order and size of the batches.

    Two classes; one pixel of "pit" is taken for a "crack", one is not marked:

    >>> mask = jnp.array([[[0, 0, 1, 1], [2, 2, 2, 2]]], jnp.uint8)
    >>> decided = jnp.array([[[0, 1, 1, 1], [2, 2, 1, 0]]], jnp.uint8)
    >>> counts = ClassCounts.empty(2).update(decided, mask, jnp.ones((1, 2, 4), bool))
    >>> counts.confusion().tolist()
    [[1, 1, 0], [0, 2, 0], [1, 1, 2]]
    >>> {name: round(value, 4) for name, value in counts.compute(["crack", "pit"]).items()}
    {'class_miou': 0.4444, 'class_mpa': 0.6667,
     'iou/background': 0.3333, 'pixel_accuracy/background': 0.5,
     'iou/crack': 0.5, 'pixel_accuracy/crack': 1.0,
     'iou/pit': 0.5, 'pixel_accuracy/pit': 0.5}
    """

    pixels: (
        Any  # Uint64Counter, shape=((N + 1)²,), truth · (N + 1) + decided; background is class 0
    )

    @classmethod
    def empty(cls, classes: int) -> "ClassCounts":
        """Return the state that has seen nothing; `classes` counts those of defects, without the
        background."""
        return cls(pixels=Uint64Counter.zeros((classes + 1) ** 2))

    def update(
        self,
        decided: Integer[Array, "b h w"],
        mask: Integer[Array, "b h w"],
        valid: Bool[Array, "b h w"],
    ) -> "ClassCounts":
        """Add one batch.

        Args:
            decided, mask: the decided and the true class of every pixel, 0 for the background.
            valid: False where the pixel is padding, which counts nowhere.
        """
        cells = self.pixels.low.shape[0]
        side = math.isqrt(cells)
        # A number that is no class would land in the row of another: `confusion` then lacks it.
        counted = valid & (mask < side) & (decided < side)
        cell = mask.astype(jnp.int32) * side + decided.astype(jnp.int32)
        cell = jnp.where(counted, cell, cells)
        counts = jnp.bincount(cell.reshape(-1), length=cells + 1).astype(jnp.uint32)
        return ClassCounts(pixels=self.pixels.add(counts[:-1]))

    def merge(self, other: "ClassCounts") -> "ClassCounts":
        return ClassCounts(pixels=self.pixels.merge(other.pixels))

    def confusion(self) -> UInt64[np.ndarray, "truth decided"]:
        """Return the matrix on the host: a row a true class, a column a decided one."""
        pixels = self.pixels.to_numpy()
        return pixels.reshape(math.isqrt(pixels.size), -1)

    def compute(self, names: Sequence[str]) -> dict[str, float | None]:
        """Return metrics of classes, on the host.

        With p_ij the pixels of true class i that are decided as class j, over background and
        defects alike: `iou/<name>` is p_ii / (Σ_j p_ij + Σ_j p_ji − p_ii), `pixel_accuracy/<name>`
        is p_ii / Σ_j p_ij, and `class_miou` and `class_mpa` are their means over the classes
        (Garcia-Garcia et al. 2017, arXiv 1704.06857, section 5.1: MIoU and MPA).

        Args:
            names: of the classes of defects, in the order of their numbers.

        Returns:
            None where a ratio is 0 / 0; such a class is left out of the mean. So a class that is
            decided and never true has an IoU of 0, which counts, and no accuracy.
        """
        confusion = self.confusion().astype(object)  # Python's integers: a difference may be large
        every = [BACKGROUND, *names]
        if len(every) != len(confusion):
            raise ValueError(f"{len(confusion) - 1} classes of defects, but names {list(names)}")
        right, true, decided = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
        iou = list(map(ratio, right, true + decided - right))
        accuracy = list(map(ratio, right, true))
        metrics = {"class_miou": mean_of_defined(iou), "class_mpa": mean_of_defined(accuracy)}
        for name, overlap, found in zip(every, iou, accuracy, strict=True):
            metrics |= {f"{IOU}{name}": overlap, f"{ACCURACY}{name}": found}
        return metrics


def class_reasons(metrics: Mapping[str, float | None]) -> list[str]:
    """Return one line for every None among the metrics of classes that says why there is no value.

    >>> class_reasons({"iou/pit": None, "pixel_accuracy/pit": None, "iou/crack": 0.5})
    ['iou/pit is null: no pixel is pit, and none is decided as it',
     'pixel_accuracy/pit is null: no pixel is pit']
    """
    lines = []
    for key, value in metrics.items():
        kind, _, name = key.partition("/")
        if value is None:
            nowhere = ", and none is decided as it" if f"{kind}/" == IOU else ""
            why = f"no pixel is {name}{nowhere}" if name else "the split has no pixel"
            lines.append(f"{key} is null: {why}")
    return lines
