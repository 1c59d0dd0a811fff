"""Small problems with two or three tasks, and a run of a transform on them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from defect_jax import balance

METHODS = {
    "fixed": balance.fixed,
    "gradnorm": balance.gradnorm,
    "uncertainty": balance.uncertainty,
    "dwa": balance.dynamic_weight_average,
    "famo": balance.famo,
    "pcgrad": balance.pcgrad,
    "cagrad": balance.cagrad,
    "mgda": balance.mgda,
    "imtl_g": balance.imtl_g,
}
TASKS = ("near", "far")
PARAMS = {
    "encoder": {"kernel": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)},
    "head": {"kernel": jnp.linspace(0.5, 1.0, 3)},
}


def everything(path):
    return True


def loss_fn(params, image, present=1.0, scale=1.0):
    """Two regressions on one encoder; "far" has a head of its own, and may be absent."""
    feature = jnp.tanh(image @ params["encoder"]["kernel"])
    near = jnp.mean((feature.sum(-1) - 0.3) ** 2)
    far = scale * jnp.mean((feature @ params["head"]["kernel"] + 0.8) ** 2)
    return {"near": near, "far": present * far}


def sometimes(params, image):
    """The same, of batches of which about half lack "far": what one without masks is to a run."""
    return loss_fn(params, image, present=jnp.float32(image.sum() > 0.0))


def images(steps, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, 8, 4)).astype(np.float32)


def make_step(tx, losses_of=loss_fn, **options):
    """Jitted (params, opt_state, image, *more) -> params, opt_state."""

    def step(params, opt_state, *batch):
        losses, gradients, _ = balance.task_gradients(losses_of, params, *batch)
        updates, opt_state = tx.update(gradients, opt_state, params, task_losses=losses, **options)
        return optax.apply_updates(params, updates), opt_state

    return jax.jit(step)


def run(tx, batches, params=PARAMS, opt_state=None, **options):
    """Params and optimizer state after all batches."""
    step = make_step(tx, **options)
    opt_state = tx.init(params) if opt_state is None else opt_state
    for batch in batches:
        params, opt_state = step(params, opt_state, batch)
    return params, opt_state


def converged(tx, losses_of, params, *batch, steps):
    """State of the balance after many steps of a network that is held still."""
    step = make_step(optax.chain(tx, optax.set_to_zero()), losses_of)

    def body(carry, _):
        return step(*carry, *batch), None

    start = params, optax.chain(tx, optax.set_to_zero()).init(params)
    (_, opt_state), _ = jax.jit(lambda: jax.lax.scan(body, start, length=steps))()
    return opt_state[0]


def combine(tx, gradients, losses=None, state=None):
    """One update on given gradients, each an array: what comes out, and the state."""
    trees = {task: {"w": jnp.asarray(value, jnp.float32)} for task, value in gradients.items()}
    losses = dict.fromkeys(trees, jnp.array(1.0)) if losses is None else losses
    state = tx.init(next(iter(trees.values()))) if state is None else state
    combined, state = _jitted(tx.update)(trees, state, losses)
    return np.asarray(combined["w"]), state


@functools.cache
def _jitted(update):
    return jax.jit(lambda trees, state, losses: update(trees, state, task_losses=losses))
