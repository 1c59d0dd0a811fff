"""What every method remembers, what it may learn from, and the numbers worth logging."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Float32, Int, Int32


class BalanceState(NamedTuple):
    """State of every method here; arrays are in the sorted order of the tasks' names.

    Fields are `Any` because trees of shardings and shapes have the same form.

    Attributes:
        count: scalar int32, updates so far.
        batches: [tasks] int32, batches so far in which a task was there.
        initial_losses: [tasks], mean of the first `initial_steps` losses of each.
        inverse_rates: [tasks], L(t)/L(0) of each over their mean: above 1 for a task that lags;
            of the last batch in which it was there.
        gram: [tasks, tasks], inner products of the gradients over the shared parameters, when last
            measured in a batch in which both tasks were there.
        weights: [tasks], by which the gradients were last multiplied.
        memory: of the method itself.
    """

    count: Any
    batches: Any
    initial_losses: Any
    inverse_rates: Any
    gram: Any
    weights: Any
    memory: Any


class Seen(NamedTuple):
    """One batch as a method sees it.

    A task is present if its loss is not exactly 0 and, where gradients are measured, its gradient
    is not zero either: a loss without a sample to supervise it moves no weight.
    """

    losses: Float32[Array, " tasks"]
    present: Bool[Array, " tasks"]
    inverse_rates: Float32[Array, " tasks"]
    gram: Float32[Array, "tasks tasks"]
    measured: bool
    count: Int[Array, ""]

    @property
    def norms(self) -> Float[Array, " tasks"]:
        """Return norms of the unweighted gradients over the shared parameters."""
        return jnp.sqrt(jnp.diagonal(self.gram))


def initial_state(tasks: int, memory: Any) -> BalanceState:
    """Return the state before the first batch."""
    return BalanceState(
        count=jnp.zeros((), jnp.int32),
        batches=jnp.zeros(tasks, jnp.int32),
        initial_losses=jnp.zeros(tasks, jnp.float32),
        inverse_rates=jnp.ones(tasks, jnp.float32),
        gram=jnp.zeros((tasks, tasks), jnp.float32),
        weights=jnp.ones(tasks, jnp.float32),
        memory=memory,
    )


def ordered_losses(
    task_losses: Mapping[str, Any], tasks: Sequence[str]
) -> Float32[Array, " tasks"]:
    """Return losses in the order of `tasks`; 0 for one that is not there.

    Raises:
        ValueError: a task that the method was not made for.
    """
    if unknown := sorted(set(task_losses) - set(tasks)):
        raise ValueError(f"tasks {', '.join(unknown)}: made for {', '.join(tasks)}")
    losses = [jnp.asarray(task_losses.get(task, 0.0), jnp.float32) for task in tasks]
    return jnp.stack(losses)


def observed(
    state: BalanceState,
    losses: Float[Array, " tasks"],
    gram: Float[Array, "tasks tasks"] | None,
    initial_steps: int,
) -> tuple[Seen, BalanceState]:
    """Return what a batch shows, and the state that has counted it; `gram` is None if not
    measured."""
    measured = gram is not None
    gram = gram if measured else state.gram
    present = losses != 0.0
    if measured:
        present &= jnp.diagonal(gram) > 0.0
    batches, initial_losses = updated_initial_losses(state, losses, present, initial_steps)
    rates = relative_inverse_rates(losses, initial_losses, present)
    seen = Seen(losses, present, rates, gram, measured, state.count)
    # Of a task that is not there, what was seen of it last.
    rates = jnp.where(present, rates, state.inverse_rates)
    gram = jnp.where(jnp.outer(present, present), gram, state.gram)
    state = state._replace(
        count=optax.safe_increment(state.count),
        batches=batches,
        initial_losses=initial_losses,
        inverse_rates=rates,
        gram=gram,
    )
    return seen, state


def updated_initial_losses(
    state: BalanceState, losses: Float[Array, " tasks"], present: Bool[Array, " tasks"], steps: int
) -> tuple[Int32[Array, " tasks"], Float32[Array, " tasks"]]:
    """Return batches seen of each task, and the running mean of its first `steps` losses.

    One batch is a poor L(0): the loss of eight images varies more than it falls in the first
    steps. Until `steps` batches are in, the mean of those that are is used.
    """
    batches = jnp.where(present, optax.safe_increment(state.batches), state.batches)
    mean = state.initial_losses + (losses - state.initial_losses) / jnp.maximum(batches, 1)
    collecting = present & (batches <= steps)
    return batches, jnp.where(collecting, mean, state.initial_losses)


def relative_inverse_rates(
    losses: Float[Array, " tasks"],
    initial_losses: Float[Array, " tasks"],
    present: Bool[Array, " tasks"],
) -> Float32[Array, " tasks"]:
    """Return r = L(t)/L(0) of each task over the mean of those present; 1 for one that is absent.

    Chen et al. 2018 (arXiv 1711.02257), section 3.1.

    >>> everywhere = jnp.array([True, True])
    >>> relative_inverse_rates(jnp.array([0.9, 3.0]), jnp.array([1.0, 10.0]), everywhere).tolist()
    [1.5, 0.5]
    """
    ratio = jnp.where(present, losses / jnp.where(present, initial_losses, 1.0), 0.0)
    mean = ratio.sum() / jnp.maximum(present.sum(), 1)
    return jnp.where(present, ratio / jnp.where(mean == 0.0, 1.0, mean), 1.0)


def measures(
    state: BalanceState, tasks: Iterable[str], measured: bool = True
) -> dict[str, Float[Array, ""]]:
    """Return numbers to log: of each task its weight, gradient norm and inverse rate; cosines of
    pairs.

    Norms are of the unweighted gradients. Norms and cosines are those last measured, over the
    shared parameters; a cosine with a zero gradient is 0.

    Args:
        state: of the transform, `opt_state[0]` where it stands first in a chain.
        tasks: all that the transform was made for.
        measured: whether gradients are ever measured; if not, norms and cosines are left out.
    """
    tasks = sorted(tasks)
    if len(tasks) != state.weights.size:
        raise ValueError(f"tasks {', '.join(tasks)}: the state has {state.weights.size}")
    norms = jnp.sqrt(jnp.diagonal(state.gram))
    numbers: dict[str, Float[Array, ""]] = {}
    for i, task in enumerate(tasks):
        numbers[f"weight_{task}"] = state.weights[i]
        numbers[f"inverse_rate_{task}"] = state.inverse_rates[i]
        if not measured:
            continue
        numbers[f"gradient_norm_{task}"] = norms[i]
        for j, other in enumerate(tasks[:i]):
            product = norms[i] * norms[j]
            cosine = state.gram[i, j] / jnp.where(product > 0.0, product, 1.0)
            numbers[f"gradient_cosine_{other}_{task}"] = cosine
    return numbers
