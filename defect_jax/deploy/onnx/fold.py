"""Puts what multiplies and adds behind a convolution into its kernel and bias.

A batch norm in use is both: `(conv(x, k) - μ) s + β` is `conv(x, s k) + (β - μ s)`.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx

from defect_jax.deploy.onnx.graph import Graph

Layer = tuple[np.ndarray, np.ndarray]  # kernel [out in …] and bias [out]
# What each operator makes of a layer, with one number a channel as its second operand.
JOINED: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Layer]] = {
    "Add": lambda kernel, bias, number: (kernel, bias + number),
    "Sub": lambda kernel, bias, number: (kernel, bias - number),
    "Mul": lambda kernel, bias, number: (_times(kernel, number), bias * number),
    "Div": lambda kernel, bias, number: (_times(kernel, 1.0 / number), bias / number),
}
COMMUTE = ("Add", "Mul")


def fold_convolutions(graph: Graph) -> None:
    """Folds, in place, all that can be folded; the graph's outputs keep their names.

    It is calculated in float64 and rounded once.
    """
    for body in graph.bodies.values():
        fold_convolutions(body)
    users = Counter(graph.all_read())
    reader = {name: node for node in graph.nodes for name in graph.reads(node)}
    gone: set[str] = set()
    for node in graph.nodes:
        if node.op_type == "Conv" and node.input[1] in graph.initializers:
            gone |= _fold(graph, node, users, reader)
    graph.nodes = [node for node in graph.nodes if node.name not in gone]


def _fold(
    graph: Graph, convolution: onnx.NodeProto, users: Counter, reader: dict[str, onnx.NodeProto]
) -> set[str]:
    """Folds the nodes behind one convolution as far as they go, and returns their names."""
    kernel = graph.initializers[convolution.input[1]].astype(np.float64)
    bias, last, gone = np.zeros(kernel.shape[0]), convolution.output[0], set()
    while users[last] == 1 and last in reader:
        node = reader[last]
        number = _number_a_channel(graph, node, last, kernel)
        if number is None:
            break
        kernel, bias = JOINED[node.op_type](kernel, bias, number)
        last = node.output[0]
        gone.add(node.name)
    if gone:
        before = graph.initializers[convolution.input[1]].dtype
        del convolution.input[1:]
        convolution.input.extend(graph.initializer(each.astype(before)) for each in (kernel, bias))
        convolution.output[0] = last
    return gone


def _number_a_channel(
    graph: Graph, node: onnx.NodeProto, name: str, kernel: np.ndarray
) -> np.ndarray | None:
    """The node's other operand as one number a channel, if it is that and can be joined."""
    if node.op_type not in JOINED or list(node.input).count(name) != 1:
        return None
    place = list(node.input).index(name)
    number = graph.initializers.get(node.input[1 - place])
    if number is None or (place == 1 and node.op_type not in COMMUTE):
        return None
    channels = (1, kernel.shape[0]) + (1,) * (kernel.ndim - 2)
    if number.ndim > 0 and number.shape not in (channels, (1,) * kernel.ndim):
        return None
    return np.broadcast_to(number, channels).reshape(-1).astype(np.float64)


def _times(kernel: np.ndarray, number: np.ndarray) -> np.ndarray:
    return kernel * number.reshape(-1, *(1,) * (kernel.ndim - 1))
