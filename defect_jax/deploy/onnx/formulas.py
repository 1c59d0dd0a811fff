"""Formulas for what ONNX has no operator for, or none that is exact enough."""

from jax import lax

from defect_jax.deploy.onnx.elementwise import Step


def maximum(step: Step, first: str, second: str) -> str:
    """The larger of two; against 0 as ReLU, which runtimes join to the convolution before it."""
    for one, other in ((first, second), (second, first)):
        known = step.known(one)
        if known is not None and step.floating and known.ndim == 0 and known == 0:
            return step("Relu", other)
    return step("Max", first, second)


def clamp(step: Step, lowest: str, x: str, highest: str) -> str:
    """`min(max(x, lowest), highest)`; ONNX's Clip takes no bounds for each element."""
    return step("Min", step("Max", x, lowest), highest)


def divide(step: Step, dividend: str, divisor: str) -> str:
    """Division, of integers towards zero; an integer by 0 is -1, as XLA has it."""
    if _cannot_be_zero(step, divisor):
        return step("Div", dividend, divisor)
    is_zero = step("Equal", divisor, step.number(0))
    quotient = step("Div", dividend, step("Where", is_zero, step.number(1), divisor))
    return step("Where", is_zero, step.number(-1), quotient)


def remainder(step: Step, dividend: str, divisor: str) -> str:
    """Remainder with the dividend's sign; of an integer by 0 the dividend, as XLA has it."""
    if _cannot_be_zero(step, divisor):
        return step("Mod", dividend, divisor, fmod=1)
    is_zero = step("Equal", divisor, step.number(0))
    divisor = step("Where", is_zero, step.number(1), divisor)
    return step("Where", is_zero, dividend, step("Mod", dividend, divisor, fmod=1))


def _cannot_be_zero(step: Step, divisor: str) -> bool:
    """Whether a runtime that divides integers by it cannot be killed by that."""
    known = step.known(divisor)
    return step.floating or (known is not None and bool(known.all()))


def sign(step: Step, x: str) -> str:
    """-1, 0 or 1, and NaN of NaN."""
    return step("Where", step("IsNaN", x), x, step("Sign", x)) if step.floating else step("Sign", x)


def rounded(step: Step, x: str) -> str:
    """To the nearest whole number; which one from halfway is a parameter of the primitive."""
    if step.parameters["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN:
        return step("Round", x)
    size = step("Abs", x)
    whole = step("Floor", size)
    # Not floor(size + 0.5): that sum is rounded, and just below a half it becomes 1.
    up = step("GreaterOrEqual", step("Sub", size, whole), step.number(0.5))
    whole = step("Where", up, step("Add", whole, step.number(1)), whole)
    return step("Mul", step("Sign", x), whole)


def logistic(step: Step, x: str) -> str:
    """`1 / (1 + exp(-x))`: onnxruntime's Sigmoid ends at 1.5e-8, and small scores are ranked."""
    return step("Reciprocal", step("Add", step("Exp", step("Neg", x)), step.number(1)))


def log1p(step: Step, x: str) -> str:
    """`log(1 + x)` without the loss of small x: `x log(u) / (u - 1)` for the rounded u = 1 + x.

    The rounding of u is in its logarithm and in u - 1 alike, and goes out.
    """
    u = step("Add", x, step.number(1))
    kept, logarithm = step("Sub", u, step.number(1)), step("Log", u)
    lost = step("Equal", kept, step.number(0))
    divisor = step("Where", lost, step.number(1), kept)
    corrected = step("Where", lost, x, step("Mul", logarithm, step("Div", x, divisor)))
    return step("Where", step("Equal", kept, x), logarithm, corrected)  # inf / inf would be NaN


def expm1(step: Step, x: str) -> str:
    """`exp(x) - 1` without the loss of small x: `x (u - 1) / log(u)` for the rounded u = exp(x)."""
    u = step("Exp", x)
    difference, logarithm = step("Sub", u, step.number(1)), step("Log", u)
    lost = step("Equal", logarithm, step.number(0))
    divisor = step("Where", lost, step.number(1), logarithm)
    corrected = step("Mul", difference, step("Div", x, divisor))
    large = step("Greater", step("Abs", x), step.number(1))  # nothing is lost, and u may be 0
    return step("Where", large, difference, step("Where", lost, x, corrected))


def integer_power(step: Step, x: str) -> str:
    """Repeated squaring, as XLA does it; exact for integers."""
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
    """Neither infinite nor NaN."""
    return step("Not", step("Or", step("IsInf", x), step("IsNaN", x)))


def two_to_the(step: Step, x: str) -> str:
    """`2 ** x`."""
    return step("Pow", step.number(2), x)


def not_equal(step: Step, first: str, second: str) -> str:
    return step("Not", step("Equal", first, second))


def square(step: Step, x: str) -> str:
    return step("Mul", x, x)


def reciprocal_root(step: Step, x: str) -> str:
    return step("Reciprocal", step("Sqrt", x))
