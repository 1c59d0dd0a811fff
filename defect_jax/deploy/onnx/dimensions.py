"""Sizes in the graph: numbers where they are known, and else computed from the inputs' shapes.

A symbolic dimension is read in the form in which `jax.export.symbolic_shape` writes it, such as
`floordiv(h, 2) + 2*w`. Every size is an int64 vector of one number, ready to be part of a shape.
"""

import ast
import re
from collections.abc import Mapping, Sequence

import jax
import onnx
from jax.export import is_symbolic_dim

from defect_jax.deploy.onnx.graph import Graph, Unsupported
from defect_jax.deploy.onnx.values import Dimension

OPERATORS: dict[type[ast.operator], str] = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
FUNCTIONS = {"max": "Max", "min": "Min", "mod": "Mod"}  # Mod has the divisor's sign, as Python


def declare(graph: Graph, arguments: Mapping[str, jax.ShapeDtypeStruct]) -> None:
    """Make the names in the arguments' shapes known to `size`.

    A name is read off an axis whose size is the name alone, or a multiple of it such as `8*h`.
    """
    for argument, spec in arguments.items():
        for axis, dimension in enumerate(spec.shape):
            found = re.fullmatch(r"(?:(\d+)\*)?([A-Za-z_]\w*)", str(dimension))
            if found and ("size", found[2]) not in graph.written:
                length = graph.node("Shape", argument, start=axis, end=axis + 1)
                if found[1]:
                    length = graph.node("Div", length, graph.integers([int(found[1])]))
                graph.written["size", found[2]] = at_least_1(graph, length, found[2])


def at_least_1(graph: Graph, length: str, name: str) -> str:
    """Return the same length, from a node that fails where it is 0, as JAX does.

    Without it onnxruntime divides by the length of an image without pixels, and the whole process
    dies of SIGFPE. ONNX has no assertion, but every runtime refuses a place behind the end.
    """
    is_empty = graph.node("Less", length, graph.integers([1]))
    place = graph.node("Cast", is_empty, to=onnx.TensorProto.INT64)
    return graph.node("Gather", length, place, called=f"{name}_must_be_at_least_1")


def size(graph: Graph, dimension: Dimension) -> str:
    """Return the name of the size, an int64 vector of one number.

    Raises:
        Unsupported: no argument shows a name in it (`declare`).
    """
    if not is_symbolic_dim(dimension):
        return graph.integers([int(dimension)])
    return _written(graph, ast.parse(str(dimension).replace("^", "**"), mode="eval").body)


def vector(graph: Graph, dimensions: Sequence[Dimension]) -> str:
    """Return the name of several sizes as one int64 vector."""
    if not any(is_symbolic_dim(dimension) for dimension in dimensions):
        return graph.integers(int(dimension) for dimension in dimensions)
    return graph.node("Concat", *(size(graph, each) for each in dimensions), axis=0)


def _written(graph: Graph, term: ast.expr) -> str:
    """Write the nodes of a term, once."""
    if isinstance(term, ast.Constant):
        return graph.integers([term.value])
    key = ("size", ast.unparse(term))
    if key not in graph.written:
        graph.written[key] = _operation(graph, term)
    return graph.written[key]


def _operation(graph: Graph, term: ast.expr) -> str:
    match term:
        case ast.UnaryOp(op=ast.USub()):
            return graph.node("Neg", _written(graph, term.operand))
        case ast.BinOp(op=ast.Pow(), right=ast.Constant()):
            return _power(graph, _written(graph, term.left), term.right.value)
        case ast.BinOp() if type(term.op) in OPERATORS:
            sides = _written(graph, term.left), _written(graph, term.right)
            return graph.node(OPERATORS[type(term.op)], *sides)
        case ast.Call(func=ast.Name(id="floordiv")):
            return _floor_divided(graph, *(_written(graph, each) for each in term.args))
        case ast.Call(func=ast.Name()) if term.func.id in FUNCTIONS:
            operands = [_written(graph, each) for each in term.args]
            return graph.node(FUNCTIONS[term.func.id], *operands)
    raise Unsupported(
        f"size {ast.unparse(term)}: no argument has an axis of this size, or of a multiple of it"
    )


def _power(graph: Graph, base: str, exponent: int) -> str:
    power = base
    for _ in range(exponent - 1):
        power = graph.node("Mul", power, base)
    return power


def _floor_divided(graph: Graph, dividend: str, divisor: str) -> str:
    """Round downwards where ONNX rounds towards zero."""
    multiple = graph.node("Sub", dividend, graph.node("Mod", dividend, divisor))
    return graph.node("Div", multiple, divisor)
