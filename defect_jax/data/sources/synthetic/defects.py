"""Defects with exact masks: pits, scratches, stains and hair cracks.

A defect is a coverage between 0 and 1 with soft edges, and what the surface suffers where it is
covered: a change of tone, of height, and a loss of its texture. The mask is every pixel whose
coverage reaches `MASK_SHARE` of the highest, so it depends neither on the light nor on the noise;
a defect with clean surface inside its outline (`gappy_defects.py`) brings its own mask.
Lengths are given for an image of 160 px and multiplied by `scale`; sizes are log-normal.
"""

from typing import NamedTuple

import numpy as np

from defect_jax.data.sources.synthetic.noise import (
    Grain,
    below,
    long_tailed,
    normals,
    smoothstep,
    texture,
    uniform,
)
from defect_jax.data.sources.synthetic.surfaces import Surface

MASK_SHARE = 0.2
DARK = -1.0
BRIGHT = 1.0


class Defect(NamedTuple):
    """One part's defect, on the same pixels as its surface."""

    coverage: np.ndarray  # shape=(h, w), dtype=float64, 0..1
    tone: float  # relative change of the albedo at full coverage
    depth_px: float  # change of the relief at full coverage
    erased: float  # share of the surface's own texture lost at full coverage
    area: np.ndarray | None = None  # shape=(h, w), dtype=bool, the mask; None: by the coverage


class Place(NamedTuple):
    """Where a defect starts, and the pixels it is drawn on."""

    shape: tuple[int, int]
    y: float
    x: float


def pit(random: np.random.Philox, place: Place, scale: float) -> Defect:
    """Return one round, uneven hole, or a few close together."""
    coverage = np.zeros(place.shape)
    radius_px = long_tailed(random, 3.6, 9.0, 1.6, 18.0) * scale
    neighbours = (0, 0, 0, 1 + below(random, 3))[below(random, 4)]
    _draw_hole(coverage, random, (place.y, place.x), radius_px, 1.2 * scale)
    for _ in range(neighbours):
        y = place.y + uniform(random, -4, 4) * radius_px
        x = place.x + uniform(random, -4, 4) * radius_px
        smaller_px = max(radius_px * uniform(random, 0.4, 0.9), 1.4 * scale)
        _draw_hole(coverage, random, (y, x), smaller_px, 1.2 * scale)
    tone = DARK * long_tailed(random, 0.34, 0.55, 0.18, 0.65)
    return Defect(coverage, tone, -0.17 * min(radius_px, 8 * scale), 0.7)


def scratch(random: np.random.Philox, place: Place, scale: float) -> Defect:
    """Return one slightly bent groove that thins out at its ends, or two side by side."""
    coverage = np.zeros(place.shape)
    length_px = long_tailed(random, 34.0, 90.0, 10.0, 140.0) * scale
    width_px = long_tailed(random, 2.1, 3.4, 1.5, 4.5) * scale
    heading = uniform(random, 0, np.pi)
    steps = 24
    for offset_px in (0.0, 5.0 * width_px)[: 1 + (below(random, 5) == 0)]:
        turns = heading + uniform(random, -0.5, 0.5) * np.linspace(-0.5, 0.5, steps)
        points = _walk(place, turns, length_px / steps)
        points += offset_px * np.array([np.cos(heading), -np.sin(heading)])
        taper = np.sqrt(np.sin(np.pi * np.linspace(0.06, 0.94, steps + 1)))
        draw_stroke(coverage, points, width_px * taper)
    sign = (DARK, BRIGHT, BRIGHT)[below(random, 3)]
    tone = sign * long_tailed(random, 0.3, 0.5, 0.18, 0.6)
    return Defect(coverage, tone, sign * 0.35 * scale, 0.4)


