"""Parts of axes at places that are known or computed, and axes put together from parts.

`x[:, i]`, `x[:, ::-1]` and, along an axis of symbolic size, even `x[:, 1:-1]` are gathers in JAX.
Two forms of it are known here: a window at one place, and whole lines at many places.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.export import is_symbolic_dim
from jax.extend.core import JaxprEqn
from jax.lax import GatherScatterMode

from defect_jax.deploy.onnx.axes import squeezed
from defect_jax.deploy.onnx.dimensions import vector
from defect_jax.deploy.onnx.dtypes import calculated_as, cast
from defect_jax.deploy.onnx.graph import Graph, Unsupported
from defect_jax.deploy.onnx.values import (
    Dimension,
    Known,
    Order,
    Stored,
    Value,
    as_jax,
    common_order,
    in_order,
    stored,
)

INT64 = np.dtype(np.int64)
END = np.iinfo(np.int64).max  # to Slice: up to the end, however far that is
BEFORE_START = np.iinfo(np.int64).min  # to Slice with a negative step: down to the first


def part(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `slice`: from a start to a limit in steps, along each axis."""
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
    """Write parts of given lengths along one axis, one behind the other."""
    value, axis = stored(graph, inputs[0]), equation.params["axis"]
    results, start = [], 0
    for length, variable in zip(equation.params["sizes"], equation.outvars, strict=True):
        name = cut(graph, value, [axis], [start], [start + length], [1])
        results.append(Stored(name, variable.aval.shape, value.dtype, value.order))
        start += length
    return results


def reverse(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `rev`: the last first, along some axes."""
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
    """Return the name of the part of a tensor from `starts` to `ends` in `steps`, along `axes`."""
    if not axes:
        return value.name
    places = graph.integers(value.place(axis) for axis in axes)
    bounds = vector(graph, starts), vector(graph, ends)
    return graph.node("Slice", value.name, *bounds, places, graph.integers(steps))


def concatenate(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write one behind the other along one axis."""
    axis, aval = equation.params["dimension"], equation.outvars[0].aval
    # Padding writes empty pieces where it adds nothing.
    pieces = [each for each in inputs if is_symbolic_dim(each.shape[axis]) or each.shape[axis]]
    order = common_order(pieces or inputs)
    names = [in_order(graph, each, order) for each in pieces or inputs]
    name = graph.node("Concat", *names, axis=order.index(axis)) if len(names) > 1 else names[0]
    return [Stored(name, aval.shape, aval.dtype, order)]


def pad(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write one number round an array; negative padding takes away.

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


def gather(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write a window at one place, or whole lines at many places.

    Raises:
        Unsupported: any other form; or the numbers to put where a place is outside, which
            `jnp.take` asks for unless it is called with `mode="clip"`.
    """
    value, places = stored(graph, inputs[0]), inputs[1]
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    _check(equation.params, numbers)
    value = _from_the_start(graph, value, numbers.start_index_map, sizes)
    if len(places.shape) == 1:
        window = _window(graph, value, numbers.start_index_map, places, sizes)
        return [squeezed(graph, window, numbers.collapsed_slice_dims)]
    if tuple(numbers.collapsed_slice_dims) != tuple(sorted(numbers.start_index_map)):
        raise Unsupported("gather: windows at several places at once")
    return [_lines(graph, equation, value, stored(graph, places))]


def _from_the_start(
    graph: Graph, value: Stored, indexed: Sequence[int], sizes: Sequence[Dimension]
) -> Stored:
    """Cut the axes that have no index: their windows start at 0."""
    axes = [
        axis for axis, size in enumerate(sizes) if axis not in indexed and size != value.shape[axis]
    ]
    ends = [sizes[axis] for axis in axes]
    name = cut(graph, value, axes, [0] * len(axes), ends, [1] * len(axes))
    shape = [each if axis in indexed else sizes[axis] for axis, each in enumerate(value.shape)]
    return Stored(name, tuple(shape), value.dtype, value.order)


def _check(parameters: dict[str, Any], numbers: Any) -> None:
    if parameters["mode"] == GatherScatterMode.FILL_OR_DROP:
        raise Unsupported('gather: mode "fill"; index with mode="clip" or "promise_in_bounds"')
    if numbers.operand_batching_dims:
        raise Unsupported("gather: batched dimensions, as of `take_along_axis`")


def _window(
    graph: Graph, value: Stored, axes: Sequence[int], starts: Value, sizes: Sequence[Dimension]
) -> Stored:
    """Return the part of size `sizes` from `starts` along `axes`, or from where it still fits."""
    lengths = [sizes[axis] for axis in axes]
    room = [value.shape[axis] - sizes[axis] for axis in axes]
    if isinstance(starts, Known) and not any(is_symbolic_dim(each) for each in room):
        firsts = [max(0, min(int(s), most)) for s, most in zip(starts.array, room, strict=True)]
        ends = [first + length for first, length in zip(firsts, lengths, strict=True)]
        name = cut(graph, value, axes, firsts, ends, [1] * len(axes))
    else:
        start = cast(graph, stored(graph, starts).name, starts.dtype, INT64)
        start = _limited(graph, start, room)
        end = graph.node("Add", start, vector(graph, lengths))
        places = graph.integers(value.place(axis) for axis in axes)
        name = graph.node("Slice", value.name, start, end, places)
    return Stored(name, tuple(sizes), value.dtype, value.order)


def _limited(graph: Graph, places: str, most: Sequence[Dimension]) -> str:
    """Move places outside to the nearest that is inside, as JAX does."""
    return graph.node("Max", graph.node("Min", places, vector(graph, most)), graph.integers([0]))


def _lines(graph: Graph, equation: JaxprEqn, value: Stored, places: Stored) -> Stored:
    """Return what is at each of the places, whole along all axes that have none."""
    numbers, aval = equation.params["dimension_numbers"], equation.outvars[0].aval
    axes, clip = numbers.start_index_map, equation.params["mode"] == GatherScatterMode.CLIP
    index = cast(graph, in_order(graph, places, as_jax(len(places.shape))), places.dtype, INT64)
    if clip:
        index = _limited(graph, index, [value.shape[axis] - 1 for axis in axes])
    kept = [axis for axis in value.order if axis not in axes]
    if len(axes) == 1:
        index = graph.node("Squeeze", index, graph.integers([len(places.shape) - 1]))
        place = value.place(axes[0])
        name = graph.node("Gather", value.name, index, axis=place)
    else:
        place = 0
        name = graph.node("GatherND", in_order(graph, value, (*axes, *kept)), index)
    order = _order_of_lines(numbers, kept, place, len(aval.shape))
    return Stored(name, aval.shape, aval.dtype, order)


def _order_of_lines(numbers: Any, kept: Sequence[int], place: int, rank: int) -> Order:
    """Return the order of the result: the places' axes are where the first indexed axis was."""
    windows = dict(zip(sorted(kept), numbers.offset_dims, strict=True))
    batch = [axis for axis in range(rank) if axis not in numbers.offset_dims]
    lines = [windows[axis] for axis in kept]
    return (*lines[:place], *batch, *lines[place:])
