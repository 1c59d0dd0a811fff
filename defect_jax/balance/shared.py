"""Which parameters the tasks share, and the inner products of their gradients over these."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

Shared = Callable[[tuple[str, ...]], bool]


def in_encoder(path: tuple[str, ...]) -> bool:
    """Return True for every parameter below a module called "encoder": the default of all methods.

    Not its last layer alone, the paper's choice: in a small probe on a UNet++ the masks hardly used
    the bottleneck, their gradient there was a hundredth of the label's, and GradNorm on it would
    send the label's weight to the floor.

    >>> in_encoder(("encoder", "x_0_0", "kernel")), in_encoder(("label_head", "kernel"))
    (True, False)
    """
    return "encoder" in path


def is_shared(params: Any, shared: Shared) -> Any:
    """Return a tree of bools, one a leaf of `params`.

    Raises:
        ValueError: no parameter is shared.
    """

    def names(path: tuple[Any, ...]) -> tuple[str, ...]:
        return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)

    marks = jax.tree_util.tree_map_with_path(lambda path, _: bool(shared(names(path))), params)
    if not any(jax.tree.leaves(marks)):
        tops = {names(path)[0] for path, _ in jax.tree_util.tree_leaves_with_path(params) if path}
        raise ValueError(
            f"no parameter is shared, of those below {', '.join(sorted(tops))}: gradients of the "
            "tasks can be compared only on parameters that they share"
        )
    return marks


def gram_matrix(trees: Sequence[Any], marks: Any) -> Float32[Array, "tasks tasks"]:
    """Return the inner products of the tasks' gradients over the shared parameters; norms on the
    diagonal.

    Leaf by leaf, without flattening: a sharded leaf stays where it is.

    >>> a, b = {"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, 0.0])}
    >>> gram_matrix([a, b], {"w": True}).tolist()
    [[25.0, 3.0], [3.0, 1.0]]
    """
    leaves = [_shared_leaves(tree, marks) for tree in trees]
    rows: list[list[Any]] = [[None] * len(trees) for _ in trees]
    for i, left in enumerate(leaves):
        for j, right in enumerate(leaves[: i + 1]):
            products = [jnp.sum(x * y) for x, y in zip(left, right, strict=True)]
            rows[i][j] = rows[j][i] = sum(products)
    return jnp.array(rows, jnp.float32)


def _shared_leaves(tree: Any, marks: Any) -> list[Float32[Array, "..."]]:
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(marks), strict=True)
    return [leaf.astype(jnp.float32) for leaf, mark in pairs if mark]
