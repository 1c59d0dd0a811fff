"""From per-task gradients to updates: balance, clipping, AdamW; moving average of weights."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from defect_jax import balance
from defect_jax.runtime.errors import UserError
from defect_jax.training.pretrained import is_pretrained
from defect_jax.training.stages import LOCALISER, is_frozen
from defect_jax.training.tasks import task_names

LOSS_WEIGHTINGS = {
    "fixed": balance.fixed,
    "gradnorm": balance.gradnorm,
    "uncertainty": balance.uncertainty,
    "dwa": balance.dynamic_weight_average,
    "famo": balance.famo,
}
GRADIENT_WEIGHTINGS = {
    "pcgrad": balance.pcgrad,
    "cagrad": balance.cagrad,
    "mgda": balance.mgda,
    "imtl_g": balance.imtl_g,
}
METHODS = LOSS_WEIGHTINGS | GRADIENT_WEIGHTINGS


def learning_rate(config: ConfigDict) -> optax.Schedule:
    """Warm up linearly over `optimizer.warmup_steps`, then a cosine to nearly 0 at
    `train.steps`."""
    peak = config.optimizer.learning_rate
    return optax.warmup_cosine_decay_schedule(
        init_value=peak / 100,
        peak_value=peak,
        warmup_steps=min(config.optimizer.warmup_steps, config.train.steps - 1),
        decay_steps=config.train.steps,
        end_value=peak / 100,
    )


def make_tx(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """Balance the tasks, clip the global norm, then AdamW; kernels decay, not biases and scales.

    Its `update` takes the gradients and the losses of `balance.task_gradients`. The training step
    calls the two parts, `make_balance` and `after_balance`, by themselves.
    """
    return optax.chain(make_balance(config), *_after_balance(config))


def after_balance(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """Return what `make_tx` does with the combined gradient; its state is all but the first of the
    whole's."""
    return optax.chain(*_after_balance(config))


def _after_balance(config: ConfigDict) -> list[optax.GradientTransformation]:
    """Return the parts in order.

    An encoder that begins with weights of its own learns at a share of the rate, decay included. A
    localisation that has learnt before stays as it is.
    """
    frozen = [optax.masked(optax.set_to_zero(), _is_localiser)] if is_frozen(config) else []
    rate = config.optimizer.encoder_rate if is_pretrained(config.model) else 1.0
    return [
        optax.snapshot("gradient_norm", optax.tree.norm),  # of the combined gradient, for the log
        optax.clip_by_global_norm(config.optimizer.clip_norm),
        optax.adamw(
            learning_rate(config), weight_decay=config.optimizer.weight_decay, mask=_is_kernel
        ),
        *([optax.masked(optax.scale(rate), _is_encoder)] if rate != 1.0 else []),
        *frozen,
    ]


def _is_kernel(params: Any) -> Any:
    return jax.tree.map(lambda array: array.ndim > 1, params)


def _is_localiser(params: Any) -> Any:
    return _is_below(LOCALISER, params)


def _is_encoder(params: Any) -> Any:
    return _is_below("encoder", params)


def _is_below(module: str, params: Any) -> Any:
    return unflatten_dict({path: path[0] == module for path in flatten_dict(params)})


def update_ema(
    ema: PyTree, new: PyTree, step: Int[Array, ""], decay: float
) -> PyTree[Float[Array, "..."]]:
    """Update the exponential moving average of a tree, with a short memory in the first steps.

    The effective decay is min(decay, (1 + step) / (10 + step)), so that a short run does not
    evaluate its own random initial weights.

    >>> update_ema(jnp.array(0.0), jnp.array(1.0), jnp.array(0), 0.999).item()
    0.8999999761581421
    """
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, leaf: _mix(old, leaf, decay), ema, new)


def _mix(
    old: Float[Array, "..."], new: Float[Array, "..."], decay: Float[Array, ""]
) -> Float[Array, "..."]:
    return decay * old + (1.0 - decay) * new


def measured_every_steps(balancing: ConfigDict) -> int | None:
    """Return how often a training step measures the tasks' gradients; None: never.

    Gradient weightings always do. Fixed weights follow from no gradient, and a program of its own
    for every tenth step would take half as long again to compile.
    """
    if balancing.method == "fixed":
        return None
    return balancing.measure_every_steps if balancing.method in LOSS_WEIGHTINGS else 1


def make_balance(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """Return the method that `config.balance.method` names, with its options.

    Raises:
        UserError: there is no such method, or an option has a value that it cannot have.
    """
    name, layer = config.balance.method, tuple(config.balance.shared.split("/"))
    if name not in METHODS:
        raise UserError(f"config.balance.method is {name!r}: must be one of {', '.join(METHODS)}")
    options = config.balance[name].to_dict() if name in config.balance else {}
    try:
        return METHODS[name](
            task_names(config),
            **options,
            initial_steps=config.balance.initial_steps,
            shared=lambda path: path[: len(layer)] == layer,
        )
    except ValueError as error:
        raise UserError(f"config.balance.{name}: {error}") from error