def stain(random: np.random.Philox, place: Place, scale: float) -> Defect:
    """Return a patch of another tone with an uneven outline; the texture shows through."""
    radius_px = long_tailed(random, 11.0, 26.0, 4.0, 40.0) * scale
    stretch = uniform(random, 0.6, 1.0)
    angle = uniform(random, 0, np.pi)
    y, x = np.indices(place.shape, dtype=np.float64)
    along = (x - place.x) * np.cos(angle) + (y - place.y) * np.sin(angle)
    across = (y - place.y) * np.cos(angle) - (x - place.x) * np.sin(angle)
    radius = np.hypot(along, across / stretch) / radius_px
    uneven = texture(random, place.shape, Grain(0.3 * radius_px, 0.3 * radius_px))
    uneven += 0.5 * texture(random, place.shape, Grain(0.1 * radius_px, 0.1 * radius_px))
    # No unevenness at the very centre: a stain never vanishes where it was placed.
    field = 1 - radius + 0.16 * uneven * np.minimum(radius, 1)
    edge = smoothstep(field / uniform(random, 0.12, 0.35))
    # A dried liquid leaves more at its rim than inside.
    inside = smoothstep((field - 0.1) / 0.5)
    coverage = edge * (1 - uniform(random, 0.0, 0.45) * inside)
    sign = (DARK, DARK, DARK, BRIGHT)[below(random, 4)]
    tone = sign * long_tailed(random, 0.26, 0.44, 0.15, 0.5)
    return Defect(coverage, tone, 0.0, 0.0)


