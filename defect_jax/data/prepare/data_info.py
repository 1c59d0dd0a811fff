"""What the prepared data decide for a run: form, intensity and classes of the images.

It stands in config.json as `data_info`, and is read from there by whatever uses the network later.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from defect_jax.data.files.images import decode_image
from defect_jax.data.files.reading import in_threads
from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.data.sources.records import DEFECT
from defect_jax.metrics.slices import size_edges
from defect_jax.runtime.errors import UserError

MOST_IMAGES = 256  # enough for three digits, and read in a second or two
EVEN = 0.01  # smallest std: the noise of even surfaces is not blown up beyond that


def data_info(prepared: Prepared, num_classes: int) -> dict[str, Any]:
    """Return what holds for the images, and the fingerprint of their set.

    Args:
        num_classes: of defects that the network tells apart.

    Raises:
        UserError: the network tells more or fewer classes apart than the masks have.
    """
    info, train = prepared.info, prepared.splits["train"]
    training = intensity(train)
    return {
        "channels": info.channels,
        "bit_depth": info.bit_depth,
        "classes": class_names(num_classes, info.classes),
        "mean": training.mean,
        "std": training.std,
        "fingerprint": info.fingerprint,
        "leaking": info.leaking,
        "defect_edges_px": size_edges([row.defect_px for row in train.rows]),
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
    """Of all pixels and channels together, as shares of the full range."""

    mean: float
    std: float


def intensity(split: Split) -> Intensity:
    """Return the mean and deviation over images evenly spaced through a split, each weighing the
    same.

    Four digits are kept, so that another version of a JPEG decoder does not look like other data.
    """
    count = len(split.rows)
    chosen = np.linspace(0, count - 1, min(count, MOST_IMAGES)).round().astype(int).tolist()

    def moments(row: int) -> tuple[float, float]:
        image = decode_image(split.source[row]["image"])
        share = image.astype(np.float64) / np.iinfo(image.dtype).max
        return share.mean(), np.square(share).mean()

    mean, square = np.mean(list(in_threads(moments, chosen, "Reading intensities")), axis=0)
    std = np.sqrt(max(square - mean**2, 0.0))
    return Intensity(round(float(mean), 4), round(max(float(std), EVEN), 4))
