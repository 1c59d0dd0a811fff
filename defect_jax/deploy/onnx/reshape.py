"""Reshape without a change of order, where the axes that it joins or splits lie side by side.

JAX reshapes `[b h 2 w c]` to `[b 2*h w c]`. Only h and 2 are touched, and they are neighbours in a
channels-first tensor as well, so that can be reshaped as it lies.
"""

from collections.abc import Sequence

from jax.export import is_symbolic_dim
from jax.extend.core import JaxprEqn

from defect_jax.deploy.onnx.dimensions import is_one, vector
from defect_jax.deploy.onnx.graph import Graph
from defect_jax.deploy.onnx.layout import as_jax, in_order, stored
from defect_jax.deploy.onnx.unsupported import Unsupported
from defect_jax.deploy.onnx.values import Dimension, Order, Shape, Stored, Value

Group = tuple[tuple[int, ...], tuple[int, ...]]  # axes before and axes after, of equal size


def reshape(graph: Graph, equation: JaxprEqn, inputs: Sequence[Value]) -> list[Value]:
    """The same numbers in the same order, in another shape."""
    if equation.params["dimensions"] is not None:
        raise Unsupported("reshape: a permutation (`dimensions`) in it")
    value, shape = stored(graph, inputs[0]), equation.params["new_sizes"]
    before, after = kept_orders(value, groups(value.shape, shape), len(shape))
    lying = [value.shape[axis] for axis in before]
    wanted = [shape[axis] for axis in after]
    name = reshaped(graph, in_order(graph, value, before), lying, wanted)
    return [Stored(name, shape, value.dtype, after)]


def groups(before: Shape, after: Shape) -> list[Group]:
    """The smallest groups of neighbouring axes that turn into each other.

    >>> groups((2, 8, 2, 6), (2, 16, 3, 2))
    [((0,), (0,)), ((1, 2), (1,)), ((3,), (2, 3))]
    """
    found, first, then = [], 0, 0
    while first < len(before) and then < len(after):
        first_end, then_end = _end_of_group(before, after, first, then)
        found.append((tuple(range(first, first_end)), tuple(range(then, then_end))))
        first, then = first_end, then_end
    rest = tuple(range(first, len(before))), tuple(range(then, len(after)))
    if not any(rest):
        return found
    if not found:  # a scalar
        return [rest]
    return [*found[:-1], (found[-1][0] + rest[0], found[-1][1] + rest[1])]  # axes of length 1


def _end_of_group(before: Shape, after: Shape, first: int, then: int) -> tuple[int, int]:
    """Where the group that starts at these two axes ends: at the first equal products."""
    ends = [
        (first_end, then_end)
        for first_end in range(first + 1, len(before) + 1)
        for then_end in range(then + 1, len(after) + 1)
    ]
    for end in sorted(ends, key=sum):
        if _product(before[first : end[0]]) == _product(after[then : end[1]]):
            return end
    return len(before), len(after)


def _product(dimensions: Sequence[Dimension]) -> Dimension:
    product = 1
    for dimension in dimensions:
        product = dimension * product
    return product


def kept_orders(value: Stored, found: Sequence[Group], rank: int) -> tuple[Order, Order]:
    """The order to reshape in, and the one that comes out: the value's own, if that is possible."""
    order, pieces = value.order, {}
    for before, after in found:
        long = [axis for axis in before if not is_one(value.shape[axis])] or list(before[:1])
        places = [value.place(axis) for axis in long]
        if places != sorted(places) or _something_between(value, long):
            return as_jax(len(order)), as_jax(rank)
        pieces[value.place(long[0]) if long else -1] = after
    return order, tuple(axis for place in sorted(pieces) for axis in pieces[place])


def _something_between(value: Stored, axes: Sequence[int]) -> bool:
    """Whether an axis longer than 1 lies between the first and the last of `axes`."""
    if not axes:
        return False
    between = value.order[value.place(axes[0]) : value.place(axes[-1])]
    return any(axis not in axes and not is_one(value.shape[axis]) for axis in between)


def reshaped(
    graph: Graph, name: str, before: Sequence[Dimension], after: Sequence[Dimension]
) -> str:
    """Reshapes a tensor, with sizes that are computed only where they must be."""
    if tuple(before) == tuple(after):
        return name
    symbolic = [place for place, each in enumerate(after) if is_symbolic_dim(each)]
    kept = [place for place in symbolic if place < len(before) and before[place] == after[place]]
    unknown = [place for place in symbolic if place not in kept]
    empty = any(not is_symbolic_dim(each) and each == 0 for each in after)
    if len(unknown) > 1 or empty:
        return graph.node("Reshape", name, vector(graph, after), allowzero=1)
    meanings = dict.fromkeys(kept, 0) | dict.fromkeys(unknown, -1)  # as before; what is left over
    sizes = [meanings.get(place, each) for place, each in enumerate(after)]
    return graph.node("Reshape", name, graph.integers(sizes))
