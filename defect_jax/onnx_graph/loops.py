"""`scan` with few steps, as `lax.map` over four views: its body once for each step."""

from collections.abc import Callable, Sequence

import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn

from defect_jax.onnx_graph.axes import layer, stacked
from defect_jax.onnx_graph.graph import Graph
from defect_jax.onnx_graph.unsupported import Unsupported
from defect_jax.onnx_graph.values import Known, Value

MOST_STEPS = 16  # each is a copy of the body in the file
Run = Callable[[Graph, ClosedJaxpr, Sequence[Value]], list[Value]]


def unrolled(run: Run, graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Writes the body of a scan for one step after the other.

    Args:
        run: writes a jaxpr for given inputs.

    Raises:
        Unsupported: more steps than `MOST_STEPS`, or none.
    """
    parameters = equation.params
    steps, constants = parameters["length"], parameters["num_consts"]
    if not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise Unsupported(f"scan: of length {steps}, must be from 1 to {MOST_STEPS}")
    fixed, rest = inputs[:constants], inputs[constants:]
    carried, sequences = rest[: parameters["num_carry"]], rest[parameters["num_carry"] :]
    results = []
    for step in reversed(range(steps)) if parameters["reverse"] else range(steps):
        elements = [_element(graph, each, step) for each in sequences]
        outputs = run(graph, parameters["jaxpr"], [*fixed, *carried, *elements])
        carried = outputs[: parameters["num_carry"]]
        results.append(outputs[parameters["num_carry"] :])
    if parameters["reverse"]:
        results.reverse()
    shapes = [each.aval.shape for each in equation.outvars[parameters["num_carry"] :]]
    collected = zip(zip(*results, strict=True), shapes, strict=True)
    return [*carried, *(stacked(graph, each, 0, shape) for each, shape in collected)]


def _element(graph: Graph, sequence: Value, step: int) -> Value:
    if isinstance(sequence, Known):
        return Known(np.asarray(sequence.array[step]))
    return layer(graph, sequence, 0, step)
