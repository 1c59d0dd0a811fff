"""Damage of fabric with clean surface inside its outline: torn weave and frayed fibres.

Between broken yarns the intact ground shows through, and whoever annotates marks the whole area.
So these defects carry their mask: an outline without holes, of which the strands cover about half;
the rest are the gaps (`defects.gaps_of`). A gap's pixels are those of the good surface, so only
its surroundings can tell that it belongs to the defect. Lengths are given for an image of 160 px
and multiplied by `scale`; sizes are log-normal.
"""

from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from defect_jax.data.sources.synthetic.defects import (
    BRIGHT,
    DARK,
    MASK_SHARE,
    Defect,
    Place,
    draw_stroke,
    wander,
)
from defect_jax.data.sources.synthetic.defects import path as walked
from defect_jax.data.sources.synthetic.noise import (
    Grain,
    below,
    long_tailed,
    normals,
    smoothstep,
    texture,
    uniform,
    uniforms,
)

FLANK_ORDER = 6  # a fibre's flanks end within a pixel, so that the gaps beside it are clean
EDGE_COVERAGE = 0.5  # of the thread from which the fibres come; it holds the outline together
REACHES_MASK_SHARE = 0.287  # smoothstep(this) is MASK_SHARE
CLOSING_PX = 5.0  # radius of the disc that bridges the gaps, tips included
MOST_GAPS = 0.55  # share of a bundle's outline; above it loose fibres are added


class Bundle(NamedTuple):
    """What the fibres on one side of a torn edge have in common."""

    edge: np.ndarray  # shape=(n, 2), y and x in px, from one end to the other
    heading: float  # radians from the x axis towards the y axis
    fan: float  # radians by which the headings of the two outermost fibres differ
    length_px: float
    width_px: float
    step_px: float  # between the points at which a fibre turns


def weave(random: np.random.Philox, place: Place, scale: float) -> Defect:
    """Return a patch in which a grid of strands is damaged; the cells between them are clean."""
    radius_px = long_tailed(random, 16.0, 26.0, 10.0, 30.0) * scale
    # A small patch has small cells, so that it still shows a grid.
    gap_px = min(long_tailed(random, 5.0, 6.8, 3.2, 7.4) * scale, 0.38 * radius_px)
    pitch_px = gap_px / np.sqrt(uniform(random, 0.36, 0.5))
    reach_px = _reach(random, place, radius_px)
    u, v = _grid(random, place, pitch_px)
    broken = uniforms(random, (2, 64, 64)) < 0.06
    width = 1 - gap_px / pitch_px
    flank = 0.3 * scale / pitch_px
    warp = _strands(u, v, broken[0], width, flank)
    weft = _strands(v, u, broken[1], width, flank)
    wear = texture(random, place.shape, Grain(0.6 * pitch_px, 0.6 * pitch_px))
    coverage = np.maximum(warp, weft) * np.clip(0.85 + 0.12 * wear, 0.6, 1.0)
    coverage *= smoothstep(reach_px / scale + 0.75)
    return _defect(random, coverage, scale, area=reach_px > -0.25 * scale)


def fray(random: np.random.Philox, place: Place, scale: float) -> Defect:
    """Draw loose fibres that fan out from a torn edge, to one side or to both."""
    coverage = np.zeros(place.shape)
    length_px = long_tailed(random, 30.0, 46.0, 18.0, 56.0) * scale
    sides = 1 + below(random, 2)
    bundle = _bundle(random, place, length_px, sides, scale)
    draw_stroke(coverage, bundle.edge, np.full(len(bundle.edge), bundle.width_px), FLANK_ORDER)
    coverage *= EDGE_COVERAGE
    bundles = (bundle, bundle._replace(heading=bundle.heading + np.pi, fan=-bundle.fan))[:sides]
    for each in bundles:
        count = max(4, round(length_px / (1.2 * each.width_px + 2.6 * scale)) + 1)
        for share in np.linspace(0, 1, count):
            _draw_fibre(coverage, random, each, share + uniform(random, -0.12, 0.12) / count)
    area = _outline(coverage, scale)
    for loose in range(12):
        if (coverage[area] < MASK_SHARE).mean() <= MOST_GAPS:
            break
        _draw_fibre(coverage, random, bundles[loose % sides], uniform(random, 0, 1))
        area = _outline(coverage, scale)
    return _defect(random, coverage, scale, area)


KINDS = {"fray": fray, "weave": weave}


def _defect(
    random: np.random.Philox, coverage: np.ndarray, scale: float, area: np.ndarray
) -> Defect:
    """Draw worn or soiled strands that are darker, or bare ones that are brighter."""
    sign = (DARK, DARK, BRIGHT)[below(random, 3)]
    tone = sign * long_tailed(random, 0.42, 0.56, 0.3, 0.62)
    # Little relief: its shading would reach a pixel into the gaps.
    return Defect(coverage, tone, sign * 0.06 * scale, 0.5, area)


