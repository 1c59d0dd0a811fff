"""Every primitive that the converter knows, and who writes it."""

from collections.abc import Sequence

from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx import (
    axes,
    conversion,
    convolution,
    formulas,
    gather,
    pieces,
    products,
    reductions,
    reshape,
    windows,
)
from defect_jax.deploy.onnx.elementwise import arithmetic, logic, operator, select, truth
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.values import Value, Writer


def same(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Writer of primitives that leave the numbers as they are."""
    del graph, equation
    return list(inputs)


ELEMENTWISE: dict[str, Writer] = {
    "abs": arithmetic(operator("Abs")),
    "add": arithmetic(operator("Add")),
    "add_any": arithmetic(operator("Add")),
    "ceil": arithmetic(operator("Ceil")),
    "clamp": arithmetic(formulas.clamp),
    "cos": arithmetic(operator("Cos")),
    "div": arithmetic(formulas.divide),
    "erf": arithmetic(operator("Erf")),
    "exp": arithmetic(operator("Exp")),
    "exp2": arithmetic(formulas.two_to_the),
    "expm1": arithmetic(formulas.expm1),
    "floor": arithmetic(operator("Floor")),
    "integer_pow": arithmetic(formulas.integer_power),
    "log": arithmetic(operator("Log")),
    "log1p": arithmetic(formulas.log1p),
    "logistic": arithmetic(formulas.logistic),
    "max": arithmetic(formulas.maximum),
    "min": arithmetic(operator("Min")),
    "mul": arithmetic(operator("Mul")),
    "neg": arithmetic(operator("Neg")),
    "pow": arithmetic(operator("Pow")),
    "rem": arithmetic(formulas.remainder),
    "round": arithmetic(formulas.rounded),
    "rsqrt": arithmetic(formulas.reciprocal_root),
    "sign": arithmetic(formulas.sign),
    "sin": arithmetic(operator("Sin")),
    "sqrt": arithmetic(operator("Sqrt")),
    "square": arithmetic(formulas.square),
    "sub": arithmetic(operator("Sub")),
    "tanh": arithmetic(operator("Tanh")),
    "eq": truth(operator("Equal")),
    "ge": truth(operator("GreaterOrEqual")),
    "gt": truth(operator("Greater")),
    "is_finite": truth(formulas.is_finite),
    "le": truth(operator("LessOrEqual")),
    "lt": truth(operator("Less")),
    "ne": truth(formulas.not_equal),
    "and": logic("And", "BitwiseAnd"),
    "not": logic("Not", "BitwiseNot"),
    "or": logic("Or", "BitwiseOr"),
    "xor": logic("Xor", "BitwiseXor"),
    "select_n": select,
    "convert_element_type": conversion.convert,
}
UNCHANGED: dict[str, Writer] = dict.fromkeys(
    ("copy", "copy_p", "name", "optimization_barrier", "sharding_constraint", "stop_gradient"), same
)
AXES: dict[str, Writer] = {
    "broadcast_in_dim": axes.broadcast,
    "dim_as_value": axes.size_as_value,
    "iota": axes.iota,
    "reshape": reshape.reshape,
    "squeeze": axes.squeeze,
    "stack": axes.stack,
    "tile": axes.tile,
    "transpose": axes.transpose,
    "unstack": axes.unstack,
}
PIECES: dict[str, Writer] = {
    "concatenate": pieces.concatenate,
    "dynamic_slice": gather.dynamic_slice,
    "gather": gather.gather,
    "pad": pieces.pad,
    "rev": pieces.reverse,
    "slice": pieces.part,
    "split": pieces.split,
}
REDUCTIONS: dict[str, Writer] = {
    "argmax": reductions.place_of("ArgMax"),
    "argmin": reductions.place_of("ArgMin"),
    "cumsum": reductions.running_sum,
    "reduce_and": reductions.quantifier("ReduceMin"),
    "reduce_max": reductions.reduction("ReduceMax"),
    "reduce_min": reductions.reduction("ReduceMin"),
    "reduce_or": reductions.quantifier("ReduceMax"),
    "reduce_prod": reductions.reduction("ReduceProd"),
    "reduce_sum": reductions.reduction("ReduceSum"),
}
SUMS_OF_PRODUCTS: dict[str, Writer] = {
    "conv_general_dilated": convolution.convolution,
    "dot_general": products.dot_general,
    "reduce_window_max": windows.highest,
    "reduce_window_min": windows.lowest,
    "reduce_window_sum": windows.total,
}
WRITERS = ELEMENTWISE | UNCHANGED | AXES | PIECES | REDUCTIONS | SUMS_OF_PRODUCTS
