"""The two jitted functions of the program: one training step, one evaluation step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, UInt
from ml_collections import ConfigDict

from defect_jax import balance
from defect_jax.metrics.accumulated import Accumulated
from defect_jax.metrics.counts import picture_counts
from defect_jax.models.flips import Probabilities, over_flips, probabilities
from defect_jax.models.network import SegmentationNetwork
from defect_jax.native import to_native
from defect_jax.optimizer import averaged
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


class Thresholds(NamedTuple):
    """What turns probabilities into decisions inside the evaluation step."""

    mask: Any  # shape=(), float32
    pixel: Any  # shape=(), float32
    area_px: Any  # shape=(), int32


def create_state(variables: Any, tx: optax.GradientTransformation) -> TrainState:
    """Builds the state of step 0 from initial variables."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    average = {"params": params, "batch_stats": batch_stats}
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, tx.init(params), average)


def normalise(
    image: UInt[Array, "b h w c"], mean: float, deviation: float
) -> Float[Array, "b h w c"]:
    """Brings pictures to about zero mean and unit deviation, all by the same two numbers.

    Each picture by its own mean and deviation would hide its exposure, but also what a large stain
    changes, and on a few hundred training pictures the network then learnt labels by heart sooner.

    Args:
        mean, deviation: of the training pictures (`data.intensity`), as shares of the full range.

    >>> normalise(jnp.array([[[[51], [153]]]], jnp.uint8), 0.4, 0.2).round(4).ravel().tolist()
    [-1.0, 1.0]
    """
    return (image.astype(jnp.float32) / jnp.iinfo(image.dtype).max - mean) / deviation


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
        valid = _native_valid(batch, canvas_px)
        probability = jnp.where(valid, maps.sum(axis=1), 0.0)
        mask_score = probability.max(axis=(1, 2))
        score = mask_score if label is None else label
        decided = decide_mask(probability, mask_score, valid, thresholds)
        ids = jnp.where(decided, 1 + jnp.argmax(maps, axis=1), 0).astype(jnp.uint8)
        accumulated = accumulated.update(probability, ids, valid, batch)
        result = picture_counts(decided, batch["native_mask"] > 0, valid)
        result |= {"row": batch["row"], "score": score, "mask_score": mask_score, "decided": ids}
        return accumulated, result

    return eval_step


def make_predict(
    network: SegmentationNetwork, config: ConfigDict, canvas_px: tuple[int, int]
) -> Callable[[Any, Batch], tuple[Float[Array, "b classes h w"], Float[Array, " b"] | None]]:
    """Returns `predict(average, batch)`: probability of each class of defect at each native pixel,
    and of the label; what lies outside a picture repeats its border."""

    def predict(average: Any, batch: Batch):
        image = normalise(batch["image"], config.picture.mean, config.picture.deviation)

        def of_view(view: Float[Array, "b h w c"]) -> Probabilities:
            return probabilities(network.apply(average, view, train=False))

        predicted = over_flips(of_view, image) if config.evaluation.flips else of_view(image)
        place = batch["placement"], batch["native_size"], canvas_px
        maps = [to_native(predicted.mask[..., k], *place) for k in range(predicted.mask.shape[-1])]
        return jnp.stack(maps, axis=1), predicted.label

    return predict


def decide_mask(
    probability: Float[Array, "b h w"],
    mask_score: Float[Array, " b"],
    valid: Bool[Array, "b h w"],
    thresholds: Thresholds,
) -> Bool[Array, "b h w"]:
    """Pixels above the pixel threshold, in pictures whose highest one reaches the mask's and that
    have enough of them.

    One threshold for both would have to be high, for few false alarms, and low, for whole masks.
    """
    marked = (probability >= thresholds.pixel) & valid
    large = marked.sum(axis=(1, 2), dtype=jnp.int32) >= thresholds.area_px
    rejected = (mask_score >= thresholds.mask) & large
    return marked & rejected[:, None, None]


def _native_valid(batch: Batch, canvas_px: tuple[int, int]) -> Bool[Array, "b h w"]:
    rows = jnp.arange(canvas_px[0])[None, :] < batch["native_size"][:, :1]
    columns = jnp.arange(canvas_px[1])[None, :] < batch["native_size"][:, 1:]
    real = (batch["row"] >= 0)[:, None, None]
    return rows[:, :, None] & columns[:, None, :] & real
