"""Page's CUSUM (1954) of several numbers, each both ways, with a promised time to a false alarm."""

from typing import NamedTuple

import numpy as np
from scipy import optimize

OVERSHOOT = 1.166  # twice the mean excess of a normal walk over its bound


class Found(NamedTuple):
    """The first alarm of each stream: at which image (or `NEVER`), since when, in which number."""

    image: np.ndarray
    since: np.ndarray
    number: np.ndarray


NEVER = np.iinfo(np.int64).max


def nothing(streams: int) -> Found:
    """Return what is found before the first image."""
    return Found(np.full(streams, NEVER), np.zeros(streams, int), np.zeros(streams, int))


def cusum(scaled: np.ndarray, promised: int, shift: float) -> Found:
    """Return what the CUSUM for a shift says of streams.

    Args:
        scaled: [images streams numbers], in standard deviations from the mean.
        promised: images to a false alarm, of all numbers and both ways together.
        shift: that it is made for, in standard deviations.
    """
    both = np.concatenate([scaled, -scaled], axis=2)
    _, streams, charts = both.shape
    bound, found = siegmund(promised * charts, shift / 2), nothing(streams)
    level, first, every = np.zeros(both.shape[1:]), np.ones(both.shape[1:], int), np.arange(streams)
    for image, values in enumerate(both, 1):
        first = np.where(level <= 0, image, first)
        level = np.maximum(level + values - shift / 2, 0.0)
        chart = level.argmax(axis=1)
        new = (level[every, chart] >= bound) & (found.image == NEVER)
        found.image[new] = image
        found.since[new] = first[every, chart][new]
        found.number[new] = chart[new] % (charts // 2)
    return found


def siegmund(images: float, allowance: float) -> float:
    """Return the bound with so many images to a false alarm (Siegmund 1985).

    >>> round(siegmund(931.0, 0.5), 1)  # tables have 931 images for 5, 465 both ways
    5.0
    """

    def missing(bound: float) -> float:
        way = 2 * allowance * (bound + OVERSHOOT)
        log_run = way + np.log1p(-(1.0 + way) * np.exp(-way))  # log(e^way - 1 - way)
        return log_run - np.log(2 * allowance**2 * images)

    return float(optimize.brentq(missing, 1e-3, 1e4))
