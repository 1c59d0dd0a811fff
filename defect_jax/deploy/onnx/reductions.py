"""Sums, extremes and their places along whole axes."""

from collections.abc import Sequence

import numpy as np
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.dtypes import calculated_as, cast
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import stored, without
from defect_jax.deploy.onnx.unsupported import Unsupported
from defect_jax.deploy.onnx.values import Stored, Value, Writer


def reduction(operator: str) -> Writer:
    """Writer of a reduction over several axes, which go."""

    def write(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        value, axes = stored(graph, inputs[0]), equation.params["axes"]
        if not axes:
            return [value]
        dtype = calculated_as(value.dtype)
        name = cast(graph, value.name, value.dtype, dtype)
        places = graph.integers(value.place(axis) for axis in axes)
        name = cast(graph, graph.node(operator, name, places, keepdims=0), dtype, value.dtype)
        order = without(value.order, axes)
        return [Stored(name, equation.outvars[0].aval.shape, value.dtype, order)]

    return write


def quantifier(operator: str) -> Writer:
    """Writer of "all" and "any", as the least and the largest of 0 and 1."""
    of_numbers = reduction(operator)

    def write(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        if inputs[0].dtype != np.bool_:
            raise Unsupported(f"{equation.primitive.name}: of {inputs[0].dtype}, must be of bool")
        return of_numbers(graph, equation, inputs)

    return write


def place_of(operator: str) -> Writer:
    """Writer of the place of an extreme along one axis, of the first among equals."""

    def write(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        value, (axis,) = stored(graph, inputs[0]), equation.params["axes"]
        name = cast(graph, value.name, value.dtype, calculated_as(value.dtype))
        place = graph.node(operator, name, axis=value.place(axis), keepdims=0)
        aval = equation.outvars[0].aval
        place = cast(graph, place, np.dtype(np.int64), aval.dtype)
        return [Stored(place, aval.shape, aval.dtype, without(value.order, [axis]))]

    return write


def running_sum(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """`cumsum`, from either end."""
    value, parameters = stored(graph, inputs[0]), equation.params
    dtype = calculated_as(value.dtype)
    place = graph.initializer(np.asarray(value.place(parameters["axis"]), np.int64))
    name = cast(graph, value.name, value.dtype, dtype)
    name = graph.node("CumSum", name, place, reverse=int(parameters["reverse"]))
    name = cast(graph, name, dtype, value.dtype)
    return [Stored(name, value.shape, value.dtype, value.order)]
