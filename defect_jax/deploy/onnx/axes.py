"""Axes that come, go and change places; most of it only renames what lies where."""

from collections.abc import Sequence

import numpy as np
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.dimensions import is_one, vector
from defect_jax.deploy.onnx.dtypes import cast
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import common_order, in_order, stored, with_new, without
from defect_jax.deploy.onnx.values import Dimension, Order, Shape, Stored, Value


def transpose(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Nothing moves: the same axes of the tensor have other names."""
    value, permutation = stored(graph, inputs[0]), equation.params["permutation"]
    order = tuple(permutation.index(axis) for axis in value.order)
    return [Stored(value.name, equation.outvars[0].aval.shape, value.dtype, order)]


def squeeze(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Takes axes of length 1 away."""
    return [squeezed(graph, stored(graph, inputs[0]), equation.params["dimensions"])]


def squeezed(graph: Graph, value: Stored, axes: Sequence[int]) -> Stored:
    """The value without axes of length 1."""
    if not axes:
        return value
    shape = tuple(each for axis, each in enumerate(value.shape) if axis not in axes)
    places = graph.integers(value.place(axis) for axis in axes)
    name = graph.node("Squeeze", value.name, places)
    return Stored(name, shape, value.dtype, without(value.order, axes))


def broadcast(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """`broadcast_in_dim`: new axes, and repetition along axes of length 1."""
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
    """Repeats a tensor along axes of length 1; `repeated` is in JAX's order, 1 where nothing is."""
    if all(is_one(dimension) for dimension in repeated):
        return name
    return graph.node("Expand", name, vector(graph, [repeated[axis] for axis in order]))


def tile(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Repeats the whole along each axis."""
    value, repetitions = stored(graph, inputs[0]), equation.params["reps"]
    name = graph.node("Tile", value.name, vector(graph, [repetitions[a] for a in value.order]))
    return [Stored(name, equation.outvars[0].aval.shape, value.dtype, value.order)]


def stack(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Joins along a new axis."""
    return [stacked(graph, inputs, equation.params["axis"], equation.outvars[0].aval.shape)]


def stacked(graph: Graph, values: Sequence[Value], axis: int, shape: Shape) -> Stored:
    """The values along a new axis, each of its places one of them."""
    before = common_order(values)
    order = with_new(before, [axis])
    place = graph.integers([order.index(axis)])
    layers = [graph.node("Unsqueeze", in_order(graph, each, before), place) for each in values]
    name = graph.node("Concat", *layers, axis=order.index(axis))
    return Stored(name, shape, values[0].dtype, order)


def unstack(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """The places of an axis one by one."""
    axis = equation.params["axis"]
    return [layer(graph, inputs[0], axis, number) for number in range(len(equation.outvars))]


def layer(graph: Graph, value: Value, axis: int, number: int) -> Stored:
    """What lies at place `number` of an axis, without that axis."""
    return layer_at(graph, value, axis, graph.initializer(np.asarray(number, np.int64)))


def layer_at(graph: Graph, value: Value, axis: int, number: str) -> Stored:
    """The same at the place that a tensor holds, an int64 scalar."""
    value = stored(graph, value)
    name = graph.node("Gather", value.name, number, axis=value.place(axis))
    shape = tuple(each for other, each in enumerate(value.shape) if other != axis)
    return Stored(name, shape, value.dtype, without(value.order, [axis]))


def iota(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """0, 1, 2, … along one axis, the same along all others."""
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
    """`dim_as_value`: a symbolic size as a number to calculate with."""
    del inputs
    length = graph.node("Squeeze", vector(graph, [equation.params["dim"]]))
    aval = equation.outvars[0].aval
    return [Stored(cast(graph, length, np.dtype(np.int64), aval.dtype), (), aval.dtype, ())]
