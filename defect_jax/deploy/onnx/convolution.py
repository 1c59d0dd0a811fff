"""Convolution, pooling and up-sampling: what ONNX does channels first, and so its result is stored.

Up-sampling is a function of ours that ONNX has an operator for, known by the name that `jax.jit`
gave it. Written out, `models.blocks.upsample` is forty nodes that each copy the map; runtimes have
one for it, and onnxruntime's also leaves it in the blocks of channels that its convolutions use.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.graph import Graph, Unsupported
from defect_jax.deploy.onnx.values import Order, Stored, Value, Writer, in_order, stored

CHANNELS_FIRST: Order = (0, 3, 1, 2)
IN_FRONT = 2  # axes without window: batch and channels to ONNX
MOST_SPATIAL = 3  # axes that runtimes pool over


def convolution(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write a convolution: strides, padding, dilated kernels and groups of channels.

    Raises:
        Unsupported: transposed convolutions (`lhs_dilation`), groups of the batch, padding that
            takes away or is symbolic, anything but floats.
    """
    parameters, aval = equation.params, equation.outvars[0].aval
    padding = _padding(parameters, aval.dtype)
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


def _padding(parameters: dict, dtype: np.dtype) -> list[tuple[int, int]]:
    """Return the padding, before and behind each spatial axis."""
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


def highest(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `reduce_window_max`."""
    return [_pooled(graph, equation, stored(graph, inputs[0]), "MaxPool")]


def total(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `reduce_window_sum`: the mean, padding included, times the number of a window's places.

    Raises:
        Unsupported: dilated windows, which ONNX has for means only since opset 19.
    """
    if any(each != 1 for each in equation.params["window_dilation"]):
        raise Unsupported("reduce_window_sum: window_dilation")
    value = stored(graph, inputs[0])
    mean = _pooled(graph, equation, value, "AveragePool", count_include_pad=1)
    count = math.prod(equation.params["window_dimensions"])
    name = graph.node("Mul", mean.name, graph.initializer(np.asarray(count, value.dtype)))
    return [Stored(name, mean.shape, mean.dtype, mean.order)]


def _pooled(graph: Graph, equation: JaxprEqn, value: Stored, operator: str, **kind: int) -> Stored:
    """Pool in the order that the value has, if its first two axes have no window."""
    windows = equation.params
    _check(windows, value.dtype)
    free = _free_axes(windows)
    order = pooling_order(value.order, free)
    name = in_order(graph, value, order)
    axes = order[IN_FRONT:] if len(free) >= IN_FRONT else order
    if len(axes) > MOST_SPATIAL:
        raise Unsupported(f"{equation.primitive.name}: more than {MOST_SPATIAL} axes with windows")
    attributes = {
        "kernel_shape": [int(windows["window_dimensions"][axis]) for axis in axes],
        "strides": [int(windows["window_strides"][axis]) for axis in axes],
        "pads": [int(windows["padding"][axis][side]) for side in (0, 1) for axis in axes],
    }
    if operator == "MaxPool":
        attributes["dilations"] = [int(windows["window_dilation"][axis]) for axis in axes]
    missing = graph.integers(range(IN_FRONT))
    if axes == order:
        name = graph.node("Unsqueeze", name, missing)
    name = graph.node(operator, name, **attributes, **kind)
    if axes == order:
        name = graph.node("Squeeze", name, missing)
    return Stored(name, equation.outvars[0].aval.shape, value.dtype, order)


def _check(windows: Mapping[str, Any], dtype: np.dtype) -> None:
    if dtype != np.float32:
        raise Unsupported(f"windows of {dtype}: must be of float32")
    if any(each != 1 for each in windows["base_dilation"]):
        raise Unsupported(f"windows: base_dilation {windows['base_dilation']}")
    padding = zip(windows["padding"], windows["window_dimensions"], strict=True)
    if any(not 0 <= side < length for pair, length in padding for side in pair):
        # onnxruntime refuses windows that are wholly outside.
        raise Unsupported(f"windows: padding {windows['padding']}, must be less than a window")


def _free_axes(windows: Mapping[str, Any]) -> list[int]:
    """Return the axes along which nothing is pooled."""
    each = zip(
        windows["window_dimensions"], windows["window_strides"], windows["padding"], strict=True
    )
    return [axis for axis, window in enumerate(each) if window == (1, 1, (0, 0))]


def pooling_order(order: Order, free: Sequence[int]) -> Order:
    """Return the order itself, if its first two axes are free; else one where they are.

    >>> pooling_order((0, 3, 1, 2), [0, 3]), pooling_order((0, 1, 2, 3), [0, 2, 3])
    ((0, 3, 1, 2), (0, 3, 1, 2))
    """
    if len(free) < IN_FRONT or set(order[:IN_FRONT]) <= set(free):
        return order
    front = free[0], free[-1]
    return (*front, *(axis for axis in range(len(order)) if axis not in front))


def writer_of_named(equation: JaxprEqn, inputs: Sequence[Value]) -> Writer | None:
    """Return the writer of the function that an equation calls, None to write its equations."""
    writer = NAMED.get(equation.params.get("name"))
    fits = all(isinstance(each, Stored) and each.dtype == np.float32 for each in inputs)
    return writer if fits else None


def doubled(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `models.blocks.upsample`: twice the height and width, bilinear, half-pixel centres."""
    name = graph.node(
        "Resize",
        in_order(graph, inputs[0], CHANNELS_FIRST),
        "",  # no region of interest
        graph.initializer(np.array([1, 1, 2, 2], np.float32)),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    aval = equation.outvars[0].aval
    return [Stored(name, aval.shape, aval.dtype, CHANNELS_FIRST)]


NAMED: dict[str, Writer] = {"upsample": doubled}
