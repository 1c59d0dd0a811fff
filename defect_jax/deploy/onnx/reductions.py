"""Sums, extremes and their places along whole axes, and products summed over shared axes."""

import string
from collections.abc import Sequence

import numpy as np
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.dtypes import calculated_as, cast
from defect_jax.deploy.onnx.graph import Graph, Unsupported
from defect_jax.deploy.onnx.values import Stored, Value, Writer, as_jax, stored, without


def reduction(operator: str) -> Writer:
    """Return the writer of a reduction over several axes, which go."""

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


LARGEST = reduction("ReduceMax")


def any_of(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `reduce_or`: of truths, as the largest of 0 and 1.

    Raises:
        Unsupported: of integers, whose bits it would join.
    """
    if inputs[0].dtype != np.bool_:
        raise Unsupported(f"reduce_or: of {inputs[0].dtype}, must be of bool")
    return LARGEST(graph, equation, inputs)


def place_of_largest(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `argmax` along one axis: of the first among equals."""
    value, (axis,) = stored(graph, inputs[0]), equation.params["axes"]
    name = cast(graph, value.name, value.dtype, calculated_as(value.dtype))
    place = graph.node("ArgMax", name, axis=value.place(axis), keepdims=0)
    aval = equation.outvars[0].aval
    place = cast(graph, place, np.dtype(np.int64), aval.dtype)
    return [Stored(place, aval.shape, aval.dtype, without(value.order, [axis]))]


def dot_general(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write a product of matrices where the factors are stored so, and otherwise Einsum.

    Einsum names the axes of its factors, so they may be stored in any order.
    """
    aval = equation.outvars[0].aval
    left, right = (stored(graph, value) for value in inputs)
    dtype = calculated_as(aval.dtype)
    names = [cast(graph, each.name, each.dtype, dtype) for each in (left, right)]
    *letters, result = axis_letters(equation, len(left.shape), len(right.shape))
    have = [
        "".join(own[axis] for axis in value.order)
        for own, value in zip(letters, (left, right), strict=True)
    ]
    if is_matrix_product(*have, result):
        name = graph.node("MatMul", *names)
    else:
        name = graph.node("Einsum", *names, equation=f"{have[0]},{have[1]}->{result}")
    name = cast(graph, name, dtype, aval.dtype)
    return [Stored(name, aval.shape, aval.dtype, as_jax(len(aval.shape)))]


def axis_letters(equation: JaxprEqn, left_rank: int, right_rank: int) -> tuple[str, str, str]:
    """Return a letter for each axis of factors and result, the same where they are shared.

    JAX's result has the batch axes first, then what is left of the left and of the right factor.
    """
    (left_summed, right_summed), (left_batch, right_batch) = equation.params["dimension_numbers"]
    alphabet = iter(string.ascii_lowercase)
    left = [next(alphabet) for _ in range(left_rank)]
    right = [""] * right_rank
    shared = (*left_summed, *left_batch), (*right_summed, *right_batch)
    for on_left, on_right in zip(*shared, strict=True):
        right[on_right] = left[on_left]
    right = [letter or next(alphabet) for letter in right]
    result = [left[axis] for axis in left_batch]
    result += [each for axis, each in enumerate(left) if axis not in shared[0]]
    result += [each for axis, each in enumerate(right) if axis not in shared[1]]
    return "".join(left), "".join(right), "".join(result)


def is_matrix_product(left: str, right: str, result: str) -> bool:
    """Return whether rows times one matrix, of factors stored like this, are the result.

    >>> is_matrix_product("abc", "cd", "abd"), is_matrix_product("cab", "cd", "abd")
    (True, False)
    """
    if len(left) < 2 or len(right) != 2:
        return False
    return left[-1] == right[0] and result == left[:-1] + right[1]
