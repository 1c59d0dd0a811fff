"""Schedule, decay mask and averaged weights against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from defect_jax.training.optimizer import learning_rate, make_tx, update_ema


def config(encoder="plain", shared="kernel", **optimizer):
    defaults = {"learning_rate": 0.01, "warmup_steps": 10, "weight_decay": 0.5, "clip_norm": 1.0}
    defaults["encoder_rate"] = 0.1
    balance = {"method": "fixed", "shared": shared, "initial_steps": 1}
    balance["fixed"] = {"weights": {"segmentation": 1.0}}
    model = {"decoder": "unet", "classification_head": False, "localisation": "none"}
    model |= {"encoder": encoder, "weights": "imagenet"}
    train = {"steps": 110}
    fields = {"optimizer": defaults | optimizer, "train": train, "balance": balance, "model": model}
    return ConfigDict(fields)


def update(tx, gradients, params):
    """One step of a single task."""
    losses = {"segmentation": jnp.array(1.0)}
    return tx.update({"segmentation": gradients}, tx.init(params), params, task_losses=losses)[0]


def test_learning_rate_warms_up_and_follows_the_cosine():
    rate = learning_rate(config())
    steps = np.array([0, 5, 10, 60, 110])
    cosine = 0.5 * (1 + np.cos(np.pi * (steps[2:] - 10) / 100))
    expected = [1e-4, (1e-4 + 1e-2) / 2, *(1e-4 + (1e-2 - 1e-4) * cosine)]
    np.testing.assert_allclose([rate(step) for step in steps], expected, rtol=1e-5)


def test_only_kernels_decay():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    tx = make_tx(config(warmup_steps=1))
    zeros = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    updates = update(tx, zeros, params)
    np.testing.assert_array_equal(updates["bias"], 0.0)
    np.testing.assert_allclose(updates["kernel"], -1e-4 * 0.5, rtol=1e-5)  # -rate · decay · 1


@pytest.mark.parametrize("encoder, share", [("plain", 1.0), ("efficientnet_lite0", 0.1)])
def test_an_encoder_with_weights_learns_and_decays_at_a_share_of_the_rate(encoder, share):
    params = {"encoder": {"kernel": jnp.ones((2, 2))}, "nodes": {"kernel": jnp.ones((2, 2))}}
    tx = make_tx(config(encoder, "encoder", warmup_steps=1))
    for gradient in (0.0, 0.3):  # decay alone, and with a step of Adam
        gradients = jax.tree.map(lambda leaf, value=gradient: jnp.full_like(leaf, value), params)
        updates = update(tx, gradients, params)
        assert updates["nodes"]["kernel"][0, 0] < 0
        np.testing.assert_allclose(
            updates["encoder"]["kernel"], share * updates["nodes"]["kernel"], rtol=1e-6
        )


def test_gradients_are_clipped_to_the_norm():
    tx = make_tx(config())
    params = {"kernel": jnp.zeros((2, 2))}
    one = update(tx, {"kernel": jnp.full((2, 2), 1e3)}, params)
    two = update(tx, {"kernel": jnp.full((2, 2), 0.5)}, params)
    np.testing.assert_allclose(one["kernel"], two["kernel"], rtol=1e-6)


def test_average_follows_the_recurrence_with_a_short_start():
    average, values = jnp.zeros(()), np.random.default_rng(0).normal(size=30)
    expected = 0.0
    for step, value in enumerate(values):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        average = update_ema(average, jnp.asarray(value, jnp.float32), jnp.asarray(step), 0.9)
    np.testing.assert_allclose(average, expected, rtol=1e-5)
