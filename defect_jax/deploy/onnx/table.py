"""Every primitive that the converter knows, and who writes it.

They are those that the exported program has with any config; another one is refused by its name
until it has a line here.
"""

from collections.abc import Sequence

from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx import axes, convolution, elementwise, reductions, slicing
from defect_jax.deploy.onnx.dtypes import convert
from defect_jax.deploy.onnx.elementwise import arithmetic, operator, truth
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.values import Value, Writer


def same(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Write nothing: the numbers stay as they are."""
    del graph, equation
    return list(inputs)


ELEMENTWISE: dict[str, Writer] = {
    "abs": arithmetic(operator("Abs")),
    "add": arithmetic(operator("Add")),
    "div": arithmetic(elementwise.divide),
    "clamp": elementwise.clamped,
    "erf": arithmetic(operator("Erf")),
    "exp": arithmetic(operator("Exp")),
    "floor": arithmetic(operator("Floor")),
    "integer_pow": arithmetic(elementwise.integer_power),
    "log": arithmetic(operator("Log")),
    "log1p": arithmetic(elementwise.log1p),
    "logistic": arithmetic(elementwise.logistic),
    "max": arithmetic(elementwise.maximum),
    "min": arithmetic(operator("Min")),
    "mul": arithmetic(operator("Mul")),
    "neg": arithmetic(operator("Neg")),
    "rem": arithmetic(elementwise.remainder),
    "round": arithmetic(elementwise.rounded),
    "rsqrt": arithmetic(elementwise.reciprocal_root),
    "sqrt": arithmetic(operator("Sqrt")),
    "sign": arithmetic(elementwise.sign),
    "square": arithmetic(elementwise.square),
    "sub": arithmetic(operator("Sub")),
    "eq": truth(operator("Equal")),
    "ge": truth(operator("GreaterOrEqual")),
    "gt": truth(operator("Greater")),
    "is_finite": truth(elementwise.is_finite),
    "lt": truth(operator("Less")),
    "ne": truth(elementwise.not_equal),
    "and": elementwise.logical("And", "BitwiseAnd"),
    "or": elementwise.logical("Or", "BitwiseOr"),
    "xor": elementwise.logical("Xor", "BitwiseXor"),
    "select_n": elementwise.select,
    "convert_element_type": convert,
    "stop_gradient": same,
}
AXES: dict[str, Writer] = {
    "broadcast_in_dim": axes.broadcast,
    "dim_as_value": axes.size_as_value,
    "iota": axes.iota,
    "reshape": axes.reshape,
    "squeeze": axes.squeeze,
    "stack": axes.stack,
    "transpose": axes.transpose,
}
SLICING: dict[str, Writer] = {
    "concatenate": slicing.concatenate,
    "gather": slicing.gather,
    "pad": slicing.pad,
    "rev": slicing.reverse,
    "slice": slicing.part,
    "split": slicing.split,
}
REDUCTIONS: dict[str, Writer] = {
    "argmax": reductions.place_of_largest,
    "dot_general": reductions.dot_general,
    "reduce_max": reductions.LARGEST,
    "reduce_min": reductions.reduction("ReduceMin"),
    "reduce_or": reductions.any_of,
    "reduce_sum": reductions.reduction("ReduceSum"),
}
WINDOWS: dict[str, Writer] = {
    "conv_general_dilated": convolution.convolution,
    "reduce_window_max": convolution.highest,
    "reduce_window_sum": convolution.total,
}
WRITERS = ELEMENTWISE | AXES | SLICING | REDUCTIONS | WINDOWS
