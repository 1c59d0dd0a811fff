"""Axes that come, go, change places, are joined and split; most of it moves no number.

A reshape keeps the order where the axes that it joins or splits are stored side by side: JAX
reshapes `[b h 2 w c]` to `[b 2*h w c]`, and h and 2 are neighbours in a channels-first tensor too.
"""

from collections.abc import Sequence

import numpy as np
from jax.export import is_symbolic_dim
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.dimensions import vector
from defect_jax.deploy.onnx.dtypes import cast
from defect_jax.deploy.onnx.graph import Graph, Unsupported
from defect_jax.deploy.onnx.values import (
    Dimension,
    Order,
    Shape,
    Stored,
    Value,
    as_jax,
    common_order,
    in_order,
    is_one,
    stored,
    with_new,
    without,
)

Group = tuple[tuple[int, ...], tuple[int, ...]]  # axes before and axes after, of equal size


def transpose(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write nothing: the same axes of the tensor have other names."""
    value, permutation = stored(graph, inputs[0]), equation.params["permutation"]
    order = tuple(permutation.index(axis) for axis in value.order)
    return [Stored(value.name, equation.outvars[0].aval.shape, value.dtype, order)]


def squeeze(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write the removal of axes of length 1."""
    return [squeezed(graph, stored(graph, inputs[0]), equation.params["dimensions"])]


def squeezed(graph: Graph, value: Stored, axes: Sequence[int]) -> Stored:
    """Return the value without axes of length 1."""
    if not axes:
        return value
    shape = tuple(each for axis, each in enumerate(value.shape) if axis not in axes)
    places = graph.integers(value.place(axis) for axis in axes)
    name = graph.node("Squeeze", value.name, places)
    return Stored(name, shape, value.dtype, without(value.order, axes))


def broadcast(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `broadcast_in_dim`: new axes, and repetition along axes of length 1."""
    value = stored(graph, inputs[0])
    shape, kept = equation.params["shape"], equation.params["broadcast_dimensions"]
    new = [axis for axis in range(len(shape)) if axis not in kept]
    name, order = value.name, with_new(value.order, new)
    if new:
        name = graph.node("Unsqueeze", name, graph.integers(order.index(axis) for axis in new))
    before = [value.shape[kept.index(axis)] if axis in kept else 1 for axis in range(len(shape))]
    # 1 means to Expand: as it is.
    repeated = [after if is_one(had) else 1 for had, after in zip(before, shape, strict=True)]
    return [Stored(expanded(graph, name, repeated, order), shape, value.dtype, order)]


def expanded(graph: Graph, name: str, repeated: Sequence[Dimension], order: Order) -> str:
    """Repeat a tensor along axes of length 1; `repeated` is in JAX's order, 1 where nothing is."""
    if all(is_one(dimension) for dimension in repeated):
        return name
    return graph.node("Expand", name, vector(graph, [repeated[axis] for axis in order]))


def stack(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write a join along a new axis."""
    return [stacked(graph, inputs, equation.params["axis"], equation.outvars[0].aval.shape)]


def stacked(graph: Graph, values: Sequence[Value], axis: int, shape: Shape) -> Stored:
    """Return the values along a new axis, one at each place."""
    before = common_order(values)
    order = with_new(before, [axis])
    place = graph.integers([order.index(axis)])
    layers = [graph.node("Unsqueeze", in_order(graph, each, before), place) for each in values]
    name = graph.node("Concat", *layers, axis=order.index(axis))
    return Stored(name, shape, values[0].dtype, order)


def layer(graph: Graph, value: Value, axis: int, number: int) -> Stored:
    """Return what is at place `number` of an axis, without that axis."""
    return layer_at(graph, value, axis, graph.initializer(np.asarray(number, np.int64)))


def layer_at(graph: Graph, value: Value, axis: int, number: str) -> Stored:
    """Return the same at the place that a tensor holds, an int64 scalar."""
    value = stored(graph, value)
    name = graph.node("Gather", value.name, number, axis=value.place(axis))
    shape = tuple(each for other, each in enumerate(value.shape) if other != axis)
    return Stored(name, shape, value.dtype, without(value.order, [axis]))


def iota(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write 0, 1, 2, … along one axis, the same along all others."""
    del inputs
    shape, axis, dtype = (equation.params[name] for name in ("shape", "dimension", "dtype"))
    length = graph.node("Squeeze", vector(graph, [shape[axis]]))
    start, step = (graph.initializer(np.asarray(each, np.int64)) for each in (0, 1))
    name = cast(graph, graph.node("Range", start, length, step), np.dtype(np.int64), dtype)
    others = [other for other in range(len(shape)) if other != axis]
    if others:
        name = graph.node("Unsqueeze", name, graph.integers(others))
    repeated = [1 if other == axis else each for other, each in enumerate(shape)]
    order = tuple(range(len(shape)))
    return [Stored(expanded(graph, name, repeated, order), shape, dtype, order)]


def size_as_value(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `dim_as_value`: a symbolic size as a number to calculate with."""
    del inputs
    length = graph.node("Squeeze", vector(graph, [equation.params["dim"]]))
    aval = equation.outvars[0].aval
    return [Stored(cast(graph, length, np.dtype(np.int64), aval.dtype), (), aval.dtype, ())]


def reshape(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write the same numbers in the same order, in another shape."""
    if equation.params["dimensions"] is not None:
        raise Unsupported("reshape: a permutation (`dimensions`) in it")
    value, shape = stored(graph, inputs[0]), equation.params["new_sizes"]
    before, after = kept_orders(value, groups(value.shape, shape), len(shape))
    had = [value.shape[axis] for axis in before]
    wanted = [shape[axis] for axis in after]
    name = reshaped(graph, in_order(graph, value, before), had, wanted)
    return [Stored(name, shape, value.dtype, after)]


def groups(before: Shape, after: Shape) -> list[Group]:
    """Return the smallest groups of neighbouring axes that turn into each other.

    >>> groups((2, 8, 2, 6), (2, 16, 3, 2))
    [((0,), (0,)), ((1, 2), (1,)), ((3,), (2, 3))]
    """
    found, first, then = [], 0, 0
    while first < len(before) and then < len(after):
        first_end, then_end = _end_of_group(before, after, first, then)
        found.append((tuple(range(first, first_end)), tuple(range(then, then_end))))
        first, then = first_end, then_end
    rest = tuple(range(first, len(before))), tuple(range(then, len(after)))
    if not any(rest):
        return found
    if not found:  # a scalar
        return [rest]
    return [*found[:-1], (found[-1][0] + rest[0], found[-1][1] + rest[1])]  # axes of length 1


def _end_of_group(before: Shape, after: Shape, first: int, then: int) -> tuple[int, int]:
    """Return where the group that starts at these two axes ends: at the first equal products."""
    ends = [
        (first_end, then_end)
        for first_end in range(first + 1, len(before) + 1)
        for then_end in range(then + 1, len(after) + 1)
    ]
    for end in sorted(ends, key=sum):
        if _product(before[first : end[0]]) == _product(after[then : end[1]]):
            return end
    return len(before), len(after)


def _product(dimensions: Sequence[Dimension]) -> Dimension:
    product = 1
    for dimension in dimensions:
        product = dimension * product
    return product


def kept_orders(value: Stored, found: Sequence[Group], rank: int) -> tuple[Order, Order]:
    """Return the order to reshape in, the value's own if possible, and the order that comes out."""
    order, pieces = value.order, {}
    for before, after in found:
        long = [axis for axis in before if not is_one(value.shape[axis])] or list(before[:1])
        places = [value.place(axis) for axis in long]
        if places != sorted(places) or _something_between(value, long):
            return as_jax(len(order)), as_jax(rank)
        pieces[value.place(long[0]) if long else -1] = after
    return order, tuple(axis for place in sorted(pieces) for axis in pieces[place])


def _something_between(value: Stored, axes: Sequence[int]) -> bool:
    """Return whether an axis longer than 1 is between the first and the last of `axes`."""
    if not axes:
        return False
    between = value.order[value.place(axes[0]) : value.place(axes[-1])]
    return any(axis not in axes and not is_one(value.shape[axis]) for axis in between)


def reshaped(
    graph: Graph, name: str, before: Sequence[Dimension], after: Sequence[Dimension]
) -> str:
    """Reshape a tensor, with sizes that are computed only where they must be."""
    if tuple(before) == tuple(after):
        return name
    symbolic = [place for place, each in enumerate(after) if is_symbolic_dim(each)]
    kept = [place for place in symbolic if place < len(before) and before[place] == after[place]]
    unknown = [place for place in symbolic if place not in kept]
    empty = any(not is_symbolic_dim(each) and each == 0 for each in after)
    if len(unknown) > 1 or empty:
        return graph.node("Reshape", name, vector(graph, after), allowzero=1)
    meanings = dict.fromkeys(kept, 0) | dict.fromkeys(unknown, -1)  # as before; what is left over
    sizes = [meanings.get(place, each) for place, each in enumerate(after)]
    return graph.node("Reshape", name, graph.integers(sizes))
