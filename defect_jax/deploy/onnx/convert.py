"""A JAX function as an ONNX model: traced, written equation by equation, optimised.

Known numbers are calculated, the rest is written.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import onnx
from jax.export import is_symbolic_dim
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from defect_jax.deploy.onnx.control_flow import chosen, platform, scan
from defect_jax.deploy.onnx.convolution import writer_of_named
from defect_jax.deploy.onnx.dimensions import declare, vector
from defect_jax.deploy.onnx.dtypes import tensor_info, tensor_type
from defect_jax.deploy.onnx.graph import Graph, Unsupported
from defect_jax.deploy.onnx.optimise import fold_convolutions, keep_in_blocks, prune
from defect_jax.deploy.onnx.table import WRITERS
from defect_jax.deploy.onnx.values import Known, Stored, Value, as_jax, in_order

OPSET = 18  # the oldest that has all we write: reductions take their axes as an input
NEWEST_OPSET = 23  # tried

# Primitives that call a function, and the parameter that holds it.
CALLS = {
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "jit": "jaxpr",
}
SYMBOLIC = ("dim_as_value",)  # known only to the graph, though it has no input
# What has more elements, and more than went in, is computed by the graph: a file is no place for
# a million zeros.
MOST_KNOWN = 2**14


def to_onnx(
    function: Callable[..., Any],
    arguments: Mapping[str, jax.ShapeDtypeStruct],
    outputs: Sequence[str],
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Write a function of arrays as an ONNX model.

    Arrays that the function closes over, such as a network's parameters, are in the model. Axes are
    in JAX's order at its inputs and outputs.

    Args:
        function: called with one array for each argument, by position; it may return any pytree.
        arguments: name of each input -> shape and dtype. Sizes may be symbolic
            (`jax.export.symbolic_shape`), of one scope; the model has their names, and takes any.
        outputs: a name for each array that the function returns, as `jax.tree.leaves` has them.
        opset: of the model, from 18 to 23.

    Returns:
        The model. onnxruntime calculates with it what JAX does, but for the last digits.

    Raises:
        Unsupported: for a primitive, a parameter or a dtype that the converter does not know, with
            its name.
        ValueError: for another number of outputs than the function has, or a name used twice.

    >>> model = to_onnx(lambda x: x + 1, {"x": jax.ShapeDtypeStruct((2,), "float32")}, ["y"])
    >>> [node.op_type for node in model.graph.node]
    ['Add', 'Identity']
    """
    if not OPSET <= opset <= NEWEST_OPSET:
        raise Unsupported(f"opset {opset}: must be from {OPSET} to {NEWEST_OPSET}")
    graph = graph_of(function, arguments, outputs)
    fold_convolutions(graph)
    prune(graph)
    keep_in_blocks(graph)
    return graph.model(opset)


def graph_of(
    function: Callable[..., Any],
    arguments: Mapping[str, jax.ShapeDtypeStruct],
    outputs: Sequence[str],
) -> Graph:
    """Return the graph of a function as it is written, before `optimise`; as `to_onnx`."""
    names = [*arguments, *outputs]
    if len(set(names)) != len(names):
        raise ValueError(f"inputs and outputs {names}: a name is there twice")
    traced = jax.make_jaxpr(function)(*arguments.values())
    if len(traced.out_avals) != len(outputs):
        raise ValueError(f"outputs {list(outputs)}: the function has {len(traced.out_avals)}")
    graph = Graph()
    for name, spec in zip(arguments, traced.in_avals, strict=True):
        graph.inputs.append(tensor_info(name, spec.dtype, spec.shape))
    declare(graph, arguments)
    inputs = []
    for name, spec in zip(arguments, traced.in_avals, strict=True):
        checked = _of_checked_size(graph, name, spec.shape)
        inputs.append(Stored(checked, spec.shape, spec.dtype, as_jax(len(spec.shape))))
    for name, value in zip(outputs, written(graph, traced, inputs), strict=True):
        graph.copy(in_order(graph, value, as_jax(len(value.shape))), name)
        graph.outputs.append(tensor_info(name, value.dtype, value.shape))
    return graph


def _of_checked_size(graph: Graph, name: str, shape: Sequence[Any]) -> str:
    """Return the input as all nodes read it: once its symbolic sizes have been checked."""
    if not any(is_symbolic_dim(dimension) for dimension in shape):
        return name
    try:
        return graph.node("Reshape", name, vector(graph, shape))
    except Unsupported:  # a size that can only be used where the function does not ask for it
        return name


def written(graph: Graph, function: ClosedJaxpr | Jaxpr, inputs: Sequence[Value]) -> list[Value]:
    """Write a function's nodes and return the values of its results.

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
        if writer := writer_of_named(equation, inputs):
            return writer(graph, equation, inputs)
        return written(graph, equation.params[CALLS[name]], inputs)
    if name == "platform_index":
        return [platform(equation)]
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
        return chosen(written, graph, equation, inputs)
    if name not in WRITERS:
        raise Unsupported(f"primitive {name}: the converter does not know it")
    for variable in equation.outvars:
        tensor_type(variable.aval.dtype)
    return WRITERS[name](graph, equation, inputs)


def _is_small(equation: JaxprEqn) -> bool:
    """Return whether the results may be kept as numbers; symbolic ones cannot."""
    if equation.primitive.name in SYMBOLIC:
        return False
    shapes = [variable.aval.shape for variable in equation.outvars]
    if any(is_symbolic_dim(dimension) for shape in shapes for dimension in shape):
        return False
    given = sum(math.prod(variable.aval.shape) for variable in equation.invars)
    return sum(math.prod(shape) for shape in shapes) <= max(MOST_KNOWN, given)


def calculated(equation: JaxprEqn, arrays: Sequence[np.ndarray]) -> list[Known]:
    """Calculate an equation's results by JAX itself."""
    results = equation.primitive.bind(*arrays, **equation.params)
    results = results if equation.primitive.multiple_results else [results]
    return [Known(np.asarray(each)) for each in results]
