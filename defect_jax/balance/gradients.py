"""The gradients of several losses from one forward pass, each pulled back only when asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32


class TaskGradients(Mapping):
    """Mapping task -> gradient tree; each look makes one pull-back through what its loss used.

    Nothing is kept between two looks: under `jax.jit` equal pull-backs are merged by the compiler,
    and a gradient kept from inside a branch could not be used outside of it. As a pytree it is the
    plain dict of all its gradients.
    """

    def __init__(self, tasks: tuple[str, ...], pull: Callable[[dict[str, Any]], Any]):
        self._tasks, self._pull = tasks, pull

    def __getitem__(self, task: str) -> Any:
        if task not in self._tasks:
            raise KeyError(task)
        return self._pull({task: 1.0})

    def __contains__(self, task: object) -> bool:
        return task in self._tasks  # that of Mapping would make the pull-back, and throw it away

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def weighted(self, weights: Mapping[str, Any]) -> Any:
        """Return the gradient of the sum of weight x loss: one pull-back for all tasks together."""
        return self._pull({task: weights[task] for task in self._tasks})


def _flatten(gradients: TaskGradients) -> tuple[list[Any], tuple[str, ...]]:
    return [gradients[task] for task in gradients], tuple(gradients)


jax.tree_util.register_pytree_node(
    TaskGradients, _flatten, lambda tasks, trees: dict(zip(tasks, trees, strict=True))
)


class Evaluated(NamedTuple):
    """What `task_gradients` returns."""

    losses: dict[str, Float[Array, ""]]
    gradients: TaskGradients
    aux: Any  # None without has_aux


def task_gradients(
    loss_fn: Callable[..., Any], params: Any, *args: Any, has_aux: bool = False
) -> Evaluated:
    """Return losses of all tasks, and their gradients with respect to `params`, one pull-back a
    task.

    The forward pass is linearised once. A pull-back transposes only what leads to its own loss: the
    backward pass of a decoder is not run, on zeros, for a task whose head hangs off the encoder, as
    `jax.vjp` with cotangents (1, 0) and (0, 1) would.

    Args:
        loss_fn: `loss_fn(params, *args)` -> dict task -> scalar loss, or with `has_aux` a pair of
            it and anything else, for example batch statistics.
        params: tree of arrays.

    Raises:
        TypeError: `loss_fn` returns something else.

    >>> loss_fn = lambda params: {"a": params["x"] ** 2, "b": 3.0 * params["x"]}
    >>> losses, gradients, _ = task_gradients(loss_fn, {"x": jnp.array(5.0)})
    >>> losses["a"].item(), gradients["a"]["x"].item(), gradients["b"]["x"].item()
    (25.0, 10.0, 3.0)
    >>> gradients.weighted({"a": 0.5, "b": 2.0})["x"].item()
    11.0
    """
    losses, *rest = jax.linearize(lambda tree: loss_fn(tree, *args), params, has_aux=has_aux)
    tangent, aux = rest if has_aux else (*rest, None)
    if not isinstance(losses, Mapping) or any(jnp.shape(loss) for loss in losses.values()):
        raise TypeError("loss_fn must return a dict task -> scalar loss")

    def pull(weights: dict[str, Any]) -> Any:
        def total(moved: Any) -> Float[Array, ""]:
            changes = tangent(moved)
            return sum(weight * changes[task] for task, weight in weights.items())

        dtype = jnp.result_type(*(losses[task] for task in weights))
        (gradient,) = jax.linear_transpose(total, params)(jnp.ones((), dtype))
        return gradient

    return Evaluated(dict(losses), TaskGradients(tuple(sorted(losses)), pull), aux)


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


def supervised_mean(losses: Float[Array, " b"], supervised: Bool[Array, " b"]) -> Float[Array, ""]:
    """Return the mean of a task's losses over the samples that have its truth; exactly 0 if none
    has.

    A loss that is exactly 0 counts as absent: it moves no weight of any method here.

    Args:
        losses: one a sample; any finite number where there is no truth.
        supervised: which samples have the truth.

    >>> supervised_mean(jnp.array([1.0, 3.0, 9.0]), jnp.array([True, True, False])).item()
    2.0
    >>> supervised_mean(jnp.array([1.0, 3.0]), jnp.array([False, False])).item()
    0.0
    """
    total = jnp.sum(jnp.where(supervised, losses, 0.0))
    return total / jnp.maximum(jnp.sum(supervised), 1)
