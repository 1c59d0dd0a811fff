"""Which balancing method `config.balance` names, over which tasks, measured how often."""

import optax
from ml_collections import ConfigDict

from defect_jax import balance
from defect_jax.runtime.errors import UserError
from defect_jax.task_losses import task_names

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


def measured_every_steps(config: ConfigDict) -> int:
    """How often a training step measures the tasks' gradients; gradient weightings always do."""
    return config.balance.measure_every_steps if config.balance.method in LOSS_WEIGHTINGS else 1


def make_balance(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """The method that `config.balance.method` names, with its options.

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
