"""Elements to a batch in memory that a processor's program can use where it is."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import PyTree

ALIGNMENT_BYTES = 64  # XLA copies arrays that begin elsewhere


def stacked(elements: Sequence[PyTree]) -> PyTree[np.ndarray]:
    """Stacks each array of the elements along a new first axis.

    >>> stacked([{"label": np.float32(0)}, {"label": np.float32(1)}])
    {'label': array([0., 1.], dtype=float32)}
    """
    return jax.tree.map(lambda *arrays: _stacked(arrays), *elements)


def _stacked(arrays: Sequence[np.ndarray | np.generic]) -> np.ndarray:
    first = np.asarray(arrays[0])
    shape = len(arrays), *first.shape
    return np.stack(arrays, out=_aligned(shape, first.dtype))


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Uninitialised memory whose address is a multiple of `ALIGNMENT_BYTES`."""
    needed = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(needed + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    return memory[start : start + needed].view(dtype).reshape(shape)
