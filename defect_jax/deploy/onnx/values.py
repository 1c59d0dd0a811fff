"""What a variable of a jaxpr is during conversion: numbers known by then, or a tensor of the graph.

A `Stored` tensor may lie in the graph with its axes in another order than JAX has them in, because
ONNX convolves channels first and JAX channels last. Shapes are always JAX's ("logical"); only
`order` says how the tensor lies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
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
            lies as `[b c h w]`.
    """

    name: str
    shape: Shape
    dtype: np.dtype
    order: Order

    def place(self, axis: int) -> int:
        """Which axis of the tensor is JAX's `axis`."""
        return self.order.index(axis)


Value: TypeAlias = Known | Stored
# Writes the nodes of one equation and returns the values of its results.
Writer: TypeAlias = Callable[[Graph, JaxprEqn, Sequence[Value]], list[Value]]
