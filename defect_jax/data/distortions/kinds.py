"""The kinds of disturbance and their grades, from gentle to strong, in units of the floor.

The first grades are what a line sees in a good month, the last ones what nobody would miss.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from defect_jax.data.distortions import camera, places, tones
from defect_jax.data.distortions.levels import Counts, Levels
from defect_jax.data.distortions.places import Affine, Moved, Size


@dataclasses.dataclass(frozen=True)
class OfPixels:
    """A change of the pixels alone."""

    moves: ClassVar[bool] = False
    change: Callable[[Counts, float, Levels, np.random.Generator], Counts]

    def __call__(
        self,
        pixels: Float32[np.ndarray, "h w c"],
        mask: UInt8[np.ndarray, "h w"],
        ignored: UInt8[np.ndarray, "h w"],
        grade: float,
        levels: Levels,
        rng: np.random.Generator,
    ) -> Moved:
        """Return the changed pixels, and all else where it was."""
        changed = self.change(pixels, grade, levels, rng)
        return Moved(changed, mask, ignored, np.zeros(mask.shape, bool))


@dataclasses.dataclass(frozen=True)
class OfPlace:
    """A change of where the part lies: what comes in is not judged."""

    moves: ClassVar[bool] = True
    matrix: Callable[[Size, float, np.random.Generator], Affine]

    def __call__(
        self,
        pixels: Float32[np.ndarray, "h w c"],
        mask: UInt8[np.ndarray, "h w"],
        ignored: UInt8[np.ndarray, "h w"],
        grade: float,
        levels: Levels,
        rng: np.random.Generator,
    ) -> Moved:
        """Return all planes where they lie now."""
        del levels
        matrix = self.matrix(mask.shape, grade, rng)
        return places.moved(pixels, mask, ignored, matrix)


class Kind(NamedTuple):
    """One kind of disturbance.

    Attributes:
        name: in files, and in words.
        what: happens, for users.
        grade_words: a format that makes text of a grade.
        grades: from gentle to strong.
        apply: what it does to the planes of an image.
    """

    name: str
    what: str
    grade_words: str
    grades: tuple[float, ...]
    apply: OfPixels | OfPlace

    def in_words(self, grade: float) -> str:
        """Return a grade with its unit.

        >>> KINDS[0].in_words(1.2)
        '×1.2'
        """
        return self.grade_words.format(grade)


LIGHT, CONTRAST = OfPixels(tones.brightness), OfPixels(tones.contrast)
MEAN = "about the mean of the image"
KINDS = (
    Kind("brighter", "more light", "×{:g}", (1.1, 1.2, 1.35, 1.5, 2.0), LIGHT),
    Kind("darker", "less light", "×{:g}", (0.9, 0.8, 0.7, 0.5, 0.3), LIGHT),
    Kind("lower contrast", MEAN, "×{:g}", (0.9, 0.8, 0.65, 0.5, 0.3), CONTRAST),
    Kind("higher contrast", MEAN, "×{:g}", (1.1, 1.25, 1.5, 1.75, 2.0), CONTRAST),
    Kind("blur", "Gaussian, its σ", "{:g} px", (0.5, 1.0, 1.5, 2.0, 3.0), OfPixels(camera.blur)),
    Kind(
        *("noise", "Gaussian, its σ in % of the range that the training images fill", "{:g} %"),
        *((1.0, 2.0, 4.0, 7.0, 10.0), OfPixels(camera.noise)),
    ),
    Kind(
        "JPEG", "quality of the file", "{:g}", (90.0, 75.0, 60.0, 40.0, 20.0), OfPixels(camera.jpeg)
    ),
    Kind(
        "shift",
        "to one of four sides",
        "{:g} px",
        (2.0, 4.0, 8.0, 16.0, 32.0),
        OfPlace(places.shift),
    ),
    Kind(
        "rotation", "to either side", "{:g}°", (1.0, 2.0, 4.0, 8.0, 15.0), OfPlace(places.rotation)
    ),
    Kind(
        *("scale", "larger or smaller", "×{:g}", (1.02, 1.05, 1.1, 1.2, 1.3)),
        OfPlace(places.scale),
    ),
)
