"""Good surfaces, seven kinds, as what a camera cannot separate: how bright and how rough.

A surface is an albedo and a relief. Light (`lighting.py`) turns the relief into shading, so that
shots of one part under different light differ the way real ones do. Lengths are given for an
image of 160 px and multiplied by `scale`.
"""

from typing import NamedTuple

import numpy as np

from defect_jax.data.sources.synthetic.noise import Grain, below, normals, texture, uniform


class Surface(NamedTuple):
    """One part's surface, a little larger than an image."""

    albedo: np.ndarray  # shape=(h, w), dtype=float64, share of light returned, 0..1
    relief: np.ndarray  # shape=(h, w), dtype=float64, height in px


def brushed(random: np.random.Philox, shape: tuple[int, int], scale: float) -> Surface:
    """Draw brushed metal: long fine lines in one direction, some coarser, in broad bands."""
    angle = _lay(random)
    fine = texture(random, shape, Grain(25 * scale, 0.45, angle))
    coarse = texture(random, shape, Grain(45 * scale, 1.0 * scale, angle))
    bands = texture(random, shape, Grain(90 * scale, 7 * scale, angle))
    level = uniform(random, 0.46, 0.6)
    albedo = level * (1 + 0.065 * fine + 0.035 * coarse + 0.04 * bands)
    return Surface(albedo, 0.05 * fine + 0.06 * coarse)


def cast(random: np.random.Philox, shape: tuple[int, int], scale: float) -> Surface:
    """Draw sand-cast or blasted metal: even bumps without direction, faint cloudiness."""
    size_px = uniform(random, 0.8, 1.3) * scale
    bumps = texture(random, shape, Grain(size_px, size_px))
    coarse = texture(random, shape, Grain(2.5 * size_px, 2.5 * size_px))
    clouds = texture(random, shape, Grain(18 * scale, 18 * scale))
    level = uniform(random, 0.42, 0.56)
    albedo = level * (1 + 0.03 * bumps + 0.035 * clouds)
    return Surface(albedo, size_px * (0.13 * bumps + 0.08 * coarse))


def woven(random: np.random.Philox, shape: tuple[int, int], scale: float) -> Surface:
    """Draw plain weave: threads over and under each other, uneven in pitch, thickness and tone."""
    pitch_px = uniform(random, 4.6, 6.2) * scale
    y, x = np.indices(shape, dtype=np.float64)
    slack = Grain(30 * scale, 9 * scale)
    sag = [texture(random, shape, slack._replace(angle=angle)) for angle in (np.pi / 2, 0.0)]
    u = x / pitch_px + 0.1 * sag[0]
    v = y / pitch_px + 0.1 * sag[1]
    warp = _thread(u, v, 0)
    weft = _thread(v, u, 1)
    tone = [
        texture(random, shape, Grain(60 * scale, 0.4 * pitch_px, angle))
        for angle in (np.pi / 2, 0.0)
    ]
    top = warp > weft
    fibres = texture(random, shape, Grain(0.7 * scale, 0.7 * scale))
    height = np.maximum(warp, weft)
    level = uniform(random, 0.46, 0.66)
    albedo = level * (0.72 + 0.4 * height + 0.035 * np.where(top, *tone) + 0.035 * fibres)
    return Surface(albedo, 0.08 * pitch_px * height)


def rolled(random: np.random.Philox, shape: tuple[int, int], scale: float) -> Surface:
    """Draw rolled steel: mill marks along the rolling direction, oxide clouds, faint roll
    chatter."""
    angle = _lay(random)
    marks = texture(random, shape, Grain(12 * scale, 0.8 * scale, angle))
    ridges = texture(random, shape, Grain(50 * scale, 2.2 * scale, angle))
    clouds = texture(random, shape, Grain(20 * scale, 9 * scale, angle))
    grit = texture(random, shape, Grain(0.6 * scale, 0.6 * scale))
    swell = texture(random, shape, Grain(40 * scale, 40 * scale))
    y, x = np.indices(shape, dtype=np.float64)
    travel = (x * np.cos(angle) + y * np.sin(angle)) / (uniform(random, 9, 16) * scale)
    chatter = np.sin(2 * np.pi * travel) * (1 + 0.5 * swell)
    level = uniform(random, 0.4, 0.52)
    tone = 0.04 * marks + 0.04 * ridges + 0.06 * clouds + 0.025 * grit + 0.018 * chatter
    return Surface(level * (1 + tone), 0.07 * scale * marks)


