"""What is done to a written graph before it is a model: folded, pruned, kept in blocks of channels.

A batch norm in use multiplies and adds: `(conv(x, k) - μ) s + β` is `conv(x, s k) + (β - μ s)`, so
it is put into the kernel and bias. A traced function computes more than it returns, and what no
output needs is left out.

On a CPU onnxruntime convolves maps in blocks of eight or sixteen channels, and resizes and joins
them there too, but only those that a convolution or a pooling has made. What attention multiplies
is in no blocks: resizing that took three times as long, and whatever is joined with it was copied
into blocks once more. A pooling over single pixels changes no number, and makes blocks of them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

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
INTO_BLOCKS = ("Conv", "MaxPool")
WITHIN_BLOCKS = ("Clip", "Concat", "Relu", "Resize")  # of blocks they make blocks
Readers = Mapping[str, Sequence[onnx.NodeProto]]


def fold_convolutions(graph: Graph) -> None:
    """Fold, in place, all that can be folded; the graph's outputs keep their names.

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
    """Fold the nodes behind one convolution as far as they go, and return their names."""
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
    """Return the node's other operand as one number a channel, if it is that and can be joined."""
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


def prune(graph: Graph) -> None:
    """Take away, in place, nodes and initializers that lead to no output."""
    _prune_nodes(graph)
    needed = set(graph.all_read())
    for name in graph.initializers.keys() - needed:
        del graph.initializers[name]


def _prune_nodes(graph: Graph) -> None:
    needed = {output.name for output in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output):
            if node.name in graph.bodies:
                _prune_nodes(graph.bodies[node.name])
            kept.append(node)
            needed.update(graph.reads(node))
    graph.nodes = kept[::-1]


def keep_in_blocks(graph: Graph) -> None:
    """Pool, in place, each map in no blocks that nodes read which could work on blocks."""
    for body in graph.bodies.values():
        keep_in_blocks(body)
    readers = _readers(graph)
    nodes, graph.nodes = graph.nodes, []
    in_blocks: set[str] = set()
    for node in nodes:
        graph.nodes.append(node)
        map_name, *_ = node.output
        if _makes_blocks(node, in_blocks):
            in_blocks.add(map_name)
        elif waiting := [each for each in readers[map_name] if _wants_blocks(each, readers)]:
            pooled = graph.node("MaxPool", map_name, kernel_shape=[1, 1])
            in_blocks.add(pooled)
            for reader in waiting:
                _rename_input(reader, map_name, pooled)


def _readers(graph: Graph) -> Readers:
    readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.nodes:
        for name in node.input:
            readers[name].append(node)
    return readers


def _makes_blocks(node: onnx.NodeProto, in_blocks: set[str]) -> bool:
    if node.op_type in INTO_BLOCKS:
        return True
    # The others are limits, or factors.
    maps = node.input[:1] if node.op_type in ("Clip", "Resize") else node.input
    return node.op_type in WITHIN_BLOCKS and all(name in in_blocks for name in maps)


def _wants_blocks(node: onnx.NodeProto, readers: Readers) -> bool:
    if node.op_type == "Concat":
        return any(each.op_type == "Conv" for each in readers[node.output[0]])
    return node.op_type == "Resize"


def _rename_input(node: onnx.NodeProto, name: str, other: str) -> None:
    names = [other if each == name else each for each in node.input]
    del node.input[:]
    node.input.extend(names)
