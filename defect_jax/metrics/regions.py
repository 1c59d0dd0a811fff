"""Connected defect regions, each with the same weight however large it is."""

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

EIGHT_NEIGHBOURS = np.ones((3, 3), np.int8)


def region_weights(mask: Bool[np.ndarray, "h w"]) -> tuple[Float32[np.ndarray, "h w"], int]:
    """Weigh every defect pixel by one over the size of its 8-connected region.

    The weights of a region sum to one, so that a weighted share of found pixels is the mean region
    overlap of the PRO metric (Bergmann et al. 2021, section 4.3: each region counts alike).

    Returns:
      The weights, 0 outside the defects, and the number of regions.

    >>> weight, regions = region_weights(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]]) > 0)
    >>> weight.tolist(), regions
    ([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], 2)
    """
    if not mask.any():  # most images of a production line
        return np.zeros(mask.shape, np.float32), 0
    labelled, regions = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    size_px = np.bincount(labelled.ravel(), minlength=regions + 1).astype(np.float64)
    weight_of = 1.0 / np.maximum(size_px, 1.0)
    weight_of[0] = 0.0
    return weight_of.astype(np.float32)[labelled], int(regions)
