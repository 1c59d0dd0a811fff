"""What a variable of a jaxpr is during conversion: numbers known by then, or a tensor of the graph.

A `Stored` tensor may have its axes in another order than JAX, because ONNX convolves channels first
and JAX channels last. Shapes are always those of JAX; only `order` says how the tensor is stored,
and a change of order is written where an operation needs it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jax.export import is_symbolic_dim
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.graph import Graph

Dimension: TypeAlias = Any  # int, or a symbolic dimension of `jax.export`
Shape: TypeAlias = tuple[Dimension, ...]
Order: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Known:
    """Numbers known at conversion; they become an initializer where a node reads them."""

    array: np.ndarray

    @property
    def shape(self) -> Shape:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype


@dataclass(frozen=True)
class Stored:
    """A tensor of the graph.

    Attributes:
        name: of the tensor.
        shape: as JAX has it.
        dtype: of JAX and of the tensor.
        order: which of JAX's axes each axis of the tensor is: (0, 3, 1, 2) for `[b h w c]` that
            is stored as `[b c h w]`.
    """

    name: str
    shape: Shape
    dtype: np.dtype
    order: Order

    def place(self, axis: int) -> int:
        """Return which axis of the tensor is JAX's `axis`."""
        return self.order.index(axis)


Value: TypeAlias = Known | Stored
# Writes the nodes of one equation and returns the values of its results.
Writer: TypeAlias = Callable[[Graph, JaxprEqn, Sequence[Value]], list[Value]]


def is_one(dimension: Dimension) -> bool:
    """Return whether the size is known to be 1."""
    return not is_symbolic_dim(dimension) and dimension == 1


def as_jax(rank: int) -> Order:
    """Return the order of JAX."""
    return tuple(range(rank))


def common_order(values: Sequence[Value]) -> Order:
    """Return the order in which an operation on all of the values needs the fewest changes.

    That of the value with the most axes longer than 1. Of several such one that JAX would store
    otherwise: it came out of a convolution, and its result may go into the next one.

    >>> image = Stored("image", (2, 8, 8, 3), np.dtype(np.float32), (0, 1, 2, 3))
    >>> feature = Stored("feature", (2, 8, 8, 3), np.dtype(np.float32), (0, 3, 1, 2))
    >>> common_order([image, feature, Known(np.ones((1, 1, 1, 3)))])
    (0, 3, 1, 2)
    """
    rank = max(len(value.shape) for value in values)
    stored = [value for value in values if isinstance(value, Stored) and len(value.shape) == rank]
    if not stored:
        return as_jax(rank)
    return max(
        stored, key=lambda value: (_longer_than_one(value), value.order != as_jax(rank))
    ).order


def _longer_than_one(value: Stored) -> int:
    return sum(not is_one(dimension) for dimension in value.shape)


def in_order(graph: Graph, value: Value, order: Order) -> str:
    """Return the name of a tensor with the value's numbers and its axes in `order`.

    A scalar has none and is returned as it is. Changes are written once for each value and order.
    """
    if not value.shape:
        order = ()
    if isinstance(value, Known):
        return graph.initializer(np.transpose(value.array, order))
    if value.order == order:
        return value.name
    key = ("order", value.name, order)
    if key not in graph.written:
        graph.written[key] = _reordered(graph, value, order)
    return graph.written[key]


def stored(graph: Graph, value: Value) -> Stored:
    """Return the value as a tensor of the graph, in the order that it already has."""
    if isinstance(value, Stored):
        return value
    order = as_jax(len(value.shape))
    return Stored(graph.initializer(value.array), value.shape, value.dtype, order)


def _reordered(graph: Graph, value: Stored, order: Order) -> str:
    """Move numbers only where axes longer than 1 change their order."""
    long = [axis for axis in order if not is_one(value.shape[axis])]
    if long != [axis for axis in value.order if axis in long]:
        return graph.node("Transpose", value.name, perm=[value.place(axis) for axis in order])
    ones = [place for place, axis in enumerate(value.order) if axis not in long]
    squeezed = graph.node("Squeeze", value.name, graph.integers(ones))
    ones = [place for place, axis in enumerate(order) if axis not in long]
    return graph.node("Unsqueeze", squeezed, graph.integers(ones))


def without(order: Order, axes: Collection[int]) -> Order:
    """Return the order that is left when axes go.

    >>> without((0, 3, 1, 2), [1, 2])
    (0, 1)
    """
    kept = [axis for axis in sorted(order) if axis not in axes]
    return tuple(kept.index(axis) for axis in order if axis not in axes)


def with_new(order: Order, axes: Collection[int]) -> Order:
    """Return the order with new axes, each behind the axis that JAX has in front of it.

    So a channels-first `[b h w c]` can be stacked behind h, and both be joined to one axis, while
    it stays channels first.

    Args:
        axes: where JAX has the new axes in the result.

    >>> with_new((0, 3, 1, 2), [2])
    (0, 4, 1, 2, 3)
    """
    kept = [axis for axis in range(len(order) + len(axes)) if axis not in axes]
    result = [kept[axis] for axis in order]
    for axis in sorted(axes):
        result.insert(result.index(axis - 1) + 1 if axis else 0, axis)
    return tuple(result)
