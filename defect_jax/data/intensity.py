"""How bright the training pictures are: what the device normalises every picture by."""

from typing import NamedTuple

import numpy as np

from defect_jax.data.images import decode_image
from defect_jax.data.prepared import Split
from defect_jax.data.reading import in_threads

MOST_PICTURES = 256  # enough for three digits, and read in a second or two
EVEN = 0.01  # smallest deviation: the noise of even surfaces is not blown up beyond that


class Intensity(NamedTuple):
    """Of all pixels and channels together, as shares of the full range."""

    mean: float
    deviation: float


def intensity(split: Split) -> Intensity:
    """Mean and deviation over pictures evenly spaced through a split, each weighing the same.

    Four digits are kept, so that another version of a JPEG decoder does not look like other data.
    """
    count = len(split.rows)
    chosen = np.linspace(0, count - 1, min(count, MOST_PICTURES)).round().astype(int).tolist()

    def moments(row: int) -> tuple[float, float]:
        image = decode_image(split.source[row]["image"])
        share = image.astype(np.float64) / np.iinfo(image.dtype).max
        return share.mean(), np.square(share).mean()

    mean, square = np.mean(list(in_threads(moments, chosen, "Reading intensities")), axis=0)
    deviation = np.sqrt(max(square - mean**2, 0.0))
    return Intensity(round(float(mean), 4), round(max(float(deviation), EVEN), 4))
