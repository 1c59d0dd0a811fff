"""A decision on one image, and what shows why: the heat map, the regions, both drawn over it."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from defect_jax.decision.apply import Decision
from defect_jax.decision.look import UNKNOWN, Appearance, Look
from defect_jax.deploy.arrays import checked
from defect_jax.deploy.regions import Region, find_regions
from defect_jax.runtime.errors import UserError


class Taken(NamedTuple):
    """What a network takes, and what it tells apart."""

    classes: tuple[str, ...]
    lights: tuple[int, ...]  # channels of each light of shots of several
    float_range: tuple[float, ...]


class Seen(NamedTuple):
    """What the network sees in an image, beside what is decided of it."""

    heat_map: UInt8[np.ndarray, "h w"]
    probability: Float32[np.ndarray, " marked"]  # of the marked pixels, row by row
    sums: Float[np.ndarray, "members n"] | None = None  # of `appearance`; None: not asked for


class ImageDecision(Decision):
    """What is decided on an image, and why; made by `Predictor.predict`.

    Attributes:
        heat_map: uint8 [h, w], see `decision.heat`: 0 where nothing is judged, 1 to 127 below the
            pixel threshold, 128 to 255 from it on.
        unlike: share of validation parts that look at least as strange to the network, see
            `decision.unlike`; None where the workdir does not have what it takes.
        is_unlike: whether that is at most the rate of `load`; None as well.
        look: brightness, contrast and sharpness against the training images'; None as well.
        watched: what a monitor is to see of the image, see `Predictor.monitor`; None as well.
    """

    heat_map: UInt8[np.ndarray, "h w"]
    unlike: float | None
    is_unlike: bool | None
    look: Look | None
    watched: dict[str, float] | None

    @classmethod
    def of(
        cls, decision: Decision, seen: Seen, taken: Taken, looks: Appearance = UNKNOWN
    ) -> "ImageDecision":
        """Add to a decision what it was made from, and how the image looks."""
        made = cls(*decision)
        made.heat_map, made._probability, _ = seen
        made.unlike, made.is_unlike, made.look, made.watched = looks
        made._taken = taken
        return made

    def _replace(self, **fields: Any) -> "ImageDecision":
        seen = Seen(self.heat_map, self._probability)
        looks = Appearance(self.unlike, self.is_unlike, self.look, self.watched)
        return self.of(super()._replace(**fields), seen, self._taken, looks)

    def regions(self) -> list[Region]:
        """Return the defective regions of the mask, the surest first; see `regions.Region`."""
        return find_regions(self.mask, self._probability, self._taken.classes)

    def overlay(self, image: Any) -> UInt8[np.ndarray, "h w 3"]:
        """Return the image with its heat map and the outlines of its regions, in RGB of 8 bits.

        Args:
            image: the one that was decided on, as `Predictor.predict` took it.

        Raises:
            UserError: it is of another size, or no image.
        """
        # What draws comes with pages, which a program that only decides does not load.
        from defect_jax.deploy.drawings import overlay

        pixels = checked(image, "the image", self._taken.lights, self._taken.float_range)
        if pixels.shape[:2] != self.mask.shape:
            sizes = [list(pixels.shape[:2]), list(self.mask.shape)]
            raise UserError(f"the image: has {sizes[0]} px, but {sizes[1]} px were decided on")
        return overlay(pixels, self.mask > 0, self.heat_map)


def on_host(decision: Decision) -> Decision:
    """Turn NumPy scalars into Python's, and the mask into memory of its own."""
    mask = np.ascontiguousarray(decision.mask)
    plain = {name: np.asarray(value) for name, value in decision._asdict().items()}
    return Decision(**{name: v.item() if v.ndim == 0 else mask for name, v in plain.items()})
