"""`convert_element_type`: from one dtype to another."""

from collections.abc import Sequence

import numpy as np
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.dtypes import cast
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import stored
from defect_jax.deploy.onnx.values import Stored, Value


def convert(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Integers wrap round, and floats beyond an integer type's range end at its limits.

    ONNX leaves the latter to the runtime, so it is limited before. NaN as an integer stays
    undefined; JAX makes it 0.
    """
    value = stored(graph, inputs[0])
    after = np.dtype(equation.params["new_dtype"])
    name = value.name
    if np.issubdtype(value.dtype, np.floating) and np.issubdtype(after, np.integer):
        lowest, highest = (graph.initializer(each) for each in limits(value.dtype, after))
        name = graph.node("Clip", name, lowest, highest)
    name = cast(graph, name, value.dtype, after)
    return [Stored(name, value.shape, after, value.order)]


def limits(floating: np.dtype, integer: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest number of a float type that an integer type can hold.

    >>> [each.item() for each in limits(np.dtype(np.float32), np.dtype(np.uint8))]
    [0.0, 255.0]
    >>> [each.item() for each in limits(np.dtype(np.float32), np.dtype(np.int32))]
    [-2147483648.0, 2147483520.0]
    """
    info = np.iinfo(integer)
    highest = np.asarray(info.max, floating)
    if int(highest) > info.max:  # it was rounded up
        highest = np.nextafter(highest, np.asarray(0, floating))
    return np.asarray(info.min, floating), np.asarray(highest, floating)
