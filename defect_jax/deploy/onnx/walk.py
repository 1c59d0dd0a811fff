"""From one equation of a jaxpr to the next: known numbers are calculated, the rest is written."""

import math
from collections.abc import Sequence

import numpy as np
from jax.export import is_symbolic_dim
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from defect_jax.deploy.onnx import branches
from defect_jax.deploy.onnx.dtypes import tensor_type
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.loops import scan
from defect_jax.deploy.onnx.named import writer_of
from defect_jax.deploy.onnx.table import WRITERS
from defect_jax.deploy.onnx.unsupported import Unsupported
from defect_jax.deploy.onnx.values import Known, Value

# Primitives that call a function, and the parameter that holds it.
CALLS = {
    "checkpoint": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
}
SYMBOLIC = ("dim_as_value",)  # known only to the graph, though it has no input
# What has more elements, and more than went in, is computed by the graph: a file is no place for
# a million zeros.
MOST_KNOWN = 2**14


def written(graph: Graph, function: ClosedJaxpr | Jaxpr, inputs: Sequence[Value]) -> list[Value]:
    """Writes a function's nodes and returns the values of its results.

    Raises:
        Unsupported: it has a primitive, a parameter of one, or a dtype that is not known here.
    """
    jaxpr, constants = function, []
    if isinstance(function, ClosedJaxpr):
        jaxpr, constants = function.jaxpr, [Known(np.asarray(each)) for each in function.consts]
    values: dict[Var, Value] = dict(zip(jaxpr.constvars, constants, strict=True))
    values |= zip(jaxpr.invars, inputs, strict=True)
    for equation in jaxpr.eqns:
        results = _results(graph, equation, [_value(each, values) for each in equation.invars])
        values |= zip(equation.outvars, results, strict=True)
    return [_value(each, values) for each in jaxpr.outvars]


def _value(variable: Var | Literal, values: dict[Var, Value]) -> Value:
    if isinstance(variable, Literal):
        return Known(np.asarray(variable.val, variable.aval.dtype))
    return values[variable]


def _results(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    name = equation.primitive.name
    if name in CALLS:
        if writer := writer_of(equation, inputs):
            return writer(graph, equation, inputs)
        return written(graph, equation.params[CALLS[name]], inputs)
    if name == "platform_index":
        return [branches.platform(equation)]
    if all(isinstance(value, Known) for value in inputs) and _is_small(equation):
        return calculated(equation, [value.array for value in inputs])
    try:
        return _written(graph, equation, inputs)
    except Unsupported as error:
        raise error if name in str(error) else Unsupported(f"{name}: {error}") from error


def _written(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    name = equation.primitive.name
    if name == "scan":
        return scan(written, graph, equation, inputs)
    if name == "cond":
        return branches.chosen(written, graph, equation, inputs)
    if name not in WRITERS:
        raise Unsupported(f"primitive {name}: the converter does not know it")
    for variable in equation.outvars:
        tensor_type(variable.aval.dtype)
    return WRITERS[name](graph, equation, inputs)


def _is_small(equation: JaxprEqn) -> bool:
    """Whether the results may be kept as numbers; symbolic ones cannot."""
    if equation.primitive.name in SYMBOLIC:
        return False
    shapes = [variable.aval.shape for variable in equation.outvars]
    if any(is_symbolic_dim(dimension) for shape in shapes for dimension in shape):
        return False
    given = sum(math.prod(variable.aval.shape) for variable in equation.invars)
    return sum(math.prod(shape) for shape in shapes) <= max(MOST_KNOWN, given)


def calculated(equation: JaxprEqn, arrays: Sequence[np.ndarray]) -> list[Known]:
    """An equation's results by JAX itself."""
    results = equation.primitive.bind(*arrays, **equation.params)
    results = results if equation.primitive.multiple_results else [results]
    return [Known(np.asarray(each)) for each in results]
