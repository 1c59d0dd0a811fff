"""The pixel threshold of a control, chosen anew on validation: it shall lose by nothing else."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, Int64, UInt16

from defect_jax.metrics.histogram import BINS, bin_index, lower_edge

CANDIDATES = 64


class Binned(NamedTuple):
    """What is kept of an image: three bytes a pixel, however many classes there are.

    A bin of `metrics.histogram` is at most 0.016 wide in the logit, and `probability >=
    lower_edge(k)` is the same as `bins >= k`.
    """

    bins: UInt16[np.ndarray, "h w"]  # of the smoothed probability of any defect
    truth: Bool[np.ndarray, "h w"]


def best_threshold(
    images: Sequence[Binned], mend: Callable[[np.ndarray], np.ndarray], own: float
) -> float:
    """Return the candidate with the best F1 of mended pixels, pooled over all images.

    Equal F1 goes to the higher recall, and equal recall to the lower threshold. As for a trained
    network, all images count, those too that will not be rejected.

    Args:
        mend: of the control.
        own: the threshold that the network was evaluated with, one of the candidates; returned
            where no pixel is defective.
    """
    levels = candidates(images, own)
    if not levels.size:
        return own
    true_px = sum(int(image.truth.sum()) for image in images)
    found, marked = sum(mended_counts(image, mend, levels) for image in images)
    f1 = 2 * found / (marked + true_px)
    best = max(range(levels.size), key=lambda k: (f1[k], found[k]))  # the first of equals
    return lower_edge(int(levels[best]))


def candidates(images: Sequence[Binned], own: float) -> Int[np.ndarray, " n"]:
    """Return rising bins: those at which another 64th of the defect pixels is found, and `own`'s.

    F1 is best at the probability of some defect pixel, and between two candidates the recall
    changes by a 64th, or by one bin, however the network spreads its probabilities.
    """
    positives = np.zeros(BINS, np.int64)
    for image in images:
        positives += np.bincount(image.bins[image.truth], minlength=BINS)
    total = positives.sum()
    if not total:
        return np.zeros(0, np.int64)
    ranks = np.arange(CANDIDATES) * total // CANDIDATES + 1
    levels = np.searchsorted(np.cumsum(positives), ranks)
    if own <= 1.0:  # not a threshold that rejects nothing
        levels = np.append(levels, int(bin_index(jnp.float32(own))))
    return np.unique(levels)


def mended_counts(
    image: Binned, mend: Callable[[np.ndarray], np.ndarray], levels: Int[np.ndarray, " n"]
) -> Int64[np.ndarray, "2 n"]:
    """Return pixels that are rightly marked, and all that are, in the mended mask of each rising
    bin."""
    counts = np.zeros((2, levels.size), np.int64)
    before = -1
    for k, level in enumerate(levels):
        marked = image.bins >= level
        size_px = np.count_nonzero(marked)
        if size_px == before:  # the masks shrink, so this is the one before: most often empty
            counts[:, k] = counts[:, k - 1]
            continue
        before, mended = size_px, mend(marked)
        counts[:, k] = np.count_nonzero(mended & image.truth), np.count_nonzero(mended)
    return counts
