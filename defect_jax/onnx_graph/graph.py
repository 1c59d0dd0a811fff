"""A graph while it is written: nodes, and the arrays that they read."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper


class Graph:
    """Nodes in the order of execution, initializers, inputs and outputs.

    Attributes:
        inputs, outputs: as ONNX declares them.
        nodes: each has one output, named as the node.
        initializers: name -> array.
        written: tensors that may be asked for again, by what they are.
    """

    def __init__(self) -> None:
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.written: dict[Any, str] = {}

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Appends a node and returns the name of its output."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def copy(self, tensor: str, name: str) -> None:
        """Gives a tensor the name of an output."""
        self.nodes.append(helper.make_node("Identity", [tensor], [name], name=name))

    def initializer(self, array: np.ndarray) -> str:
        """Name of the initializer with these numbers; equal ones are stored once."""
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
        key = ("initializer", array.dtype.str, array.shape, content)
        if key not in self.written:
            self.written[key] = f"constant_{len(self.initializers)}"
            self.initializers[self.written[key]] = array
        return self.written[key]

    def integers(self, numbers: Iterable[int]) -> str:
        """Name of an int64 vector, as ONNX wants shapes, axes and places in."""
        return self.initializer(np.array(list(numbers), np.int64))

    def model(self, opset: int) -> onnx.ModelProto:
        """The graph as a model, with the oldest file format that has the opset."""
        tensors = [onnx.numpy_helper.from_array(a, n) for n, a in self.initializers.items()]
        graph = helper.make_graph(self.nodes, "defect_jax", self.inputs, self.outputs, tensors)
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="defect_jax",
        )
