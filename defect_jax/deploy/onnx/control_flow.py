"""`scan` and `cond`: bodies that are written several times, once in a Loop, or not at all.

A scan of few steps, as `lax.map` over four views or over the members of an ensemble, has its body
once for each: what is repeated in the file is optimised by runtimes as all the rest. A Loop has its
body once, however many steps there are, and may not know how many before it runs. Of a `cond` the
branch must be known before the graph runs, as that of `lax.platform_dependent` is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend.core import ClosedJaxpr, InconclusiveDimensionOperation, JaxprEqn

from defect_jax.deploy.onnx.axes import layer, layer_at, stacked
from defect_jax.deploy.onnx.dimensions import size, vector
from defect_jax.deploy.onnx.dtypes import tensor_info
from defect_jax.deploy.onnx.graph import Graph, Unsupported
from defect_jax.deploy.onnx.slicing import BEFORE_START, cut
from defect_jax.deploy.onnx.values import (
    Dimension,
    Known,
    Order,
    Shape,
    Stored,
    Value,
    as_jax,
    in_order,
    stored,
)

MOST_COPIES = 20  # of a body in the file: as many as an ensemble may have members
Run = Callable[[Graph, ClosedJaxpr, Sequence[Value]], list[Value]]  # writes a jaxpr for inputs


class Scan(NamedTuple):
    """What a scan repeats, and on what.

    Attributes:
        body: from what is fixed, what is carried and elements of sequences to what is carried on
            and elements of results.
        steps: how often; may be symbolic.
    """

    body: ClosedJaxpr
    steps: Dimension
    reverse: bool
    fixed: Sequence[Value]
    carried: Sequence[Value]
    sequences: Sequence[Value]


def scan(run: Run, graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write a scan.

    Args:
        run: writes a jaxpr for given inputs.
    """
    parameters = equation.params
    fixed, carried = _counts(parameters)
    whole = Scan(
        parameters["jaxpr"],
        parameters["length"],
        parameters["reverse"],
        inputs[:fixed],
        inputs[fixed : fixed + carried],
        inputs[fixed + carried :],
    )
    few = isinstance(whole.steps, int) and 1 <= whole.steps <= MOST_COPIES
    return (_unrolled if few else _looped)(run, graph, whole, equation)


def _counts(parameters: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many inputs are fixed, and how many carried."""
    if "num_consts" in parameters:
        return parameters["num_consts"], parameters["num_carry"]
    fixed, carried, _ = parameters["ft_in"].unpack()  # since jax 0.11
    return len(fixed), len(carried)


def _unrolled(run: Run, graph: Graph, scan: Scan, equation: JaxprEqn) -> list[Value]:
    """Write one step after the other."""
    carried, results = scan.carried, []
    count = len(carried)
    for step in reversed(range(scan.steps)) if scan.reverse else range(scan.steps):
        elements = [_element(graph, each, step) for each in scan.sequences]
        outputs = run(graph, scan.body, [*scan.fixed, *carried, *elements])
        carried = outputs[:count]
        results.append(outputs[count:])
    if scan.reverse:
        results.reverse()
    shapes = [each.aval.shape for each in equation.outvars[count:]]
    collected = zip(zip(*results, strict=True), shapes, strict=True)
    return [*carried, *(stacked(graph, each, 0, shape) for each, shape in collected)]


def _element(graph: Graph, sequence: Value, step: int) -> Value:
    if isinstance(sequence, Known):
        return Known(np.asarray(sequence.array[step]))
    return layer(graph, sequence, 0, step)


def _looped(run: Run, graph: Graph, scan: Scan, equation: JaxprEqn) -> list[Value]:
    """Write a Loop, which carries values from step to step and collects results."""
    count = len(scan.carried)
    sequences = [_turned(graph, stored(graph, each), scan.reverse) for each in scan.sequences]
    body, orders = _body(run, graph, scan._replace(sequences=sequences))
    start = [in_order(graph, each, as_jax(len(each.shape))) for each in scan.carried]
    names = graph.loop(body, size(graph, scan.steps), start)
    outputs = [
        Stored(name, variable.aval.shape, variable.aval.dtype, order)
        for name, variable, order in zip(names, equation.outvars, orders, strict=True)
    ]
    collected = [_turned(graph, _sized(graph, each), scan.reverse) for each in outputs[count:]]
    return [*outputs[:count], *collected]


def _body(run: Run, graph: Graph, scan: Scan) -> tuple[Graph, list[Order]]:
    """Write what is repeated, which reads what is fixed and the sequences from outside.

    Returns:
        It, and the order of each of the loop's outputs.
    """
    body, count = Graph(graph), len(scan.carried)
    step, going = _input(body, np.dtype(np.int64), ()), _input(body, np.dtype(np.bool_), ())
    carried = [_input(body, each.dtype, each.shape) for each in scan.carried]
    elements = [layer_at(body, each, 0, step.name) for each in scan.sequences]
    results = run(body, scan.body, [*scan.fixed, *carried, *elements])
    results = [stored(body, each) for each in results]
    orders = [as_jax(len(each.shape)) for each in results[:count]]  # as the next step takes them
    orders += [each.order for each in results[count:]]
    for each, order in zip([going, *results], [(), *orders], strict=True):
        _output(body, each, order)
    collected = [(0, *(axis + 1 for axis in order)) for order in orders[count:]]
    return body, [*orders[:count], *collected]


def _input(body: Graph, dtype: np.dtype, shape: Shape) -> Stored:
    """Declare a tensor that the loop hands to each step."""
    name = body.name("carried")
    body.inputs.append(tensor_info(name, dtype, shape))
    return Stored(name, shape, dtype, as_jax(len(shape)))


def _output(body: Graph, value: Stored, order: Order) -> None:
    """Declare a tensor that each step hands to the loop; it must be of a node of the body."""
    name = body.node("Identity", in_order(body, value, order))
    shape = tuple(value.shape[axis] for axis in order)
    body.outputs.append(tensor_info(name, value.dtype, shape))


def _turned(graph: Graph, value: Stored, reverse: bool) -> Stored:
    """Put the last step's element first, where a scan goes backwards."""
    if not reverse:
        return value
    name = cut(graph, value, [0], [-1], [BEFORE_START], [-1])
    return Stored(name, value.shape, value.dtype, value.order)


def _sized(graph: Graph, value: Stored) -> Stored:
    """Return the elements of all steps; of no steps runtimes make symbolic sizes 0."""
    try:
        if value.shape[0] >= 1:
            return value
    except InconclusiveDimensionOperation:
        pass
    sizes = vector(graph, [value.shape[axis] for axis in value.order])
    name = graph.node("Reshape", value.name, sizes, allowzero=1)
    return Stored(name, value.shape, value.dtype, value.order)


def platform(equation: JaxprEqn) -> Known:
    """Return `platform_index`: ONNX is no platform of JAX, so its branch is the default one.

    Raises:
        Unsupported: there is none.
    """
    platforms = equation.params["platforms"]
    if None not in platforms:
        raise Unsupported(f"platform_index: of {platforms}, without a default")
    return Known(np.asarray(platforms.index(None), np.int32))


def chosen(run: Run, graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write the one branch that is taken; an index beyond them takes the nearest, as in JAX.

    Args:
        run: writes a jaxpr for given inputs.

    Raises:
        Unsupported: only the running graph would know which.
    """
    which, *operands = inputs
    if not isinstance(which, Known):
        raise Unsupported("cond: its branch must be known when the graph is written")
    branches = equation.params["branches"]
    return run(graph, branches[int(np.clip(which.array, 0, len(branches) - 1))], operands)
