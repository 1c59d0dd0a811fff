"""A picture with its outlines over it, as one SVG: the surface below stays bare."""

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Bool, UInt

from defect_jax.report.outlines import outline
from defect_jax.report.thumbnails import LONGER_SIDE_PX, thumbnail

# As an attribute, because a rule of the sheet would not reach into the copy that <use> makes.
EFFECT = 'vector-effect="non-scaling-stroke"'


def frame_size(image: UInt[np.ndarray, "h w c"]) -> tuple[int, int]:
    """Width and height of the frame, whose pixels the outlines count in.

    >>> frame_size(np.zeros((20, 80, 1), np.uint8))
    (480, 120)
    """
    height, width = image.shape[:2]
    scale = LONGER_SIDE_PX / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def frame(
    name: str,
    alt: str,
    image: UInt[np.ndarray, "h w c"],
    masks: Sequence[tuple[str, Bool[np.ndarray, "h w"]]],
    longer_side_px: int,
    limit: int,
) -> str:
    """The picture as a JPEG of at most `limit` bytes, and below it in the text its outlines.

    Args:
      name: unique in the page; made of letters and digits.
      alt: what is to be seen, for those who do not see it.
      image: of 8 or 16 bits.
      masks: class of the style sheet, "true" or "predicted", and the mask, lowest first.
    """
    jpeg = base64.b64encode(thumbnail(image, longer_side_px, limit)).decode()
    size = 'width="{}" height="{}"'.format(*frame_size(image))
    picture = (
        f'<image id="{name}" {size} preserveAspectRatio="none" '
        f'href="data:image/jpeg;base64,{jpeg}"/>'
    )
    return _svg(name, alt, picture, frame_size(image), masks)


def same_frame(
    name: str,
    of: str,
    alt: str,
    image: UInt[np.ndarray, "h w c"],
    masks: Sequence[tuple[str, Bool[np.ndarray, "h w"]]],
) -> str:
    """The picture of the frame called `of` again, with other outlines and at no cost."""
    return _svg(name, alt, f'<use href="#{of}"/>', frame_size(image), masks)


def _svg(
    name: str,
    alt: str,
    picture: str,
    size: tuple[int, int],
    masks: Sequence[tuple[str, np.ndarray]],
) -> str:
    lines = [
        _line(f"{name}{kind[0]}", kind, outline(mask, *size)) for kind, mask in masks if mask.any()
    ]
    box = f"0 0 {size[0]} {size[1]}"
    return (
        f'<svg class="frame" viewBox="{box}" role="img" aria-label="{escape(alt)}">'
        f"{picture}{''.join(lines)}</svg>"
    )


def _line(name: str, kind: str, path: str) -> str:
    """Drawn twice: a dark rim parts the line from any surface."""
    line = f'<path id="{name}" d="{path}" {EFFECT}/>'
    return f'<g class="outline {kind}">{line}<use href="#{name}"/></g>'
