"""What of an image is not judged, taken out of its pixels and its mask before they are stored.

Pixels outside of the region are stored black, so that nothing under them can reach a statistic, a
comparison of images or the network.
"""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from ml_collections import ConfigDict

from defect_jax.data.files.images import Header
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.record_encoding import encode_classes
from defect_jax.data.geometry.region import HIDDEN, UNSURE, from_text, together
from defect_jax.data.sources.records import GOOD, Fault, Record

Plane = UInt8[np.ndarray, "h w"] | None  # None where all pixels are judged


def faults(
    raw: RawFiles,
    data: ConfigDict,
    record: Record,
    header: Header,
    drawn: Bool[np.ndarray, "h w"] | None,
) -> list[Fault]:
    """Return a fault for each region of an image that has another size.

    Args:
        drawn: what of the image its own file says to ignore; None without such a file.
    """
    size = header.height, header.width
    found = []
    if drawn is not None and drawn.shape != size:
        what = f"is {_px(drawn.shape)}, but its image {_px(size)}: save it at the image's size"
        found.append(Fault(raw.where(record.ignore), what))
    judged = _region(data)
    if judged is not None and judged.shape != size:
        what = (
            f"is {_px(size)}, but config.data.region {_px(judged.shape)}: one region is for images "
            "of one size; put regions of single images into ignore/"
        )
        found.append(Fault(raw.where(record.image), what))
    return found


def nothing_left(raw: RawFiles, record: Record, ignored: Plane) -> list[Fault]:
    """Return a fault where no pixel of an image is judged."""
    if ignored is None or not (ignored == HIDDEN).all():
        return []
    return [Fault(raw.where(record.ignore or record.image), "leaves no pixel to judge")]


def plane(
    data: ConfigDict,
    unsure: Bool[np.ndarray, "h w"],
    drawn: Bool[np.ndarray, "h w"] | None,
) -> Plane:
    """Return HIDDEN and UNSURE where pixels are not judged, 0 elsewhere."""
    ignored = np.where(unsure, UNSURE, 0).astype(np.uint8)
    if drawn is not None:
        ignored[drawn] = HIDDEN
    return together(ignored, _region(data))


def judged(
    record: Record, ids: UInt8[np.ndarray, "h w"], ignored: Plane
) -> tuple[Record, UInt8[np.ndarray, "h w"]]:
    """Return the mask without what is not judged; a part whose only defects are there is good."""
    if ignored is None:
        return record, ids
    left = np.where(ignored == 0, ids, 0).astype(np.uint8)
    if record.masked and record.label and not left.any():
        record = replace(record, class_name=GOOD)
    return record, left


def blanked(pixels: Shaped[np.ndarray, "h w c"], ignored: Plane) -> Shaped[np.ndarray, "h w c"]:
    """Return the image with hidden pixels black; the very same one where none is."""
    if ignored is None or not (ignored == HIDDEN).any():
        return pixels
    return np.where((ignored == HIDDEN)[..., None], 0, pixels).astype(pixels.dtype)


def facts(ignored: Plane) -> dict[str, Any]:
    """Return the fields of `examine.Facts` on what is not judged."""
    if ignored is None:
        return {}
    digest = hashlib.sha256(repr(ignored.shape).encode() + ignored.tobytes()).hexdigest()
    return {"ignored_px": int(np.count_nonzero(ignored)), "ignored_sha256": digest}


def encoded(ignored: Plane) -> bytes:
    """Return the plane as it is stored: a PNG, or nothing."""
    return b"" if ignored is None else encode_classes(ignored)


def _region(data: ConfigDict) -> Bool[np.ndarray, "h w"] | None:
    return from_text(data.region) if data.get("region") else None


def _px(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]} px"
