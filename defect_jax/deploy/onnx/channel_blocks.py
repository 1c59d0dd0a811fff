"""Keeps maps in the layout that onnxruntime convolves in.

On a CPU it convolves maps in blocks of eight or sixteen channels, and resizes and joins them there
too, but only those that a convolution or a pooling has made. What attention multiplies lies
plainly: resizing that took three times as long, and whatever is joined with it was copied into
blocks once more. A pooling over single pixels changes no number, and makes blocks of them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import onnx

from defect_jax.deploy.onnx.graph import Graph

INTO_BLOCKS = ("Conv", "MaxPool")
WITHIN_BLOCKS = ("Concat", "Relu", "Resize")  # of blocks they make blocks
Readers = Mapping[str, Sequence[onnx.NodeProto]]


def keep_in_blocks(graph: Graph) -> None:
    """Pools, in place, each map that lies plainly, for the nodes that could work on blocks."""
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
    maps = node.input[:1] if node.op_type == "Resize" else node.input  # the others are its factors
    return node.op_type in WITHIN_BLOCKS and all(name in in_blocks for name in maps)


def _wants_blocks(node: onnx.NodeProto, readers: Readers) -> bool:
    if node.op_type == "Concat":
        return any(each.op_type == "Conv" for each in readers[node.output[0]])
    return node.op_type == "Resize"


def _rename_input(node: onnx.NodeProto, name: str, other: str) -> None:
    names = [other if each == name else each for each in node.input]
    del node.input[:]
    node.input.extend(names)
