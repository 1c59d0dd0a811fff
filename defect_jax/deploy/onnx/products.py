"""`dot_general`: products summed over axes that two arrays share."""

import string
from collections.abc import Sequence

from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.dtypes import calculated_as, cast
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import as_jax, stored
from defect_jax.deploy.onnx.values import Stored, Value


def dot_general(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """A product of matrices where it is one as the factors lie, and otherwise Einsum.

    Einsum names the axes of its factors, so they may lie in any order.
    """
    aval = equation.outvars[0].aval
    left, right = (stored(graph, value) for value in inputs)
    dtype = calculated_as(aval.dtype)
    names = [cast(graph, each.name, each.dtype, dtype) for each in (left, right)]
    *letters, result = axis_letters(equation, len(left.shape), len(right.shape))
    lying = [
        "".join(own[axis] for axis in value.order)
        for own, value in zip(letters, (left, right), strict=True)
    ]
    if is_matrix_product(*lying, result):
        name = graph.node("MatMul", *names)
    else:
        name = graph.node("Einsum", *names, equation=f"{lying[0]},{lying[1]}->{result}")
    name = cast(graph, name, dtype, aval.dtype)
    return [Stored(name, aval.shape, aval.dtype, as_jax(len(aval.shape)))]


def axis_letters(equation: JaxprEqn, left_rank: int, right_rank: int) -> tuple[str, str, str]:
    """A letter for each axis of the factors and of the result, the same where they are shared.

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
    """Whether rows times one matrix, of factors that lie like this, are the result.

    >>> is_matrix_product("abc", "cd", "abd"), is_matrix_product("cab", "cd", "abd")
    (True, False)
    """
    if len(left) < 2 or len(right) != 2:
        return False
    return left[-1] == right[0] and result == left[:-1] + right[1]
