"""Elements and windows whose places are computed: `gather` and `dynamic_slice`.

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
from defect_jax.deploy.onnx.dtypes import cast
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import as_jax, in_order, stored
from defect_jax.deploy.onnx.pieces import cut
from defect_jax.deploy.onnx.unsupported import Unsupported
from defect_jax.deploy.onnx.values import Dimension, Known, Order, Stored, Value

INT64 = np.dtype(np.int64)


def dynamic_slice(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """A window whose start is computed; it is moved so that it lies inside the array."""
    value, sizes = stored(graph, inputs[0]), equation.params["slice_sizes"]
    axes = [axis for axis, size in enumerate(sizes) if size != value.shape[axis]]
    if not axes:
        return [value]
    starts = [inputs[1 + axis] for axis in axes]
    if all(isinstance(start, Known) for start in starts):
        joined = Known(np.array([int(start.array) for start in starts]))
    else:
        places = [_as_size(graph, start) for start in starts]
        joined = Stored(graph.node("Concat", *places, axis=0), (len(axes),), INT64, (0,))
    return [_window(graph, value, axes, joined, sizes)]


def gather(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """A window at one place, or whole lines at many places.

    Raises:
        Unsupported: any other form; or the numbers to put where a place lies outside, which
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
    """Cuts the axes that have no index: their windows start at 0."""
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
    """The part of size `sizes` that starts, along `axes`, at `starts`, or where it still fits."""
    lengths = [sizes[axis] for axis in axes]
    room = [value.shape[axis] - sizes[axis] for axis in axes]
    if isinstance(starts, Known) and not any(is_symbolic_dim(each) for each in room):
        firsts = [max(0, min(int(s), most)) for s, most in zip(starts.array, room, strict=True)]
        ends = [first + length for first, length in zip(firsts, lengths, strict=True)]
        name = cut(graph, value, axes, firsts, ends, [1] * len(axes))
    else:
        start = cast(graph, stored(graph, starts).name, starts.dtype, INT64)
        start = graph.node("Max", graph.node("Min", start, vector(graph, room)), _zero(graph))
        end = graph.node("Add", start, vector(graph, lengths))
        places = graph.integers(value.place(axis) for axis in axes)
        name = graph.node("Slice", value.name, start, end, places)
    return Stored(name, tuple(sizes), value.dtype, value.order)


def _zero(graph: Graph) -> str:
    return graph.integers([0])


def _lines(graph: Graph, equation: JaxprEqn, value: Stored, places: Stored) -> Stored:
    """What lies at each of the places, whole along all axes that have none."""
    numbers, aval = equation.params["dimension_numbers"], equation.outvars[0].aval
    axes, clip = numbers.start_index_map, equation.params["mode"] == GatherScatterMode.CLIP
    index = cast(graph, in_order(graph, places, as_jax(len(places.shape))), places.dtype, INT64)
    if clip:
        ends = vector(graph, [value.shape[axis] - 1 for axis in axes])
        index = graph.node("Max", graph.node("Min", index, ends), _zero(graph))
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
    """Order of the result: the axes of the places stand where the first indexed axis stood."""
    windows = dict(zip(sorted(kept), numbers.offset_dims, strict=True))
    batch = [axis for axis in range(rank) if axis not in numbers.offset_dims]
    lines = [windows[axis] for axis in kept]
    return (*lines[:place], *batch, *lines[place:])


def _as_size(graph: Graph, start: Value) -> str:
    """A scalar as an int64 vector of one number."""
    if isinstance(start, Known):
        return graph.integers([int(start.array)])
    name = cast(graph, start.name, start.dtype, INT64)
    return graph.node("Unsqueeze", name, _zero(graph))
