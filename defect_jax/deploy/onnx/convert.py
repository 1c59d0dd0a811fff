"""A JAX function as an ONNX model: traced, written, folded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import onnx

from defect_jax.deploy.onnx.channel_blocks import keep_in_blocks
from defect_jax.deploy.onnx.dimensions import declare
from defect_jax.deploy.onnx.dtypes import tensor_info
from defect_jax.deploy.onnx.fold import fold_convolutions
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import as_jax, in_order
from defect_jax.deploy.onnx.prune import prune
from defect_jax.deploy.onnx.unsupported import Unsupported
from defect_jax.deploy.onnx.values import Stored
from defect_jax.deploy.onnx.walk import written

OPSET = 18  # the oldest that has all we write: reductions take their axes as an input
NEWEST_OPSET = 23  # tried


def to_onnx(
    function: Callable[..., Any],
    arguments: Mapping[str, jax.ShapeDtypeStruct],
    outputs: Sequence[str],
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Writes a function of arrays as an ONNX model.

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
    """The graph of a function as it is written, before anything is folded; as `to_onnx`."""
    names = [*arguments, *outputs]
    if len(set(names)) != len(names):
        raise ValueError(f"inputs and outputs {names}: a name is there twice")
    traced = jax.make_jaxpr(function)(*arguments.values())
    if len(traced.out_avals) != len(outputs):
        raise ValueError(f"outputs {list(outputs)}: the function has {len(traced.out_avals)}")
    graph = Graph()
    inputs = []
    for name, spec in zip(arguments, traced.in_avals, strict=True):
        graph.inputs.append(tensor_info(name, spec.dtype, spec.shape))
        inputs.append(Stored(name, spec.shape, spec.dtype, as_jax(len(spec.shape))))
    declare(graph, arguments)
    for name, value in zip(outputs, written(graph, traced, inputs), strict=True):
        graph.copy(in_order(graph, value, as_jax(len(value.shape))), name)
        graph.outputs.append(tensor_info(name, value.dtype, value.shape))
    return graph
