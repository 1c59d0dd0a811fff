"""Exact 64-bit counts on devices that count in 32 bits.

JAX without x64 has no 64-bit integers, float32 stops counting at 2^24, and a test split can have
more than 2^32 pixels. Two 32-bit words with a carry are exact, and a sum of integers does not
depend on the order of the batches, on their size or on the number of devices.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32


@flax.struct.dataclass
class WideCount:
    """An array of 64-bit counts.

    >>> count = WideCount.zeros(1)
    >>> for _ in range(3):
    ...     count = count.add(jnp.array([4_000_000_000], jnp.uint32))
    >>> int(count.to_numpy()[0])
    12000000000
    """

    high: Any  # shape=any, dtype=uint32; Any, because trees of shardings have the same form
    low: Any  # the same shape and dtype

    @classmethod
    def zeros(cls, *shape: int) -> "WideCount":
        return cls(high=jnp.zeros(shape, jnp.uint32), low=jnp.zeros(shape, jnp.uint32))

    def add(self, amount: UInt32[Array, "..."], shift: int = 0) -> "WideCount":
        """Adds `amount · 2^shift`, 0 <= shift < 32, of the same shape as the count."""
        spilled = amount >> (32 - shift) if shift else jnp.zeros_like(amount)
        return self.merge(WideCount(high=spilled, low=amount << shift))

    def merge(self, other: "WideCount") -> "WideCount":
        low = self.low + other.low
        carry = (low < other.low).astype(jnp.uint32)
        return WideCount(high=self.high + other.high + carry, low=low)

    def to_numpy(self) -> np.ndarray:
        """The counts on the host, as uint64."""
        high, low = jax.device_get((self.high, self.low))
        return (np.asarray(high, np.uint64) << np.uint64(32)) + np.asarray(low, np.uint64)
