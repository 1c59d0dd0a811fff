"""Histogram of pixel probabilities by truth: threshold-free pixel metrics in constant memory.

The bins are cut by the bits of the float32 probability p: 128 equal bins in every octave of p below
one half and of 1 - p above it, from 2^-25 up. That follows the logit of p from -17.3 to 17.3 with
bins at most 0.016 wide, so a ranking is resolved near 0 and near 1, where a trained network puts
nearly all pixels. Taking bits and not logarithms makes the bin of a pixel the same on every device
and `p >= lower_edge(k)` true exactly for the pixels from bin k upwards.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32

from defect_jax.metrics import binned
from defect_jax.metrics.counts import Uint64Counter

MANTISSA_BITS = 7
OCTAVES = 24  # 2^-25 .. 2^-1; 2^-24 is the least distance of a float32 from 1
HALF_BINS = OCTAVES << MANTISSA_BITS
BINS = 2 * HALF_BINS
LOWEST_KEY = (127 - 25) << MANTISSA_BITS  # the leading bits of the float32 2^-25
WEIGHT_BITS = 30  # region weights are counted in units of 2^-30
AUPRO_LIMIT = 0.3


@flax.struct.dataclass
class PixelHistogram:
    """Pixels by probability: defective, good, and defective weighed by their region.

    Everything is an exact integer, so the result is the same bit for bit on any number of devices
    and for any order and size of the batches.

    >>> probability = jnp.array([[[0.9, 0.4, 0.6, 0.1]]])
    >>> mask = jnp.array([[[True, True, False, False]]])
    >>> weight, valid = jnp.where(mask, 0.5, 0.0), jnp.ones_like(mask)
    >>> histogram = PixelHistogram.empty()
    >>> histogram = histogram.update(probability, mask, valid, weight, jnp.array([1]))
    >>> {key: round(value, 4) for key, value in histogram.compute().items()}
    {'pixel_ap': 0.8333, 'pixel_auroc': 0.75, 'aupro': 0.5}
    """

    positives: Any  # Uint64Counter, shape=(BINS,), pixels of defects
    negatives: Any  # Uint64Counter, shape=(BINS,), pixels of good surface
    weights: Any  # Uint64Counter, shape=(BINS,), region weights in units of 2^-WEIGHT_BITS
    regions: Any  # Uint64Counter, shape=(1,), number of defect regions

    @classmethod
    def empty(cls) -> "PixelHistogram":
        zeros = Uint64Counter.zeros(BINS)
        return cls(positives=zeros, negatives=zeros, weights=zeros, regions=Uint64Counter.zeros(1))

    def update(
        self,
        probability: Float[Array, "b h w"],
        mask: Bool[Array, "b h w"],
        valid: Bool[Array, "b h w"],
        region_weight: Float[Array, "b h w"],
        regions: Int[Array, " b"],
    ) -> "PixelHistogram":
        """Add one batch.

        Args:
          probability: of a defect, in [0, 1].
          mask: the true defect pixels.
          valid: False where the pixel is padding, which counts nowhere.
          region_weight: one over the pixels of the defect region that the pixel belongs to, as
            `regions.region_weights` makes it; ignored outside the defects.
          regions: number of defect regions of each image.
        """
        index = bin_index(probability)
        cell = jnp.where(valid, index + jnp.where(mask, BINS, 0), 2 * BINS)
        counts = jnp.bincount(cell.reshape(-1), length=2 * BINS + 1).astype(jnp.uint32)
        cell = jnp.where(valid & mask, index, BINS).reshape(-1)
        return PixelHistogram(
            positives=self.positives.add(counts[BINS : 2 * BINS]),
            negatives=self.negatives.add(counts[:BINS]),
            weights=_add_weights(self.weights, cell, region_weight.reshape(-1)),
            regions=self.regions.add(jnp.sum(regions, keepdims=True).astype(jnp.uint32)),
        )

    def merge(self, other: "PixelHistogram") -> "PixelHistogram":
        return PixelHistogram(
            positives=self.positives.merge(other.positives),
            negatives=self.negatives.merge(other.negatives),
            weights=self.weights.merge(other.weights),
            regions=self.regions.merge(other.regions),
        )

    def compute(self) -> dict[str, float | None]:
        """Return `pixel_ap` (step-wise), `pixel_auroc` and `aupro` (to a false-positive rate of
        0.3).

        Pixels of one bin count as tied. None where the split has no defect pixel, or (AUROC,
        AUPRO) no good one. `brackets` gives how far the exact values can be.
        """
        positives, negatives = self.positives.to_numpy(), self.negatives.to_numpy()
        return {
            "pixel_ap": binned.average_precision(positives, negatives),
            "pixel_auroc": binned.auroc(positives, negatives),
            "aupro": binned.aupro(self._region_share(), negatives, AUPRO_LIMIT),
        }

    def brackets(self) -> dict[str, tuple[float, float] | None]:
        """Return bounds that the metric of the unbinned probabilities is proven to be between."""
        positives, negatives = self.positives.to_numpy(), self.negatives.to_numpy()
        return {
            "pixel_ap": binned.average_precision_bracket(positives, negatives),
            "pixel_auroc": binned.auroc_bracket(positives, negatives),
            "aupro": binned.aupro_bracket(self._region_share(), negatives, AUPRO_LIMIT),
        }

    def best_f1_threshold(self) -> float | None:
        """Return the probability from which on calling a pixel defective has the best pixel F1.

        It is in the middle, counted in bins, of the gap to the next lower probability that
        occurs. Equal F1 goes to the higher recall. None when there is no defect pixel.
        """
        first = binned.best_f1_bin(self.positives.to_numpy(), self.negatives.to_numpy())
        return None if first is None else lower_edge(first)

    def _region_share(self) -> np.ndarray:
        """Return per bin the mean share of a defect region that is in it; sums to one if any
        region."""
        weights = self.weights.to_numpy().astype(np.float64) / 2.0**WEIGHT_BITS
        total, regions = weights.sum(), int(self.regions.to_numpy()[0])
        # Rounding to units of 2^-30 changes the weight of a 10-megapixel region by at most 0.5 %.
        if abs(total - regions) > 0.01 * regions:
            raise ValueError(f"region weights sum to {total}, but there are {regions} regions")
        return weights / total if total else weights


def bin_index(probability: Float[Array, "*shape"]) -> Int32[Array, "*shape"]:
    """Return the bin, 0 .. BINS - 1, of each probability; it never falls when the probability
    rises.

    >>> bin_index(jnp.array([0.0, 0.25, 0.5, 1.0])).tolist()
    [0, 2944, 3072, 6143]
    """
    probability = probability.astype(jnp.float32)
    low = probability < 0.5
    distance = jnp.where(low, probability, 1.0 - probability)  # exact in float32 on both sides
    bits = jax.lax.bitcast_convert_type(distance, jnp.int32)
    # On the upper side the bins are closed at the far end in 1 - p, hence the near end in p.
    key = (bits - jnp.where(low, 0, 1)) >> (23 - MANTISSA_BITS)
    index = jnp.clip(key - LOWEST_KEY, 0, HALF_BINS - 1)
    return jnp.where(low, index, BINS - 1 - index)


def lower_edge(index: int) -> float:
    """Return the lowest float32 probability that falls into the bin or above it.

    >>> lower_edge(0), lower_edge(2944), lower_edge(6143)
    (0.0, 0.25, 1.0)
    """
    if index == 0:
        return 0.0
    if index < HALF_BINS:
        return _octave_edge(index)
    edge = 1.0 - _octave_edge(BINS - index)
    rounded = np.float32(edge)
    # As Python floats: NumPy would round the edge to float32 before it compares.
    return float(rounded if float(rounded) >= edge else np.nextafter(rounded, np.float32(1)))


def _octave_edge(index: int) -> float:
    key = np.uint32(index + LOWEST_KEY) << np.uint32(23 - MANTISSA_BITS)
    return float(key.view(np.float32))


def _add_weights(total: Uint64Counter, cell: Array, region_weight: Array) -> Uint64Counter:
    """Add fixed-point weights in pieces so narrow that no 32-bit sum over the batch overflows."""
    piece_bits = 32 - cell.size.bit_length()
    if piece_bits < 1:
        raise ValueError(f"a batch of {cell.size} pixels is too large, the limit is 2^31")
    unit = 2**WEIGHT_BITS
    fixed = jnp.round(region_weight.astype(jnp.float32) * unit)
    fixed = jnp.minimum(fixed.astype(jnp.uint32), unit - 1)
    for shift in range(0, WEIGHT_BITS, piece_bits):
        piece = (fixed >> shift) & (2**piece_bits - 1)
        total = total.add(jnp.zeros(BINS, jnp.uint32).at[cell].add(piece, mode="drop"), shift)
    return total
