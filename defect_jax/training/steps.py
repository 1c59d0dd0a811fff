"""The training step: gradients of a batch, and the update that they make; jitted by the caller."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from defect_jax import balance
from defect_jax.data.pipeline.batches import Batch
from defect_jax.models.initialise import Variables
from defect_jax.models.network import Outputs, SegmentationNetwork
from defect_jax.models.probabilities import normalise
from defect_jax.training.missed import Missed, updated
from defect_jax.training.optimizer import (
    after_balance,
    make_balance,
    measured_every_steps,
    update_ema,
)
from defect_jax.training.tasks import task_losses
from defect_jax.workdir.saved_checkpoints import EMA, STATE

Metrics = dict[str, Float[Array, ""]]


@flax.struct.dataclass
class TrainState:
    """Everything a run needs to go on: a pytree.

    The position in the data is `step`: each step consumes one batch, and batches are a function of
    their position (`pipeline/sampling.py`), so the iterator has no state of its own.
    """

    step: Any  # shape=(), int32; Any, because trees of shardings have the same form
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Variables  # exponential moving averages of params and batch_stats, used for evaluation
    missed: Any = None  # `missed.Missed`, where the order of images follows it


@flax.struct.dataclass
class BackwardPass:
    """What a batch gives to the update: a pytree."""

    gradients: Any  # of the weighted losses together; the form of the parameters
    balance: Any  # state of the balance after this batch
    batch_stats: Any
    losses: Any  # task -> scalar
    missed: Any = None  # as that of the state, after this batch


def create_state(variables: Variables, tx: optax.GradientTransformation) -> TrainState:
    """Build the state of step 0 from initial variables."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    ema = {"params": params, "batch_stats": batch_stats}
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, tx.init(params), ema)


def to_checkpointables(state: TrainState) -> dict[str, Any]:
    """Return what a checkpoint holds: the averaged weights are readable without the rest."""
    fields = ("step", "params", "batch_stats", "opt_state")
    if state.missed is not None:
        fields += ("missed",)
    return {STATE: {field: getattr(state, field) for field in fields}, EMA: state.ema}


def from_checkpointables(trees: dict[str, Any]) -> TrainState:
    """Return the state that a checkpoint holds."""
    return TrainState(**trees[STATE], ema=trees[EMA])


def make_train_step(
    network: SegmentationNetwork, config: ConfigDict, measure: bool = True
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Return `train_step(state, batch) -> (state, metrics)`, the whole in one function.

    Args:
        measure: whether the step measures the norms of the tasks' gradients (`balance`).
    """
    gradients, update = make_gradients(network, config, measure), make_update(config)
    return lambda state, batch: update(state, gradients(state, batch))


def make_gradients(
    network: SegmentationNetwork, config: ConfigDict, measure: bool = True
) -> Callable[[TrainState, Batch], BackwardPass]:
    """Return the first part of a step: forward, backward, and the balance between the tasks."""
    balancing = make_balance(config)

    def still_missed(state: TrainState, outputs: Outputs, batch: Batch) -> Missed | None:
        if state.missed is None:
            return None
        every_steps = config.data.adaptive.every_steps
        return updated(state.missed, outputs, batch, state.step, every_steps)

    def gradients(state: TrainState, batch: Batch) -> BackwardPass:
        image = normalise(batch["image"], config.data_info.mean, config.data_info.std)
        dropout = jax.random.fold_in(jax.random.key(config.seed), state.step)

        def loss_fn(params):
            outputs, changed = network.apply(
                {"params": params, "batch_stats": state.batch_stats},
                image,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout},
            )
            aux = changed.get("batch_stats", {}), still_missed(state, outputs, batch)
            return task_losses(outputs, batch, config), aux

        losses, of_tasks, (batch_stats, missed) = balance.task_gradients(
            loss_fn, state.params, has_aux=True
        )
        combined, balanced = balancing.update(
            of_tasks, state.opt_state[0], state.params, task_losses=losses, measure=measure
        )
        return BackwardPass(combined, balanced, batch_stats, losses, missed)

    return gradients


def make_update(
    config: ConfigDict,
) -> Callable[[TrainState, BackwardPass], tuple[TrainState, Metrics]]:
    """Return the second part of a step, the same whether norms were measured or not."""
    tx = after_balance(config)
    measured = measured_every_steps(config.balance) is not None

    def update(state: TrainState, found: BackwardPass) -> tuple[TrainState, Metrics]:
        updates, rest = tx.update(found.gradients, state.opt_state[1:], state.params)
        opt_state = (found.balance, *rest)
        params = optax.apply_updates(state.params, updates)
        new = {"params": params, "batch_stats": found.batch_stats}
        ema = update_ema(state.ema, new, state.step, config.optimizer.average_decay)
        losses = found.losses
        metrics = {f"loss_{task}": loss for task, loss in losses.items()}
        metrics |= balance.measures(found.balance, losses, measured)
        metrics["loss"] = sum(metrics[f"weight_{task}"] * loss for task, loss in losses.items())
        metrics["gradient_norm"] = optax.tree.get(opt_state, "gradient_norm")
        step = state.step + 1
        return TrainState(step, params, found.batch_stats, opt_state, ema, found.missed), metrics

    return update
