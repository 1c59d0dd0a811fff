"""Images of one set that are stored in unlike depths: refused by name where that spoils them.

The network sees all images as shares of one range of counts. Where some hold 12 bits and others 16,
or 8 bits, the same surface has unlike counts, and those of one kind would be all but black.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from defect_jax.data.geometry.depth import Depth, times
from defect_jax.data.sources.records import Fault, listed

GAP = 2.5  # ratio between the darkest of the bright images and the brightest of the dark ones
WIDE_GAP = 4.0  # such that it is said even where the images of both kinds are no multiples
TOLERANCE = 1.3

Images = Sequence[tuple[str, Depth]]  # name of each, as it is shown


class _Kinds(NamedTuple):
    """Images of 16 bits on both sides of the widest gap in their brightness."""

    dark: Images
    bright: Images
    gap: float

    @property
    def fewer(self) -> Images:
        """Return those that there are fewer of, in the order of their names."""
        return sorted(min(self.dark, self.bright, key=len))


def depth_faults(images: Images) -> list[Fault]:
    """Return a fault for each image whose counts mean something else than those of most others."""
    eight = [(name, depth) for name, depth in images if depth.bits == 8]
    sixteen = [(name, depth) for name, depth in images if depth.bits == 16]
    known = all(depth.widened for _, depth in sixteen)
    if eight and sixteen and not known:
        what = (
            "{} other images have {} bits, and how the values of the two are related is not known: "
            "save all with the same depth"
        )
        few, many = sorted((eight, sixteen), key=len)
        bits = few[0][1].bits
        what = f"has {bits} bits, but " + what.format(len(many), 24 - bits)
        return [Fault(name, what) for name, _ in few]
    return _multiples(sixteen)


def depth_notes(images: Images) -> list[str]:
    """Return what to say of images that are much darker or brighter than the others."""
    sixteen = [(name, depth) for name, depth in images if depth.bits == 16]
    if len(sixteen) < 2 or depth_faults(images):  # which name them already
        return []
    kinds = _kinds(sixteen)
    if kinds.gap < WIDE_GAP:
        return []
    darker = "darker" if len(kinds.dark) <= len(kinds.bright) else "brighter"
    return [
        f"{len(kinds.fewer)} of {len(images)} images of 16 bits are at least {kinds.gap:.0f} times "
        f"{darker} than all others; if their depth is another, save all with the same: "
        f"{listed([name for name, _ in kinds.fewer])}"
    ]


def _kinds(images: Images) -> _Kinds:
    ordered, ratios = _ratios(images)
    last = int(ratios.argmax()) + 1
    return _Kinds(ordered[:last], ordered[last:], float(ratios.max()))


def _ratios(images: Images) -> tuple[Images, Float[np.ndarray, " n"]]:
    """Return images from dark to bright, and how many times brighter each next one is."""
    ordered = sorted(images, key=lambda image: image[1].top)
    tops = np.maximum([depth.top for _, depth in ordered], 1.0)
    return ordered, tops[1:] / tops[:-1]


def _multiples(images: Images) -> list[Fault]:
    """Return a fault for each image of a kind that holds a multiple, or a part, of what most do.

    There may be three kinds: 12, 14 and 16 bits are equally far apart.
    """
    kinds = _kinds_apart(images)
    most = max(reversed(kinds), key=len)
    return [fault for kind in kinds if kind is not most for fault in _of_other_depth(kind, most)]


def _kinds_apart(images: Images) -> list[Images]:
    """Part images where their brightness has a gap; the darkest are the first."""
    ordered, ratios = _ratios(images)
    cuts = (np.flatnonzero(ratios >= GAP) + 1).tolist()
    return [ordered[start:end] for start, end in pairwise([0, *cuts, len(ordered)])]


def _of_other_depth(kind: Images, most: Images) -> list[Fault]:
    this, others = _typical(kind), _typical(most)
    is_darker = this.top < others.top
    factor = times(others, this, TOLERANCE) if is_darker else times(this, others, TOLERANCE)
    if factor == 1:
        return []
    share = f"about 1/{factor} of" if is_darker else f"about {factor} times"
    what = (
        f"holds {share} the values of {len(most)} other images, as if its depth were another: save "
        "all with the same depth"
    )
    return [Fault(name, what) for name, _ in sorted(kind)]


def _typical(images: Images) -> Depth:
    depths = [depth for _, depth in images]
    middle, top = (float(np.median([getattr(d, of) for d in depths])) for of in ("middle", "top"))
    return depths[0]._replace(middle=middle, top=top)
