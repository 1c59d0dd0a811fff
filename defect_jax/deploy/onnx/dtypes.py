"""Which numbers the graph has, in which of them it calculates, and `convert_element_type`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.export import is_symbolic_dim
from jax.extend.core import JaxprEqn
from onnx import TensorProto, ValueInfoProto, helper

from defect_jax.deploy.onnx.graph import Graph, Unsupported
from defect_jax.deploy.onnx.values import Shape, Stored, Value, stored

TENSOR_TYPES: dict[np.dtype, int] = {
    np.dtype(np.bool_): TensorProto.BOOL,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.uint16): TensorProto.UINT16,
    np.dtype(np.uint32): TensorProto.UINT32,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.int16): TensorProto.INT16,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
}
# Runtimes calculate with few kinds of integers. What is wider holds every result, and cut back to
# the narrower type it wraps round as JAX does.
CALCULATED_AS: dict[np.dtype, np.dtype] = {
    np.dtype(np.bool_): np.dtype(np.int32),
    np.dtype(np.uint8): np.dtype(np.int32),
    np.dtype(np.uint16): np.dtype(np.int32),
    np.dtype(np.int8): np.dtype(np.int32),
    np.dtype(np.int16): np.dtype(np.int32),
    np.dtype(np.uint32): np.dtype(np.int64),
}


def tensor_type(dtype: Any) -> int:
    """Return ONNX's number for a dtype.

    Raises:
        Unsupported: ONNX runtimes lack it (bfloat16, float16), or ONNX does (random keys).
    """
    try:
        return TENSOR_TYPES[dtype]
    except (KeyError, TypeError):
        known = ", ".join(str(each) for each in TENSOR_TYPES)
        raise Unsupported(f"dtype {dtype}: must be one of {known}") from None


def tensor_info(name: str, dtype: Any, shape: Shape) -> ValueInfoProto:
    """Declare an input or output of a graph, with the names of its symbolic sizes."""
    sizes = [str(each) if is_symbolic_dim(each) else int(each) for each in shape]
    return helper.make_tensor_value_info(name, tensor_type(dtype), sizes)


def calculated_as(dtype: np.dtype) -> np.dtype:
    """Return the dtype that arithmetic on `dtype` is done in.

    >>> print(calculated_as(np.dtype(np.uint8)), calculated_as(np.dtype(np.float32)))
    int32 float32
    """
    return CALCULATED_AS.get(dtype, dtype)


def cast(graph: Graph, name: str, before: np.dtype, after: np.dtype) -> str:
    """Return the tensor `name` in another dtype; numbers known already are cast here and now."""
    if before == after:
        return name
    known = graph.initializers.get(name)
    if known is not None:
        return graph.initializer(known.astype(after))
    return graph.node("Cast", name, to=tensor_type(after))


def convert(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `convert_element_type`: integers wrap round, floats end at an integer type's limits.

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
    """Return the lowest and highest number of a float type that an integer type can hold.

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