def concrete(random: np.random.Philox, shape: tuple[int, int], scale: float) -> Surface:
    """Draw concrete or ground stone: variation on every length, coarse more than fine."""
    lengths_px = (0.6, 1.4, 3.5, 9.0, 24.0)
    weights = (0.045, 0.04, 0.035, 0.035, 0.04)
    layers = [texture(random, shape, Grain(size * scale, size * scale)) for size in lengths_px]
    tone = sum(weight * layer for weight, layer in zip(weights, layers, strict=True))
    level = uniform(random, 0.5, 0.64)
    return Surface(level * (1 + tone), scale * (0.07 * layers[1] + 0.12 * layers[2]))


def ceramic(random: np.random.Philox, shape: tuple[int, int], scale: float) -> Surface:
    """Draw glazed ceramic: almost even, a soft orange peel, fine speckle below the glaze."""
    peel_px = uniform(random, 2.4, 4.0) * scale
    peel = texture(random, shape, Grain(peel_px, peel_px))
    speckle = texture(random, shape, Grain(0.55 * scale, 0.55 * scale))
    clouds = texture(random, shape, Grain(30 * scale, 30 * scale))
    level = uniform(random, 0.54, 0.66)
    albedo = level * (1 + 0.022 * speckle + 0.025 * clouds)
    return Surface(albedo, 0.05 * peel_px * peel)


def milled(random: np.random.Philox, shape: tuple[int, int], scale: float) -> Surface:
    """Draw face-milled metal: arcs of the tool around a centre outside the image."""
    side = max(shape)
    direction = uniform(random, 0, 2 * np.pi)
    reach_px = uniform(random, 0.9, 1.8) * side
    y, x = np.indices(shape, dtype=np.float64)
    centre_y = shape[0] / 2 + reach_px * np.sin(direction)
    centre_x = shape[1] / 2 + reach_px * np.cos(direction)
    radius = np.hypot(y - centre_y, x - centre_x)
    feed_px = uniform(random, 4.5, 7.5) * scale
    wander = texture(random, shape, Grain(25 * scale, 25 * scale))
    phase = radius / feed_px + 0.05 * wander
    # Every pass of the tool leaves its own depth and gloss.
    passes = normals(random, 4 * side)
    depth = np.interp(phase * 2, np.arange(4 * side), passes)
    cusp = np.abs(np.sin(np.pi * phase))
    grit = texture(random, shape, Grain(0.6 * scale, 0.6 * scale))
    level = uniform(random, 0.44, 0.58)
    albedo = level * (0.95 + 0.1 * cusp + 0.035 * depth + 0.025 * grit)
    return Surface(albedo, feed_px * (0.03 * cusp + 0.012 * depth))


KINDS = {
    "brushed": brushed,
    "cast": cast,
    "ceramic": ceramic,
    "concrete": concrete,
    "milled": milled,
    "rolled": rolled,
    "woven": woven,
}


def _lay(random: np.random.Philox) -> float:
    """Draw a direction of machining, horizontal or vertical and a little off."""
    return below(random, 2) * np.pi / 2 + uniform(random, -0.06, 0.06)


def _thread(across: np.ndarray, along: np.ndarray, parity: int) -> np.ndarray:
    """Return the height 0..1 of parallel threads that dive below every second crossing thread."""
    number = np.floor(across)
    bulge = np.sin(np.pi * (across - number))
    dive = np.sin(np.pi * along) * np.where(number % 2 == parity, 1.0, -1.0)
    return np.sqrt(bulge) * (0.62 + 0.38 * dive)