def hair_crack(random: np.random.Philox, place: Place, scale: float) -> Defect:
    """Return a thin dark line that wanders, with a branch now and then."""
    coverage = np.zeros(place.shape)
    length_px = long_tailed(random, 36.0, 95.0, 12.0, 150.0) * scale
    width_px = long_tailed(random, 1.7, 2.6, 1.3, 3.2) * scale
    steps = max(8, int(length_px / (3.0 * scale)))
    heading = uniform(random, 0, np.pi)
    points = _walk(place, wander(random, heading, steps), length_px / steps)
    draw_stroke(coverage, points, width_px * np.linspace(1.0, 0.65, steps + 1))
    if below(random, 5) < 2:
        start = points[steps // 4 + below(random, max(1, steps // 2))]
        side = (-1, 1)[below(random, 2)] * uniform(random, 0.5, 1.1)
        turns = wander(random, heading + side, max(4, steps // 3))
        branch = start + np.concatenate([np.zeros((1, 2)), path(turns, length_px / steps)])
        draw_stroke(coverage, branch, width_px * np.linspace(0.85, 0.6, len(branch)))
    tone = DARK * long_tailed(random, 0.42, 0.62, 0.22, 0.7)
    return Defect(coverage, tone, -0.2 * scale, 0.4)


KINDS = {"hair_crack": hair_crack, "pit": pit, "scratch": scratch, "stain": stain}


def mask_of(defect: Defect) -> np.ndarray:
    """Return the bool [h, w] mask: the area, else where the coverage shows."""
    return _shows(defect) if defect.area is None else defect.area


def gaps_of(defect: Defect) -> np.ndarray:
    """Return the bool [h, w] pixels of the mask that look like good surface.

    Their coverage stays below `MASK_SHARE` of its peak. Without an `area` there are none.
    """
    return mask_of(defect) & ~_shows(defect)


def damage(surface: Surface, defect: Defect) -> Surface:
    """Return the surface with the defect in it."""
    kept = 1 - defect.erased * defect.coverage
    level, height = surface.albedo.mean(), surface.relief.mean()
    albedo = level + (surface.albedo - level) * kept
    relief = height + (surface.relief - height) * kept
    return Surface(
        albedo * (1 + defect.tone * defect.coverage), relief + defect.depth_px * defect.coverage
    )


def path(turns: np.ndarray, step_px: float) -> np.ndarray:
    """Return points [n, 2] (y, x) reached by steps into the directions `turns`, from the origin."""
    return np.cumsum(step_px * np.stack([np.sin(turns), np.cos(turns)], axis=1), axis=0)


def wander(random: np.random.Philox, heading: float, steps: int) -> np.ndarray:
    """Return directions in radians of `steps` steps: a turn is forgotten soon, so the heading is
    kept."""
    turns = np.empty(steps)
    drift = 0.0
    for step, kick in enumerate(normals(random, steps)):
        drift = 0.75 * drift + 0.32 * kick
        turns[step] = heading + drift
    return turns


def draw_stroke(
    coverage: np.ndarray, points: np.ndarray, widths_px: np.ndarray, order: int = 2
) -> None:
    """Draw a line into the [h, w] coverage, in place.

    Args:
        coverage: what is drawn already; it is lowered nowhere.
        points: y and x in px, [n, 2].
        widths_px: the n widths at the points, between the two places of half the coverage.
        order: of the profile across the line: 2 is a Gaussian, higher has steeper flanks.
    """
    for start, stop, width_px, next_px in zip(
        points[:-1], points[1:], widths_px[:-1], widths_px[1:], strict=True
    ):
        reach = 2 * max(width_px, next_px) + 1
        window, y, x = _window(coverage.shape, np.stack([start, stop]), reach)
        if y.size == 0 or x.size == 0:
            continue
        step = stop - start
        along = ((y - start[0]) * step[0] + (x - start[1]) * step[1]) / (step @ step)
        along = np.clip(along, 0, 1)
        distance = np.hypot(y - start[0] - along * step[0], x - start[1] - along * step[1])
        width = width_px + (next_px - width_px) * along
        stroke = np.exp(-np.log(2) * (2 * distance / width) ** order)
        np.maximum(coverage[window], stroke, out=coverage[window])


def _shows(defect: Defect) -> np.ndarray:
    return defect.coverage >= MASK_SHARE * defect.coverage.max()


def _walk(place: Place, turns: np.ndarray, step_px: float) -> np.ndarray:
    """Return the same path as n + 1 points whose middle one is at `place`."""
    points = np.concatenate([np.zeros((1, 2)), path(turns, step_px)])
    return points - points[len(points) // 2] + np.array([place.y, place.x])


def _draw_hole(
    coverage: np.ndarray,
    random: np.random.Philox,
    centre: tuple[float, float],
    radius_px: float,
    edge_px: float,
) -> None:
    """Draw an uneven disc, in place, whose edge is `edge_px` wide to either side."""
    waves = normals(random, (3, 2)) * np.array([[0.12], [0.07], [0.04]])
    window, y, x = _window(coverage.shape, np.array([centre]), 1.7 * radius_px + edge_px + 1)
    if y.size == 0 or x.size == 0:
        return
    y, x = y - centre[0], x - centre[1]
    angle = np.arctan2(y, x)
    bumps = sum(
        cos * np.cos((order + 2) * angle) + sin * np.sin((order + 2) * angle)
        for order, (cos, sin) in enumerate(waves)
    )
    outline = radius_px * (1 + np.clip(bumps, -0.4, 0.5))
    radius = np.hypot(y, x)
    hole = smoothstep((outline + edge_px - radius) / (2 * edge_px))
    hole *= 1 - 0.4 * np.minimum(radius / outline, 1) ** 2  # a bowl: deepest in its middle
    np.maximum(coverage[window], hole, out=coverage[window])


def _window(
    shape: tuple[int, int], points: np.ndarray, reach_px: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Return slices around `points` within `shape`, with their row [h, 1] and column [1, w]
    numbers."""
    low = np.floor(points.min(axis=0) - reach_px).astype(int)
    high = np.ceil(points.max(axis=0) + reach_px).astype(int) + 1
    (top, left), (bottom, right) = np.clip(low, 0, shape), np.clip(high, 0, shape)
    y = np.arange(top, bottom, dtype=np.float64)[:, None]
    x = np.arange(left, right, dtype=np.float64)[None, :]
    return (slice(top, bottom), slice(left, right)), y, x
