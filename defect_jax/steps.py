"""The two jitted functions of the program: one training step, one evaluation step."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from defect_jax import balance
from defect_jax.metrics.accumulated import Accumulated
from defect_jax.metrics.counts import picture_counts
from defect_jax.models.network import SegmentationNetwork
from defect_jax.optimizer import averaged
from defect_jax.predict_step import Thresholds, inside, judge_maps, make_predict, normalise
from defect_jax.task_losses import task_losses

Batch = dict[str, Any]


@flax.struct.dataclass
class TrainState:
    """Everything a run needs to go on: a pytree.

    The position in the data is `step`: each step consumes one batch, and batches are a function of
    their position (`data/sampling.py`), so the iterator has no state of its own.
    """

    step: Any  # shape=(), int32; Any, because trees of shardings have the same form
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any  # {"params", "batch_stats"}: moving averages, used for evaluation


def create_state(variables: Any, tx: optax.GradientTransformation) -> TrainState:
    """Builds the state of step 0 from initial variables."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    average = {"params": params, "batch_stats": batch_stats}
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, tx.init(params), average)


def make_train_step(
    network: SegmentationNetwork,
    tx: optax.GradientTransformationExtraArgs,
    config: ConfigDict,
    measure: bool = True,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Float[Array, ""]]]]:
    """Returns `train_step(state, batch) -> (state, metrics)`, to be jitted by the caller.

    Args:
        measure: whether the step measures the norms of the tasks' gradients (`balance`).
    """

    def train_step(state: TrainState, batch: Batch):
        image = normalise(batch["image"], config.picture.mean, config.picture.deviation)
        dropout = jax.random.fold_in(jax.random.key(config.seed), state.step)

        def loss_fn(params):
            outputs, updated = network.apply(
                {"params": params, "batch_stats": state.batch_stats},
                image,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout},
            )
            return task_losses(outputs, batch, config), updated.get("batch_stats", {})

        losses, gradients, batch_stats = balance.task_gradients(loss_fn, state.params, has_aux=True)
        updates, opt_state = tx.update(
            gradients, state.opt_state, state.params, task_losses=losses, measure=measure
        )
        params = optax.apply_updates(state.params, updates)
        new = {"params": params, "batch_stats": batch_stats}
        average = averaged(state.average, new, state.step, config.optimizer.average_decay)
        metrics = {f"loss_{task}": loss for task, loss in losses.items()}
        metrics |= balance.measures(opt_state[0], losses)
        metrics["loss"] = sum(metrics[f"weight_{task}"] * loss for task, loss in losses.items())
        metrics["gradient_norm"] = optax.tree.get(opt_state, "gradient_norm")
        return TrainState(state.step + 1, params, batch_stats, opt_state, average), metrics

    return train_step


def make_eval_step(
    network: SegmentationNetwork, config: ConfigDict, canvas_px: tuple[int, int]
) -> Callable[[Any, Batch, Thresholds, Accumulated], tuple[Accumulated, dict[str, Array]]]:
    """Returns `eval_step(average, batch, thresholds, accumulated) -> (accumulated, outputs)`.

    Everything is judged at native size: probabilities are put back onto the picture they came from,
    and compared with the mask as it was drawn.
    """

    predict = make_predict(network, config, canvas_px)

    def eval_step(average: Any, batch: Batch, thresholds: Thresholds, accumulated: Accumulated):
        maps, label = predict(average, batch)
        real = (batch["row"] >= 0)[:, None, None]
        valid = inside(batch["native_size"], canvas_px) & real
        judged = judge_maps(maps, label, valid, thresholds)
        accumulated = accumulated.update(judged.probability, judged.classes, valid, batch)
        result = picture_counts(judged.classes > 0, batch["native_mask"] > 0, valid)
        scores = {"score": judged.score, "mask_score": judged.mask_score}
        return accumulated, result | scores | {"row": batch["row"], "decided": judged.classes}

    return eval_step
