"""Maxima and sums over windows: pooling, which ONNX does behind two axes that have no window."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import in_order, stored
from defect_jax.deploy.onnx.unsupported import Unsupported
from defect_jax.deploy.onnx.values import Order, Stored, Value

IN_FRONT = 2  # axes without window: batch and channels to ONNX
MOST_SPATIAL = 3  # axes that runtimes pool over


def highest(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """`reduce_window_max`."""
    return [_pooled(graph, equation, stored(graph, inputs[0]), "MaxPool")]


def lowest(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """`reduce_window_min`: minus the highest of what is negated."""
    value = stored(graph, inputs[0])
    negative = Stored(graph.node("Neg", value.name), value.shape, value.dtype, value.order)
    result = _pooled(graph, equation, negative, "MaxPool")
    return [Stored(graph.node("Neg", result.name), result.shape, result.dtype, result.order)]


def total(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """`reduce_window_sum`: the mean, padding included, times the number of a window's places.

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
    """Pools in the order in which the value lies, if its first two axes have no window."""
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
        # onnxruntime refuses windows that lie wholly outside.
        raise Unsupported(f"windows: padding {windows['padding']}, must be less than a window")


def _free_axes(windows: Mapping[str, Any]) -> list[int]:
    """The axes along which nothing is pooled."""
    each = zip(
        windows["window_dimensions"], windows["window_strides"], windows["padding"], strict=True
    )
    return [axis for axis, window in enumerate(each) if window == (1, 1, (0, 0))]


def pooling_order(order: Order, free: Sequence[int]) -> Order:
    """The order itself, if its first two axes are free; else one where they are.

    >>> pooling_order((0, 3, 1, 2), [0, 3]), pooling_order((0, 1, 2, 3), [0, 2, 3])
    ((0, 3, 1, 2), (0, 3, 1, 2))
    """
    if len(free) < IN_FRONT or set(order[:IN_FRONT]) <= set(free):
        return order
    front = free[0], free[-1]
    return (*front, *(axis for axis in range(len(order)) if axis not in front))
