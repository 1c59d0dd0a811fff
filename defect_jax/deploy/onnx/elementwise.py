"""What is done to each element alone: operands in one order, numbers in a type ONNX has.

A formula writes the nodes for operands that are ready for that, and knows neither of orders nor of
small integers. Formulas of several nodes are for what ONNX has no operator for, or none that is
exact enough.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.dtypes import calculated_as, cast
from defect_jax.deploy.onnx.graph import Graph, Unsupported
from defect_jax.deploy.onnx.values import (
    Order,
    Stored,
    Value,
    Writer,
    common_order,
    in_order,
    stored,
)


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
        """Return the name of a constant of the operands' dtype."""
        return self.graph.initializer(np.asarray(number, self.dtype))

    def known(self, name: str) -> np.ndarray | None:
        """Return the numbers of an operand, if they are known at conversion."""
        return self.graph.initializers.get(name)

    @property
    def floating(self) -> bool:
        return np.issubdtype(self.dtype, np.floating)


Formula: TypeAlias = Callable[..., str]  # (step, *names of operands) -> name of the result


def operator(name: str) -> Formula:
    """Return the formula that is one ONNX operator."""
    return lambda step, *names: step(name, *names)


def arithmetic(formula: Formula) -> Writer:
    """Return the writer of a primitive whose result is of its operands' dtype."""

    def write(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        result, order, dtype = _calculated(formula, graph, equation, inputs)
        aval = equation.outvars[0].aval
        return [Stored(cast(graph, result, dtype, aval.dtype), aval.shape, aval.dtype, order)]

    return write


def truth(formula: Formula) -> Writer:
    """Return the writer of a primitive whose result is true or false."""

    def write(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        result, order, _ = _calculated(formula, graph, equation, inputs)
        aval = equation.outvars[0].aval
        return [Stored(result, aval.shape, aval.dtype, order)]

    return write


def logical(of_truths: str, of_bits: str) -> Writer:
    """Return the writer of `and` and its like, of truths or of the bits of integers."""

    def write(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
        order = common_order(inputs)
        names = [in_order(graph, value, order) for value in inputs]
        aval = equation.outvars[0].aval
        name = graph.node(of_truths if aval.dtype == np.bool_ else of_bits, *names)
        return [Stored(name, aval.shape, aval.dtype, order)]

    return write


def select(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `select_n`: at each element the case whose number the first operand has there."""
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


def clamped(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write `clamp` between two numbers, which runtimes do with the convolution before it.

    Raises:
        Unsupported: limits that are not one number for all elements, or of integers.
    """
    lowest, value, highest = inputs
    aval = equation.outvars[0].aval
    if lowest.shape or highest.shape or not np.issubdtype(aval.dtype, np.floating):
        raise Unsupported(f"clamp: of {aval.dtype}, must be of floats between two numbers")
    value = stored(graph, value)
    names = (in_order(graph, limit, ()) for limit in (lowest, highest))
    name = graph.node("Clip", value.name, *names)
    return [Stored(name, aval.shape, aval.dtype, value.order)]


def _calculated(
    formula: Formula, graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]
) -> tuple[str, Order, np.dtype]:
    """Return the name of the formula's result, its order, and the dtype it was calculated in."""
    order, dtype = common_order(inputs), calculated_as(inputs[0].dtype)
    names = [cast(graph, in_order(graph, each, order), each.dtype, dtype) for each in inputs]
    return formula(Step(graph, equation.params, dtype), *names), order, dtype


def maximum(step: Step, first: str, second: str) -> str:
    """Write the larger of two; against 0 as ReLU, which runtimes join to a convolution."""
    for one, other in ((first, second), (second, first)):
        known = step.known(one)
        if known is not None and step.floating and known.ndim == 0 and known == 0:
            return step("Relu", other)
    return step("Max", first, second)


def divide(step: Step, dividend: str, divisor: str) -> str:
    """Write a division, of integers towards zero; an integer by 0 is -1, as in XLA."""
    if _cannot_be_zero(step, divisor):
        return step("Div", dividend, divisor)
    is_zero = step("Equal", divisor, step.number(0))
    quotient = step("Div", dividend, step("Where", is_zero, step.number(1), divisor))
    return step("Where", is_zero, step.number(-1), quotient)


def remainder(step: Step, dividend: str, divisor: str) -> str:
    """Write a remainder with the dividend's sign; of an integer by 0 the dividend, as in XLA."""
    if _cannot_be_zero(step, divisor):
        return step("Mod", dividend, divisor, fmod=1)
    is_zero = step("Equal", divisor, step.number(0))
    divisor = step("Where", is_zero, step.number(1), divisor)
    return step("Where", is_zero, dividend, step("Mod", dividend, divisor, fmod=1))


def _cannot_be_zero(step: Step, divisor: str) -> bool:
    """Return whether a runtime that divides integers by it cannot be killed by that."""
    known = step.known(divisor)
    return step.floating or (known is not None and bool(known.all()))


def sign(step: Step, x: str) -> str:
    """Write -1, 0 or 1, and NaN of NaN."""
    return step("Where", step("IsNaN", x), x, step("Sign", x)) if step.floating else step("Sign", x)


def rounded(step: Step, x: str) -> str:
    """Round to the nearest whole number; which one from halfway is a parameter."""
    if step.parameters["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN:
        return step("Round", x)
    size = step("Abs", x)
    whole = step("Floor", size)
    # Not floor(size + 0.5): that sum is rounded, and just below a half it becomes 1.
    up = step("GreaterOrEqual", step("Sub", size, whole), step.number(0.5))
    whole = step("Where", up, step("Add", whole, step.number(1)), whole)
    return step("Mul", step("Sign", x), whole)


def logistic(step: Step, x: str) -> str:
    """Write `1 / (1 + exp(-x))`: onnxruntime's Sigmoid ends at 1.5e-8, and ranks need less."""
    return step("Reciprocal", step("Add", step("Exp", step("Neg", x)), step.number(1)))


def log1p(step: Step, x: str) -> str:
    """Write `log(1 + x)` without the loss of small x: `x log(u) / (u - 1)` for rounded u = 1 + x.

    The rounding of u is in its logarithm and in u - 1 alike, and cancels.
    """
    u = step("Add", x, step.number(1))
    kept, logarithm = step("Sub", u, step.number(1)), step("Log", u)
    lost = step("Equal", kept, step.number(0))
    divisor = step("Where", lost, step.number(1), kept)
    corrected = step("Where", lost, x, step("Mul", logarithm, step("Div", x, divisor)))
    return step("Where", step("Equal", kept, x), logarithm, corrected)  # inf / inf would be NaN


def integer_power(step: Step, x: str) -> str:
    """Write repeated squaring, as XLA does it; exact for integers."""
    exponent = step.parameters["y"]
    result, left = None, abs(exponent)
    while left:
        if left % 2:
            result = x if result is None else step("Mul", result, x)
        left //= 2
        x = step("Mul", x, x) if left else x
    if result is None:
        return step("Pow", x, step.number(0))
    return step("Reciprocal", result) if exponent < 0 else result


def is_finite(step: Step, x: str) -> str:
    """Write whether numbers are neither infinite nor NaN."""
    return step("Not", step("Or", step("IsInf", x), step("IsNaN", x)))


def not_equal(step: Step, first: str, second: str) -> str:
    return step("Not", step("Equal", first, second))


def square(step: Step, x: str) -> str:
    return step("Mul", x, x)


def reciprocal_root(step: Step, x: str) -> str:
    return step("Reciprocal", step("Sqrt", x))
