"""Where SuperSimpleNet puts its synthetic anomalies: thresholded Perlin noise.

Gradient noise after Perlin (1985, 2002): each corner of a grid has a random direction, each point
the smoothly weighed products of the four around it.
"""

import numpy as np

THRESHOLD = 0.6
EMPTY = 0.5  # share of images without any
LARGEST_POWER = 6  # grids of 1, 2, … 32 cells a side, each axis by itself


def noise_masks(count: int, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Return bool [count side side]."""
    masks = np.zeros((count, side_px, side_px), bool)
    for mask in masks:
        if rng.random() >= EMPTY:
            cells = 2 ** rng.integers(0, LARGEST_POWER, 2)
            mask[:] = perlin_noise(side_px, cells, rng) > THRESHOLD
    return masks


def perlin_noise(side_px: int, cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return noise from about -1 to 1 [side side] on a grid of `cells` down and across."""
    angles = rng.uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1))
    places = [np.arange(side_px) * count / side_px for count in cells]
    corner = [place.astype(int) for place in places]
    within = [place - first for place, first in zip(places, corner, strict=True)]
    fade = [t**3 * (t * (6 * t - 15) + 10) for t in within]
    noise = np.zeros((side_px, side_px))
    for down in (0, 1):
        for across in (0, 1):
            angle = angles[np.ix_(corner[0] + down, corner[1] + across)]
            product = np.sin(angle) * (within[0] - down)[:, None]
            product += np.cos(angle) * (within[1] - across)[None]
            weights = [f if far else 1 - f for f, far in zip(fade, (down, across), strict=True)]
            noise += np.outer(*weights) * product
    return np.sqrt(2) * noise
