"""Functions of ours that ONNX has an operator for, known by the name that `jax.jit` gave them.

Written out, `models.blocks.upsample` is forty nodes that each copy the map; runtimes have one for
it, and onnxruntime's also leaves it in the blocks of channels that its convolutions work on.
"""

from collections.abc import Sequence

import numpy as np
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import in_order
from defect_jax.deploy.onnx.values import Order, Stored, Value, Writer

CHANNELS_FIRST: Order = (0, 3, 1, 2)


def writer_of(equation: JaxprEqn, inputs: Sequence[Value]) -> Writer | None:
    """Writer of the function that an equation calls, None where its own equations are written."""
    writer = NAMED.get(equation.params.get("name"))
    fits = all(isinstance(each, Stored) and each.dtype == np.float32 for each in inputs)
    return writer if fits else None


def doubled(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """`models.blocks.upsample`: twice the height and width, bilinear, half-pixel centres."""
    name = graph.node(
        "Resize",
        in_order(graph, inputs[0], CHANNELS_FIRST),
        "",  # no region of interest
        graph.initializer(np.array([1, 1, 2, 2], np.float32)),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    aval = equation.outvars[0].aval
    return [Stored(name, aval.shape, aval.dtype, CHANNELS_FIRST)]


NAMED: dict[str, Writer] = {"upsample": doubled}
