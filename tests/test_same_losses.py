"""What makes a step faster leaves its losses as they were: 50 steps, to 1e-5, in float32.

Each row takes one thing away again. Cached images are in test_decoded_cache.py, batch by batch.
"""

import jax
import numpy as np
import pytest
from flax import linen as nn
from test_steps import batches, make_config

from defect_jax.models.encoders import plain
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.compiler_options import (
    FOR,
    FOR_NARROW_TRAINING,
    compiler_options,
    training_options,
)
from defect_jax.training.optimizer import make_tx
from defect_jax.training.steps import create_state, make_train_step

STEPS = 50
# The compiler as users have it, and not in the haste of conftest.py.
AS_USERS_DO = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}
TOLD = training_options((4, 8))


def losses(told):
    """Of 50 steps of a network with a node that joins what it reads."""
    config = make_config(dropout=0.0)
    config.train.steps = STEPS
    config.optimizer.learning_rate = 2e-3
    network, tx = SegmentationNetwork(**config.model), make_tx(config)
    variables = initial_variables(network, (1, *config.data.size, 1), 0)
    step = make_train_step(network, config, False)
    step = jax.jit(step, donate_argnums=0, compiler_options=AS_USERS_DO | told)
    state, found = jax.device_put(create_state(variables, tx)), []
    for batch in batches(STEPS):
        state, metrics = step(state, batch)
        found.append([metrics[name] for name in ("loss_segmentation", "loss_classification")])
    return np.array(found)


@pytest.fixture(scope="module")
def as_it_is():
    found = losses(TOLD)
    assert found[-1].sum() < 0.9 * found[0].sum()
    return found


def test_the_compiler_is_told_about_convolutions(as_it_is):
    assert compiler_options() == training_options((32,)) == FOR["cpu"]
    assert training_options((16,)) == FOR_NARROW_TRAINING["cpu"]
    np.testing.assert_allclose(losses({}), as_it_is, rtol=1e-5)
    np.testing.assert_allclose(losses(compiler_options()), as_it_is, rtol=1e-5)


def test_joined_features_are_joined_again_for_the_gradient(as_it_is, monkeypatch):
    monkeypatch.setattr(nn, "remat", lambda function: function)
    found = losses(TOLD)
    np.testing.assert_allclose(found, as_it_is, rtol=1e-5)


def test_the_gradient_of_max_pooling_compares_in_place_of_searching(as_it_is, monkeypatch):
    monkeypatch.setattr(plain, "halved", lambda x: nn.max_pool(x, (2, 2), strides=(2, 2)))
    np.testing.assert_allclose(losses(TOLD), as_it_is, rtol=1e-5)
