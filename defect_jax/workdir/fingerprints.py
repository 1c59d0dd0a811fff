"""Fingerprints of arrays: tell whether a state read back is bit for bit the one that was saved.

Orbax restores a file with a flipped bit without a word, so the fingerprints are saved beside the
arrays. They are sums of integers over all elements: exact, and the same however the array is
sharded, on however many devices of however many hosts.
"""

import math
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import UInt64

ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: neighbours get very different weights


def fingerprints(tree: Any) -> dict[str, str]:
    """Return the path of each leaf -> type, shape and a sum over its bits, each times an odd
    weight.

    A change of one element always changes its sum (an odd number has an inverse modulo 2^64), any
    other accident but for one in about 2^32. No protection against somebody who wants the sums to
    agree.

    >>> fingerprints({"kernel": np.array([1.0, 2.0], np.float32)})
    {'kernel': 'float32[2] bfa53e0aff800000'}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    sums = _over_hosts(np.array([_local_sum(leaf) for _, leaf in leaves], np.uint64))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{form(leaf)} {total:016x}"
        for (path, leaf), total in zip(leaves, sums.tolist(), strict=True)
    }


def not_finite(tree: Any) -> list[str]:
    """Return the paths of the arrays that hold NaN or infinity, on whatever host.

    >>> not_finite({"kernel": np.array([1.0, np.nan]), "bias": np.array([1.0])})
    ['kernel']
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    counts = _over_hosts(np.array([_local_not_finite(leaf) for _, leaf in leaves], np.uint64))
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for (path, _), count in zip(leaves, counts.tolist(), strict=True)
        if count
    ]


def form(leaf: Any) -> str:
    """Return the type and shape of an array or ShapeDtypeStruct.

    >>> form(np.zeros((3, 4), np.int32))
    'int32[3,4]'
    """
    return f"{np.dtype(leaf.dtype).name}[{','.join(map(str, leaf.shape))}]"


def weighted_sum(array: np.ndarray, start: tuple[int, ...], whole: tuple[int, ...]) -> np.uint64:
    """Sum of a block's elements as integers, weighted by their place in the whole array.

    Args:
        array: the block.
        start: index of its first element in the whole array.
        whole: shape of the whole array.
    """
    bits = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").astype(np.uint64)
    strides = [math.prod(whole[axis + 1 :]) for axis in range(len(whole))]
    place = np.zeros((1,) * len(whole), np.uint64)
    for axis, stride in enumerate(strides):
        along = (start[axis] + np.arange(array.shape[axis], dtype=np.uint64)) * np.uint64(stride)
        place = place + along.reshape([-1 if a == axis else 1 for a in range(len(whole))])
    return (bits * (place * ODD << np.uint64(1) | np.uint64(1))).sum(dtype=np.uint64)


def _local_sum(leaf: Any) -> np.uint64:
    """Sum over the parts that this host is the first to hold."""
    if not isinstance(leaf, jax.Array):
        return weighted_sum(np.asarray(leaf), (0,) * np.ndim(leaf), np.shape(leaf))
    sums = []
    for shard in leaf.addressable_shards:
        if shard.replica_id == 0:
            start = tuple(part.start or 0 for part in shard.index)
            sums.append(weighted_sum(jax.device_get(shard.data), start, leaf.shape))
    return np.array(sums, np.uint64).sum(dtype=np.uint64)


def _local_not_finite(leaf: Any) -> int:
    shards = leaf.addressable_shards if isinstance(leaf, jax.Array) else ()
    blocks = [shard.data for shard in shards] if shards else [leaf]
    return sum(int(np.count_nonzero(~np.isfinite(jax.device_get(block)))) for block in blocks)


def _over_hosts(sums: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    if jax.process_count() == 1:
        return sums
    halves = multihost_utils.process_allgather(sums.view(np.uint32))  # JAX has 32 bits by default
    return np.ascontiguousarray(halves).view(np.uint64).sum(axis=0, dtype=np.uint64)
