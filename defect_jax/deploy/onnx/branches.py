"""`cond` whose branch is known before the graph runs, as that of `lax.platform_dependent` is."""

from collections.abc import Callable, Sequence

import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn

from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.unsupported import Unsupported
from defect_jax.deploy.onnx.values import Known, Value

Run = Callable[[Graph, ClosedJaxpr, Sequence[Value]], list[Value]]


def platform(equation: JaxprEqn) -> Known:
    """`platform_index`: ONNX is no platform of JAX's, so its branch is the default one.

    Raises:
        Unsupported: there is none.
    """
    platforms = equation.params["platforms"]
    if None not in platforms:
        raise Unsupported(f"platform_index: of {platforms}, without a default")
    return Known(np.asarray(platforms.index(None), np.int32))


def chosen(run: Run, graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """Writes the one branch that is taken; an index beyond them takes the nearest, as in JAX.

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
