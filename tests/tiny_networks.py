"""Tiny networks and their inputs, for the tests of the models."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

TINY = (4, 8, 16)


def shake(variables, seed=7):
    """Moves every variable off its initial value, so that zeros and ones hide nothing."""
    rng = np.random.default_rng(seed)
    flat = flatten_dict(variables)
    moved = {
        path: value + rng.uniform(0.05, 0.4, value.shape).astype(np.float32)
        for path, value in flat.items()
    }
    return unflatten_dict(moved)


def evaluate(model, variables, image):
    return jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, image)


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)
