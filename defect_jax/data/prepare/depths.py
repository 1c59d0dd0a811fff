"""Images of one set that are stored in unlike depths: refused by name where that spoils them.

The network sees all images as shares of one range of counts. Where some hold 12 bits and others 16,
or 8 bits, the same surface has unlike counts, and those of one kind would be all but black.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

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
    return _multiples(_kinds(sixteen)) if len(sixteen) > 1 else []


def depth_notes(images: Images) -> list[str]:
    """Return what to say of images that are much darker or brighter than the others."""
    sixteen = [(name, depth) for name, depth in images if depth.bits == 16]
    if len(sixteen) < 2:
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
    ordered = sorted(images, key=lambda image: image[1].top)
    tops = np.maximum([depth.top for _, depth in ordered], 1.0)
    gaps = tops[1:] / tops[:-1]
    last = int(gaps.argmax()) + 1
    return _Kinds(ordered[:last], ordered[last:], float(gaps.max()))


def _multiples(kinds: _Kinds) -> list[Fault]:
    if kinds.gap < GAP:
        return []
    dark, bright = (_typical(each) for each in (kinds.dark, kinds.bright))
    factor = times(bright, dark, TOLERANCE)
    if factor == 1:
        return []
    few_are_dark = len(kinds.dark) <= len(kinds.bright)
    share = f"about 1/{factor} of" if few_are_dark else f"about {factor} times"
    what = (
        f"holds {share} the values of {max(len(kinds.dark), len(kinds.bright))} other images, as "
        "if its depth were another: save all with the same depth"
    )
    return [Fault(name, what) for name, _ in kinds.fewer]


def _typical(images: Images) -> Depth:
    depths = [depth for _, depth in images]
    middle, top = (float(np.median([getattr(d, of) for d in depths])) for of in ("middle", "top"))
    return depths[0]._replace(middle=middle, top=top)
