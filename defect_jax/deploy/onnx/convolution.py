"""`conv_general_dilated`: ONNX convolves channels first, and so the result lies."""

from collections.abc import Sequence

import numpy as np
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import in_order
from defect_jax.deploy.onnx.unsupported import Unsupported
from defect_jax.deploy.onnx.values import Stored, Value


def convolution(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Strides, padding, dilated kernels and groups of channels.

    Raises:
        Unsupported: transposed convolutions (`lhs_dilation`), groups of the batch, padding that
            takes away or is symbolic, anything but floats.
    """
    parameters, aval = equation.params, equation.outvars[0].aval
    padding = _checked(parameters, aval.dtype)
    numbers = parameters["dimension_numbers"]
    name = graph.node(
        "Conv",
        in_order(graph, inputs[0], tuple(numbers.lhs_spec)),
        in_order(graph, inputs[1], tuple(numbers.rhs_spec)),
        kernel_shape=[int(inputs[1].shape[axis]) for axis in numbers.rhs_spec[2:]],
        strides=[int(each) for each in parameters["window_strides"]],
        pads=[before for before, _ in padding] + [behind for _, behind in padding],
        dilations=[int(each) for each in parameters["rhs_dilation"]],
        group=int(parameters["feature_group_count"]),
    )
    return [Stored(name, aval.shape, aval.dtype, tuple(numbers.out_spec))]


def _checked(parameters: dict, dtype: np.dtype) -> list[tuple[int, int]]:
    """The padding, before and behind each spatial axis."""
    name = "conv_general_dilated"
    if not np.issubdtype(dtype, np.floating):
        raise Unsupported(f"{name}: of {dtype}, must be of floats")
    if any(each != 1 for each in parameters["lhs_dilation"]):
        raise Unsupported(f"{name}: lhs_dilation {parameters['lhs_dilation']} (transposed)")
    if parameters["batch_group_count"] != 1:
        raise Unsupported(f"{name}: batch_group_count {parameters['batch_group_count']}")
    padding = parameters["padding"]
    if any(not isinstance(each, int | np.integer) or each < 0 for pair in padding for each in pair):
        raise Unsupported(f"{name}: padding {padding}, must be whole numbers of 0 or more")
    return [(int(before), int(behind)) for before, behind in padding]
