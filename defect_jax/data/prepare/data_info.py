"""What the prepared data decide for a run: form, intensity and classes of the images.

It stands in config.json as `data_info`, and is read from there by whatever uses the network later.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from defect_jax.data.files.reading import in_threads
from defect_jax.data.files.record_encoding import decode_ignored, decode_lights
from defect_jax.data.geometry.intensity import WIDENED
from defect_jax.data.geometry.region import HIDDEN
from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.data.sources.records import DEFECT
from defect_jax.metrics.slices import size_edges
from defect_jax.runtime.errors import UserError

MOST_IMAGES = 256  # enough for three digits, and read in a second or two
BEYOND = 0.001  # share of the pixels that are darker than the range, and of those brighter
EVEN = 0.01  # smallest std, as a share of the range


def data_info(prepared: Prepared, num_classes: int) -> dict[str, Any]:
    """Return what holds for the images, and the fingerprint of their set.

    Args:
        num_classes: of defects that the network tells apart.

    Raises:
        UserError: the network tells more or fewer classes apart than the masks have.
    """
    info, train = prepared.info, prepared.splits["train"]
    return {
        "channels": info.channels,
        "bit_depth": info.bit_depth,
        "classes": class_names(num_classes, info.classes),
        **_of_channels(info.lights, intensities(train, info.bit_depth)),
        "fingerprint": info.fingerprint,
        "leaking": info.leaking,
        "defect_edges_px": size_edges([row.defect_px for row in train.rows]),
    }


def _of_channels(lights: Sequence[int], measured: Sequence["Intensity"]) -> dict[str, Any]:
    """Return range, mean and deviation: numbers, or of several lights one list each with a number a
    channel. The colours of one light have the same, and so keep their relation."""
    if not lights:
        return measured[0]._asdict()
    every = zip(lights, measured, strict=True)
    channels = [of._asdict() for count, of in every for _ in range(count)]
    return {"lights": list(lights)} | {
        name: [channel[name] for channel in channels] for name in Intensity._fields
    }


def class_names(asked: int, classes: Sequence[str]) -> list[str]:
    """Return names of the classes that the network tells apart: the masks', or all in one."""
    if asked == 1:
        return [DEFECT]
    if asked != len(classes):
        names = ", ".join(classes)
        raise UserError(
            f"config.model.num_classes is {asked}: must be 1 (defect or not) or {len(classes)}, "
            f"the classes of the masks ({names})"
        )
    return list(classes)


class Intensity(NamedTuple):
    """Of all pixels and channels of a light together; colours keep their relation."""

    low: int  # of a pixel, in counts of the set's depth: 0 for the network
    high: int  # and 1
    mean: float  # as shares of that range
    std: float


class _Sums(NamedTuple):
    """Of one image, exact: whole numbers of any size."""

    pixels: int
    values: int
    squares: int


def intensities(split: Split, bit_depth: int) -> list[Intensity]:
    """Return range, mean and deviation of each light over images evenly spaced through a split,
    each weighing the same.

    The range is that of order statistics, and the rest follows from whole numbers: images that
    differ by a factor and an offset have exactly the range that does, and the same mean and
    deviation. A camera's hot pixels are beyond the range, and so are the brightest of small
    defects. Four digits of mean and deviation are kept, so that another version of a JPEG decoder
    does not look like other data.

    Args:
        bit_depth: of the set; images of 8 bits are widened to it.

    Raises:
        UserError: all images hold one and the same value; the light is named.
    """
    count = len(split.rows)
    chosen = np.linspace(0, count - 1, min(count, MOST_IMAGES)).round().astype(int).tolist()
    shares, sums = 0.0, []
    for counts in in_threads(partial(_counts, split, bit_depth), chosen, "Reading intensities"):
        sums.append([_sums(light) for light in counts])
        shares = shares + counts / counts.sum(axis=1, keepdims=True)
    several = len(shares) > 1
    return [
        _intensity(shares[light], [image[light] for image in sums], _called(light) * several)
        for light in range(len(shares))
    ]


def _called(light: int) -> str:
    return f" in light {light + 1}"


def _intensity(
    shares: Float64[np.ndarray, " values"], sums: Sequence[_Sums], where: str
) -> Intensity:
    low, high = _range(shares, where)
    moments = np.mean([_moments(each, low, high - low) for each in sums], axis=0)
    mean, square = moments.tolist()
    std = max(square - mean**2, 0.0) ** 0.5
    return Intensity(low, high, round(mean, 4), round(max(std, EVEN), 4))


def _counts(split: Split, bit_depth: int, row: int) -> Int64[np.ndarray, "lights values"]:
    """Return how many pixels of each light that the network may see have each value."""
    record = split.source[row]
    lights, ignored = decode_lights(record["image"]), decode_ignored(record["ignored"])
    counts = np.zeros((len(lights), 2**bit_depth), np.int64)
    for light, of_light in zip(lights, counts, strict=True):
        seen = light if ignored is None else light[ignored != HIDDEN]
        factor = WIDENED if light.itemsize * 8 < bit_depth else 1
        found = np.bincount(seen.ravel())
        of_light[: len(found) * factor : factor] = found
    return counts


def _sums(counts: Int64[np.ndarray, " values"]) -> _Sums:
    values = np.arange(len(counts))
    return _Sums(int(counts.sum()), int(counts @ values), int(counts @ values**2))


def _range(shares: Float64[np.ndarray, " values"], where: str = "") -> tuple[int, int]:
    """Return the values that all but `BEYOND` of the pixels on either side lie between.

    Args:
        shares: of the pixels that have each value.
    """
    below = np.cumsum(shares)
    low, high = np.searchsorted(below, below[-1] * np.array([BEYOND, 1.0 - BEYOND])).tolist()
    if low == high:  # nearly all is one value: then the rest decides
        found = np.flatnonzero(shares)
        low, high = int(found[0]), int(found[-1])
    if low == high:
        raise UserError(
            f"config.data.root: every training image holds the value {low} and nothing "
            f"else{where}: there is nothing to learn from"
        )
    return low, high


def _moments(sums: _Sums, low: int, width: int) -> tuple[float, float]:
    """Return mean and mean square of an image's pixels as shares of the range."""
    pixels, values, squares = sums
    first = values - pixels * low
    second = squares - 2 * low * values + pixels * low**2
    return first / (pixels * width), second / (pixels * width**2)
