"""What is done to each element alone: operands in one order, numbers in a type ONNX has.

A formula writes the nodes for operands that are ready for that, and knows neither of orders nor of
small integers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.dtypes import calculated_as, cast
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import common_order, in_order
from defect_jax.deploy.onnx.values import Stored, Value, Writer


class Step(NamedTuple):
    """Where a formula writes.

    Attributes:
        graph: that it adds to.
        parameters: of the primitive.
        dtype: of all operands.
    """

    graph: Graph
    parameters: Mapping[str, Any]
    dtype: np.dtype

    def __call__(self, operator: str, *names: str, **attributes: Any) -> str:
        return self.graph.node(operator, *names, **attributes)

    def number(self, number: int | float) -> str:
        """Name of a constant of the operands' dtype."""
        return self.graph.initializer(np.asarray(number, self.dtype))

    def known(self, name: str) -> np.ndarray | None:
        """The numbers of an operand, if they are known at conversion."""
        return self.graph.initializers.get(name)

    @property
    def floating(self) -> bool:
        return np.issubdtype(self.dtype, np.floating)


Formula: TypeAlias = Callable[..., str]  # (step, *names of operands) -> name of the result


def operator(name: str, **attributes: Any) -> Formula:
    """The formula that is one ONNX operator."""
    return lambda step, *names: step(name, *names, **attributes)


def arithmetic(formula: Formula) -> Writer:
    """Writer of a primitive whose result is of its operands' dtype."""

    def write(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        result, order, dtype = _calculated(formula, graph, equation, inputs)
        aval = equation.outvars[0].aval
        return [Stored(cast(graph, result, dtype, aval.dtype), aval.shape, aval.dtype, order)]

    return write


def truth(formula: Formula) -> Writer:
    """Writer of a primitive that says of numbers whether something holds."""

    def write(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        result, order, _ = _calculated(formula, graph, equation, inputs)
        aval = equation.outvars[0].aval
        return [Stored(result, aval.shape, aval.dtype, order)]

    return write


def logic(on_truths: str, on_bits: str) -> Writer:
    """Writer of a primitive that is one operator on truths and another on integers."""

    def write(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        order = common_order(inputs)
        names = [in_order(graph, value, order) for value in inputs]
        aval = equation.outvars[0].aval
        name = graph.node(on_truths if aval.dtype == np.bool_ else on_bits, *names)
        return [Stored(name, aval.shape, aval.dtype, order)]

    return write


def select(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """`select_n`: at each element the case whose number the first operand has there."""
    order = common_order(inputs)
    which, *cases = (in_order(graph, value, order) for value in inputs)
    aval = equation.outvars[0].aval
    dtype = calculated_as(aval.dtype)
    cases = [cast(graph, case, aval.dtype, dtype) for case in cases]
    result = cases[0]
    for number, case in enumerate(cases[1:], start=1):
        chosen = which
        if inputs[0].dtype != np.bool_:
            wanted = graph.initializer(np.asarray(number, inputs[0].dtype))
            chosen = graph.node("Equal", which, wanted)
        result = graph.node("Where", chosen, case, result)
    return [Stored(cast(graph, result, dtype, aval.dtype), aval.shape, aval.dtype, order)]


def _calculated(
    formula: Formula, graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]
) -> tuple[str, tuple[int, ...], np.dtype]:
    """Name of the formula's result, the order it lies in, and the dtype it was calculated in."""
    order, dtype = common_order(inputs), calculated_as(inputs[0].dtype)
    names = [cast(graph, in_order(graph, each, order), each.dtype, dtype) for each in inputs]
    return formula(Step(graph, equation.params, dtype), *names), order, dtype
