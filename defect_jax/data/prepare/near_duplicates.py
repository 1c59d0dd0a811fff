"""Images that nearly are the same: shots of one part that nobody has put into a group.

A thumbnail of each image is kept when it is examined. What all images share, such as a fixture or
the fall of the light, is taken off before they are hashed: without that, different parts before the
same camera came out as the same. Measured on three real sets and a generated one, see docs/data.md
and benchmarks/near_duplicates.py.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import imagehash
import numpy as np
from jaxtyping import Float32, Int64, UInt8, UInt16, UInt64
from PIL import Image

from defect_jax.data.geometry.channels import to_show
from defect_jax.data.sources.groups import connected

SIDE_PX = 32  # of a thumbnail
FINE, COARSE = 16, 8  # sides of the two hashes: 256 bits for textures, 64 for smooth surfaces
# Most bits of either that differ; those of different parts differ in half of them on average. The
# next is taken where one would join more than LARGEST_SHARE of the images, each with the next.
DISTANCES = ((51, 6), (38, 4), (25, 2), (12, 0))
LARGEST_SHARE = 0.25
FEW_IMAGES = 16  # below that, one part is too much of the mean image to be taken off
MOST_A_IMAGE = 100  # pairs; beyond that the images are all alike, and hashes tell nothing
CONTRAST = 32.0  # steps of the hashed image for a standard deviation
PAIRS_AT_ONCE = 2**22  # that are compared, so that they stay in the processor's caches


class Pairs(NamedTuple):
    """Near-duplicates by their rows.

    Attributes:
        rows: the two rows of each pair, the smaller first.
        complete: False where the images are too alike for hashes, and the search was given up.
    """

    rows: Int64[np.ndarray, "n 2"]
    complete: bool


def thumbnail(pixels: UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]) -> bytes:
    """Return a small grey image as bytes, free of brightness and contrast, for `find_pairs`.

    In half floats: rounded to 256 steps, the differences between two even surfaces vanish.
    """
    shown = to_show(pixels)
    grey = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY) if shown.shape[2] == 3 else shown[..., 0]
    while min(grey.shape) >= 16 * SIDE_PX:  # a third of the time of one step
        height, width = (side // 2 for side in grey.shape)
        even = grey[: 2 * height, : 2 * width]
        grey = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.resize(grey.astype(np.float32), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return _normalised(small[None])[0].astype(np.float16).tobytes()


def find_pairs(thumbnails: Sequence[bytes]) -> Pairs:
    """Find the images one of whose hashes nearly agrees, as nearly as `DISTANCES` says."""
    count = len(thumbnails)
    pairs = Pairs(np.zeros((0, 2), np.int64), True)
    words = hashes(thumbnails) if count > 1 else ()
    for distances in DISTANCES if count > 1 else ():
        by_hash = [close_pairs(*given) for given in zip(words, distances, strict=True)]
        rows = np.unique(np.concatenate([found.rows for found in by_hash]), axis=0)
        pairs = Pairs(rows, all(found.complete for found in by_hash))
        joined = max(Counter(connected(count, rows)).values())
        if pairs.complete and joined <= max(FEW_IMAGES, LARGEST_SHARE * count):
            return pairs if joined < count or count < 4 else Pairs(pairs.rows[:0], False)
    return pairs


def hashes(
    thumbnails: Sequence[bytes],
) -> tuple[UInt64[np.ndarray, "n 4"], UInt64[np.ndarray, "n 1"]]:
    """Return the fine and the coarse hash of each image, of what sets it apart from the mean."""
    shape = (len(thumbnails), SIDE_PX, SIDE_PX)
    images = np.frombuffer(b"".join(thumbnails), np.float16).reshape(shape).astype(np.float32)
    if len(images) >= FEW_IMAGES:
        images = _normalised(images - images.mean(axis=0))
    eight_bits = np.clip(np.rint(128 + CONTRAST * images), 0, 255).astype(np.uint8)
    return tuple(_hashed(eight_bits, side) for side in (FINE, COARSE))


def _hashed(images: UInt8[np.ndarray, "n h w"], side: int) -> UInt64[np.ndarray, "n words"]:
    bits = [imagehash.phash(Image.fromarray(i), side, SIDE_PX // side).hash for i in images]
    return np.packbits(np.reshape(bits, (len(bits), -1)), axis=1).view(np.uint64)


def close_pairs(words: UInt64[np.ndarray, "n words"], largest: int) -> Pairs:
    """Find all pairs that differ in at most `largest` bits, block by block.

    100 000 hashes of 256 bits take about a minute on one core.
    """
    count = len(words)
    rows_at_once = max(1, PAIRS_AT_ONCE // count)
    columns = np.ascontiguousarray(words.T)
    found, total = [], 0
    for start in range(0, count, rows_at_once):
        block = columns[:, start : start + rows_at_once, None]
        others = columns[:, None, start:]
        distance = np.zeros((block.shape[1], others.shape[2]), np.uint16)
        for one, other in zip(block, others, strict=True):
            distance += np.bitwise_count(one ^ other)
        first, second = np.nonzero(distance <= largest)
        later = second > first
        found.append(np.stack([first[later], second[later]], axis=1) + start)
        total += len(found[-1])
        if total > MOST_A_IMAGE * count:
            return Pairs(np.zeros((0, 2), np.int64), False)
    return Pairs(np.concatenate(found), True)


def _normalised(images: Float32[np.ndarray, "n h w"]) -> Float32[np.ndarray, "n h w"]:
    """Bring each image to mean 0 and deviation 1; one that is even everywhere becomes 0."""
    images = images - images.mean(axis=(1, 2), keepdims=True)
    deviation = images.std(axis=(1, 2), keepdims=True)
    return images / np.where(deviation > 0, deviation, 1)
