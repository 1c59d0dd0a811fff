"""From a rule for weights to an optax transform that turns per-task gradients into one.

Two families. A *loss weighting* knows its weights before the gradients: norms need not be measured
at every step, and without them one pull-back of the weighted sum is enough. A *gradient weighting*
needs the inner products of all gradients at every step.

Both stand first in an `optax.chain`:

    losses, gradients, aux = task_gradients(loss_fn, params, batch)
    updates, opt_state = tx.update(gradients, opt_state, params, task_losses=losses)

with `gradients` what `task_gradients` gives or any dict task -> tree. One tree comes out, so that
`optax.masked` and `optax.MultiSteps` go around what follows, not around the balance itself.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from defect_jax.balance.gradients import Shared, TaskGradients, gram_matrix, is_shared
from defect_jax.balance.state import (
    BalanceState,
    Seen,
    initial_state,
    observed,
    ordered_losses,
)

INITIAL_STEPS = 20
Present = Bool[Array, " tasks"]
Weights = Float[Array, " tasks"]
Gram = Float[Array, "tasks tasks"]


class LossRule(NamedTuple):
    """A loss weighting: `weigh` is asked before the gradients, `learn` after them."""

    start: Any  # memory before the first batch
    weigh: Callable[[Any, Weights, Present], Weights]  # memory, losses, present -> weights
    learn: Callable[[Any, Seen], Any]  # memory, what was seen -> memory


GradientRule = Callable[[Present, Gram, Int[Array, ""]], Weights]  # present, gram, count -> weights


def weigh_losses(
    tasks: Sequence[str], rule: LossRule, initial_steps: int, shared: Shared
) -> optax.GradientTransformationExtraArgs:
    """Combine all gradients with the weights that `rule` gives their losses.

    `update` takes `measure=False`, known when the step is traced, for a step that leaves norms and
    cosines as they were last measured and so makes one pull-back for all tasks. It is no branch
    inside the step: XLA runs the convolutions of a branch forty times slower on a CPU.

    Args:
        tasks: names of all tasks; a batch may lack some.
        initial_steps: batches over which L(0) is averaged.
        shared: which parameters are measured; the weights hold for all.
    """
    tasks = checked_tasks(tasks, initial_steps)

    def init(params: Any) -> BalanceState:
        is_shared(params, shared)
        return initial_state(len(tasks), rule.start)

    def update(
        updates: Any,
        state: BalanceState,
        params: Any = None,
        *,
        task_losses: Mapping[str, Any],
        measure: bool = True,
        **ignored: Any,
    ) -> tuple[Any, BalanceState]:
        losses = ordered_losses(task_losses, tasks)
        weights = rule.weigh(state.memory, losses, losses != 0.0)
        combined, gram = _combined(updates, dict(zip(tasks, weights, strict=True)), measure, shared)
        seen, state = observed(state, losses, gram, initial_steps)
        memory = rule.learn(state.memory, seen)
        return combined, state._replace(weights=weights, memory=memory)

    return optax.GradientTransformationExtraArgs(init, update)


def weigh_gradients(
    tasks: Sequence[str], rule: GradientRule, initial_steps: int, shared: Shared
) -> optax.GradientTransformationExtraArgs:
    """Combine the gradients of the shared parameters with the weights that `rule` gives.

    All other parameters get the plain sum: each belongs to one task, which cannot be in conflict
    with itself.

    Args:
        tasks: names of all tasks; a batch may lack some.
        initial_steps: batches over which L(0) is averaged, for the logged inverse rates.
        shared: which parameters are measured and weighed.
    """
    tasks = checked_tasks(tasks, initial_steps)

    def init(params: Any) -> BalanceState:
        is_shared(params, shared)
        return initial_state(len(tasks), ())

    def update(
        updates: Any,
        state: BalanceState,
        params: Any = None,
        *,
        task_losses: Mapping[str, Any],
        **ignored: Any,
    ) -> tuple[Any, BalanceState]:
        trees = _all_trees(updates, tasks)
        marks = is_shared(trees[0], shared)
        gram = gram_matrix(trees, marks)
        seen, state = observed(state, ordered_losses(task_losses, tasks), gram, initial_steps)
        weights = jnp.where(seen.present, rule(seen.present, gram, state.count), 0.0)
        apart = jax.tree.map(
            lambda mark, *leaves: _sum(weights if mark else jnp.ones_like(weights), leaves),
            marks,
            *trees,
        )
        return apart, state._replace(weights=weights)

    return optax.GradientTransformationExtraArgs(init, update)


def checked_tasks(tasks: Sequence[str], initial_steps: int) -> tuple[str, ...]:
    """Return the names in sorted order, that of the arrays in the state.

    Raises:
        ValueError: no task, one twice, or no step to average over.
    """
    if isinstance(tasks, str) or not tasks or len(set(tasks)) < len(tasks):
        raise ValueError(f"tasks is {tasks!r}: must be different names")
    if initial_steps < 1:
        raise ValueError(f"initial_steps is {initial_steps}: must be at least 1")
    return tuple(sorted(tasks))


def _combined(
    updates: Any, weights: Mapping[str, Any], measure: bool, shared: Shared
) -> tuple[Any, Gram | None]:
    if not measure and isinstance(updates, TaskGradients):
        return updates.weighted(weights), None
    trees = _all_trees(updates, tuple(weights))
    column = jnp.stack(list(weights.values()))
    combined = jax.tree.map(lambda *leaves: _sum(column, leaves), *trees)
    marks = is_shared(combined, shared)
    return combined, gram_matrix(trees, marks) if measure else None


def _all_trees(updates: Mapping[str, Any], tasks: Sequence[str]) -> list[Any]:
    """Return trees in the order of `tasks`; zeros for a task that is not there."""
    there = {task: updates[task] for task in tasks if task in updates}
    if not there:
        raise ValueError(f"updates: must be a dict of gradients with some of {', '.join(tasks)}")
    zeros = jax.tree.map(jnp.zeros_like, next(iter(there.values())))
    return [there.get(task, zeros) for task in tasks]


def _sum(weights: Weights, leaves: Sequence[Any]) -> Any:
    return sum(w.astype(leaf.dtype) * leaf for w, leaf in zip(weights, leaves, strict=True))
