"""Parts of an axis, and axes put together from parts."""

from collections.abc import Sequence

import numpy as np
from jax.export import is_symbolic_dim
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.dimensions import vector
from defect_jax.deploy.onnx.dtypes import calculated_as, cast
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import common_order, in_order, stored
from defect_jax.deploy.onnx.unsupported import Unsupported
from defect_jax.deploy.onnx.values import Dimension, Stored, Value

END = np.iinfo(np.int64).max  # to Slice: up to the end, however far that is
BEFORE_START = np.iinfo(np.int64).min  # to Slice with a negative step: down to the first


def part(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """`slice`: from a start to a limit in steps, along each axis."""
    value, parameters = stored(graph, inputs[0]), equation.params
    starts, limits = parameters["start_indices"], parameters["limit_indices"]
    steps = parameters["strides"] or (1,) * len(starts)
    axes = [
        axis
        for axis, whole in enumerate(value.shape)
        if (starts[axis], limits[axis], steps[axis]) != (0, whole, 1)
    ]
    ends = [END if limits[axis] == value.shape[axis] else limits[axis] for axis in axes]
    name = cut(graph, value, axes, [starts[axis] for axis in axes], ends, [steps[a] for a in axes])
    return [Stored(name, equation.outvars[0].aval.shape, value.dtype, value.order)]


def split(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Parts of given lengths along one axis, one behind the other."""
    value, axis = stored(graph, inputs[0]), equation.params["axis"]
    results, start = [], 0
    for length, variable in zip(equation.params["sizes"], equation.outvars, strict=True):
        name = cut(graph, value, [axis], [start], [start + length], [1])
        results.append(Stored(name, variable.aval.shape, value.dtype, value.order))
        start += length
    return results


def reverse(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """`rev`: the last first, along some axes."""
    value, axes = stored(graph, inputs[0]), equation.params["dimensions"]
    count = len(axes)
    name = cut(graph, value, axes, [-1] * count, [BEFORE_START] * count, [-1] * count)
    return [Stored(name, value.shape, value.dtype, value.order)]


def cut(
    graph: Graph,
    value: Stored,
    axes: Sequence[int],
    starts: Sequence[Dimension],
    ends: Sequence[Dimension],
    steps: Sequence[int],
) -> str:
    """Name of the part of a tensor from `starts` to `ends` in `steps`, along `axes`."""
    if not axes:
        return value.name
    places = graph.integers(value.place(axis) for axis in axes)
    bounds = vector(graph, starts), vector(graph, ends)
    return graph.node("Slice", value.name, *bounds, places, graph.integers(steps))


def concatenate(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """One behind the other along one axis."""
    axis, aval = equation.params["dimension"], equation.outvars[0].aval
    # Padding writes empty pieces where it adds nothing.
    pieces = [each for each in inputs if is_symbolic_dim(each.shape[axis]) or each.shape[axis]]
    order = common_order(pieces or inputs)
    names = [in_order(graph, each, order) for each in pieces or inputs]
    name = graph.node("Concat", *names, axis=order.index(axis)) if len(names) > 1 else names[0]
    return [Stored(name, aval.shape, aval.dtype, order)]


def pad(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Puts one number round an array; negative padding takes away.

    Raises:
        Unsupported: padding between the elements.
    """
    config = equation.params["padding_config"]
    if any(between != 0 for _, _, between in config):
        raise Unsupported("pad: padding between elements (interior)")
    value = stored(graph, inputs[0])
    widths = [config[axis][side] for side in (0, 1) for axis in value.order]
    dtype = calculated_as(value.dtype)  # not every integer can be padded
    name, filling = (cast(graph, stored(graph, x).name, x.dtype, dtype) for x in inputs)
    name = graph.node("Pad", name, vector(graph, widths), filling, mode="constant")
    name = cast(graph, name, dtype, value.dtype)
    return [Stored(name, equation.outvars[0].aval.shape, value.dtype, value.order)]
