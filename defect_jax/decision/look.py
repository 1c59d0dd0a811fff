"""Brightness, contrast and sharpness of an image against the training images', for a person."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.decision.unlike import Known, distance, is_unlike, share_unlike
from defect_jax.models.appearance import LOOKS, numbers

LEAST = 1e-6  # what training images have none of can grow by no share
PERCENTILES = np.arange(101)  # the rows of `unlike.Known.looks`
MEDIAN, QUARTILES = 50, [25, 50, 75]
# What a monitor is given of each image: the looks as they are, and the distance from the training
# images. The latter not of an ensemble, whose members have learnt most of its validation parts.
WATCHED = ("brightness", "contrast", "sharpness", "strangeness")


class Look(NamedTuple):
    """What changes with light and lens, each as a share of the training images' median, less 1."""

    brightness: float  # mean over the pixels that are shown
    contrast: float  # standard deviation over them
    sharpness: float  # mean edge, in standard deviations


def measured(statistics: Float[np.ndarray, "*b n"], spec: InputSpec) -> Float[np.ndarray, "*b 3"]:
    """Return the fields of a `Look` as they are: brightness in counts, the others as numbers.

    Of several channels it is the mean; of contrast and sharpness the geometric one.

    Args:
        statistics: of `appearance.numbers`.
        spec: of the network, with the unit of the images that it sees.
    """
    channels = spec.channels
    parts = [statistics[..., n * channels : (n + 1) * channels] for n in range(LOOKS)]
    shares = np.asarray(spec.mean) + np.asarray(spec.std) * parts[0]
    counts = np.asarray(spec.intensity.low) + np.asarray(spec.intensity.width) * shares
    means = [counts.mean(axis=-1), *(np.exp(part.mean(axis=-1)) for part in parts[1:])]
    return np.stack(means, axis=-1)


def percentiles(
    statistics: Float[np.ndarray, "images n"], spec: InputSpec
) -> Float32[np.ndarray, "101 3"]:
    """Return percentiles of what training images look like, from the least to the most."""
    return np.percentile(measured(statistics, spec), PERCENTILES, axis=0).astype(np.float32)


def against(found: Float[Any, "*b 3"], median: Float[Any, "3"]) -> Float[np.ndarray, "*b 3"]:
    """Return how much more there is of each than in the median training image, as shares.

    >>> against(np.array([118.0, 0.9, 0.5]), np.array([100.0, 1.0, 0.5])).round(4).tolist()
    [0.18, -0.1, 0.0]
    """
    return found / np.maximum(median, LEAST) - 1.0


class Appearance(NamedTuple):
    """What is said of how an image looks; None where the workdir has no known.safetensors."""

    unlike: float | None = None  # share of validation parts at least as strange
    is_unlike: bool | None = None  # whether that is at most the rate asked for
    look: Look | None = None
    watched: dict[str, float] | None = None  # what `Predictor.monitor` is to see of it


UNKNOWN = Appearance()


def appearance(
    sums: Float[np.ndarray, "members n"] | None, known: Known | None, spec: InputSpec, rate: float
) -> Appearance:
    """Say how an image looks, from what the network has summed up of it.

    Args:
        sums: of `appearance.sums`, over all tiles of the image; None where nobody asked for them.
        rate: share of parts like those of validation that may be called unlike.
    """
    if sums is None or known is None:
        return UNKNOWN
    statistics = numbers(np.asarray(sums, np.float64)[:, None], spec.channels)
    away = distance(np.float32(statistics), known.centre, known.whitening)
    unlike = float(share_unlike(away, known.distances)[0])
    found = measured(statistics[0, 0], spec)
    change = against(found, known.looks[MEDIAN])
    watched = dict(zip(WATCHED, watched_of(found[None], away)[0].tolist(), strict=False))
    return Appearance(unlike, is_unlike(unlike, rate), Look(*change.tolist()), watched)


def watched_of(
    found: Float[np.ndarray, "images 3"], away: Float[np.ndarray, "members images"]
) -> Float32[np.ndarray, "images w"]:
    """Return what is watched of images.

    Args:
        found: of `measured`.
        away: of `unlike.distance`.

    >>> looks = np.array([[118.0, 0.9, 0.5]])
    >>> watched_of(looks, np.array([[4.0]])).tolist(), watched_of(looks, np.ones((2, 1))).shape
    ([[118.0, 0.8999999761581421, 0.5, 4.0]], (1, 3))
    """
    columns = [*found.T, *away] if len(away) == 1 else found.T
    return np.stack(columns, axis=1).astype(np.float32)


def in_words(name: str, change: float) -> str:
    """Return a change as a person reads it.

    >>> in_words("brightness", 0.184), in_words("sharpness", -0.25)
    ('brightness +18 %', 'sharpness -25 %')
    """
    return f"{name} {change * 100:+.0f} %"