def _reach(random: np.random.Philox, place: Place, radius_px: float) -> np.ndarray:
    """Return how many px [h, w] a pixel is inside an uneven disc; negative: outside."""
    waves = normals(random, (3, 2)) * np.array([[0.1], [0.06], [0.04]])
    y, x = np.indices(place.shape, dtype=np.float64)
    y, x = y - place.y, x - place.x
    angle = np.arctan2(y, x)
    bumps = sum(
        cos * np.cos((order + 2) * angle) + sin * np.sin((order + 2) * angle)
        for order, (cos, sin) in enumerate(waves)
    )
    return radius_px * (1 + np.clip(bumps, -0.3, 0.3)) - np.hypot(y, x)


def _grid(random: np.random.Philox, place: Place, pitch_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return positions across and along the warp [h, w], in pitches: threads a little askew, and
    sagging."""
    askew = uniform(random, -0.3, 0.3)
    y, x = np.indices(place.shape, dtype=np.float64)
    y, x = y - place.y, x - place.x
    u = (x * np.cos(askew) + y * np.sin(askew)) / pitch_px + uniform(random, 0, 1)
    v = (y * np.cos(askew) - x * np.sin(askew)) / pitch_px + uniform(random, 0, 1)
    slack = Grain(2.5 * pitch_px, 2.5 * pitch_px)
    return tuple(axis + 0.14 * texture(random, place.shape, slack) for axis in (u, v))


def _strands(
    across: np.ndarray, along: np.ndarray, broken: np.ndarray, width: float, flank: float
) -> np.ndarray:
    """Return coverage [h, w] of parallel strands, lengths in pitches; `broken` pieces are
    missing."""
    number = np.rint(across)
    inside = width / 2 - np.abs(across - number)
    strand = smoothstep(inside / (2 * flank) + REACHES_MASK_SHARE)
    rows, columns = number.astype(int) % 64, np.floor(along).astype(int) % 64
    return np.where(broken[rows, columns], 0.0, strand)


def _bundle(
    random: np.random.Philox, place: Place, length_px: float, sides: int, scale: float
) -> Bundle:
    """Return fibres as long as their edge, if they are to one side of it, else half as long."""
    heading = uniform(random, 0, 2 * np.pi)
    ahead = np.array([np.sin(heading), np.cos(heading)])
    across = np.array([np.cos(heading), -np.sin(heading)])
    sideways = np.linspace(-0.5, 0.5, 9)
    bend = uniform(random, -0.3, 0.3) * (sideways**2 - 0.1)
    # The place is the middle of the bundle.
    bend -= 0.5 if sides == 1 else 0.0
    edge = length_px * (sideways[:, None] * across + bend[:, None] * ahead)
    return Bundle(
        edge=edge + np.array([place.y, place.x]),
        heading=heading,
        fan=uniform(random, 0.15, 0.5),
        length_px=length_px / sides,
        width_px=long_tailed(random, 2.1, 2.7, 1.7, 3.1) * scale,
        step_px=2.5 * scale,
    )


def _draw_fibre(
    coverage: np.ndarray, random: np.random.Philox, bundle: Bundle, share: float
) -> None:
    """Draw one fibre, in place, that leaves the edge at `share` of its length."""
    share = min(max(share, 0.0), 1.0)
    place = share * (len(bundle.edge) - 1)
    start = np.array(
        [np.interp(place, np.arange(len(bundle.edge)), axis) for axis in bundle.edge.T]
    )
    # The longest in the middle, so that the tips are on a round line.
    length_px = bundle.length_px * (1 - 1.2 * (share - 0.5) ** 2) * uniform(random, 0.85, 1.1)
    steps = max(4, round(length_px / bundle.step_px))
    heading = bundle.heading + (share - 0.5) * bundle.fan + 0.04 * normals(random, 1)[0]
    turns = heading + 0.3 * wander(random, 0.0, steps)
    points = np.concatenate([start[None], start + walked(turns, length_px / steps)])
    draw_stroke(coverage, points, bundle.width_px * np.linspace(1.0, 0.75, steps + 1), FLANK_ORDER)


def _outline(coverage: np.ndarray, scale: float) -> np.ndarray:
    """Return the bool [h, w] area as it would be marked: closed over the gaps between the
    fibres."""
    strands = (coverage >= MASK_SHARE).astype(np.uint8)
    size = 2 * max(1, round(CLOSING_PX * scale)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return ndimage.binary_fill_holes(cv2.morphologyEx(strands, cv2.MORPH_CLOSE, disc) > 0)
