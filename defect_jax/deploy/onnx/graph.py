"""A graph while it is written: nodes, and the arrays that they read."""

import hashlib
import itertools
from collections import ChainMap, Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper


class Unsupported(ValueError):
    """A primitive, a parameter of one, or a dtype that the converter does not know.

    The message names it, and the primitive where it was met.
    """


class Graph:
    """Nodes in the order of execution, initializers, inputs and outputs.

    The body of a loop is a graph of its own. Its nodes read the tensors of the graph around it, but
    nothing outside reads theirs. All graphs of a model share their arrays.

    Attributes:
        inputs, outputs: as ONNX declares them.
        nodes: each has one output, named as the node; loops have more.
        bodies: name of a loop -> what it repeats.
        initializers: name -> array, of all graphs.
        written: tensors that may be asked for again, by what they are.
    """

    def __init__(self, outer: "Graph | None" = None) -> None:
        """Make an empty graph, or the body of a loop in `outer`."""
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.bodies: dict[str, Graph] = {}
        self.initializers: dict[str, np.ndarray] = {} if outer is None else outer.initializers
        self.written: ChainMap[Any, str] = (
            ChainMap() if outer is None else outer.written.new_child()
        )
        self._constants: dict[Any, str] = {} if outer is None else outer._constants
        self._numbers = itertools.count() if outer is None else outer._numbers

    def node(self, operator: str, *inputs: str, called: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output, which begins with `called`."""
        name = self.name(called or operator)
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def loop(self, body: "Graph", trips: str, carried: Sequence[str]) -> list[str]:
        """Append a loop that runs `trips` times; return what is carried out, and collected."""
        name = self.name("Loop")
        outputs = [f"{name}_{place}" for place in range(len(body.outputs) - 1)]  # not the condition
        self.nodes.append(helper.make_node("Loop", [trips, "", *carried], outputs, name=name))
        self.bodies[name] = body
        return outputs

    def copy(self, tensor: str, name: str) -> None:
        """Give a tensor the name of an output."""
        self.nodes.append(helper.make_node("Identity", [tensor], [name], name=name))

    def name(self, kind: str) -> str:
        """Return a name that no other tensor or node of any graph of the model has."""
        return f"{kind}_{next(self._numbers)}"

    def reads(self, node: onnx.NodeProto) -> Iterator[str]:
        """Yield the tensors that a node reads, those that a loop's body does among them."""
        yield from node.input
        body = self.bodies.get(node.name)
        if body is not None:
            yield from body.all_read()

    def all_read(self) -> Iterator[str]:
        """Yield the tensors that the nodes read, and the outputs."""
        for node in self.nodes:
            yield from self.reads(node)
        yield from (output.name for output in self.outputs)

    def initializer(self, array: np.ndarray) -> str:
        """Return the name of the initializer with these numbers; equal ones are stored once."""
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
        key = (array.dtype.str, array.shape, content)
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self.initializers)}"
            self.initializers[self._constants[key]] = array
        return self._constants[key]

    def integers(self, numbers: Iterable[int]) -> str:
        """Return the name of an int64 vector, the form of shapes, axes and places in ONNX."""
        return self.initializer(np.array(list(numbers), np.int64))

    def model(self, opset: int) -> onnx.ModelProto:
        """Return the graph as a model, with the oldest file format that has the opset."""
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(
            self._proto("defect_jax", self._places()),
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="defect_jax",
        )

    def _places(self) -> dict[str, "Graph"]:
        """Return the graph that stores each array: the only one that reads it, or the outermost.

        onnxruntime does not choose its fastest layout for kernels that are stored outside a loop.
        """
        reads = [
            (name, graph)
            for graph in self._with_bodies()
            for name in {name for node in graph.nodes for name in node.input}
        ]
        readers = Counter(name for name, _ in reads)
        alone = {name: graph for name, graph in reads if readers[name] == 1}
        return dict.fromkeys(self.initializers, self) | alone

    def _with_bodies(self) -> Iterator["Graph"]:
        """Yield the graph, and those of all loops in it."""
        yield self
        for body in self.bodies.values():
            yield from body._with_bodies()

    def _proto(self, name: str, places: Mapping[str, "Graph"]) -> onnx.GraphProto:
        """Return the graph with the arrays that it stores, and its loops with their bodies."""
        arrays = [
            onnx.numpy_helper.from_array(array, name)
            for name, array in self.initializers.items()
            if places[name] is self
        ]
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, arrays)
        for node in graph.node:
            if node.name in self.bodies:
                body = self.bodies[node.name]._proto(f"{node.name}_body", places)
                node.attribute.append(helper.make_attribute("body", body))
        return graph
