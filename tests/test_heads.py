"""What the label is read off: statistics of rows, in their order, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_networks import images

from defect_jax.models.heads import RowsHead

CHANNELS = (3, 2, 4, 5, 6)  # of the rows, finest first
FEATURES = [
    images(2, 32 // 2**row, 48 // 2**row, channels, seed=row)
    for row, channels in enumerate(CHANNELS)
]


def by_numpy(features):
    """Mean, maximum and deviation of each of the last four rows, finest of them first."""
    pooled = []
    for row in features[-4:]:
        x = np.asarray(row, np.float64).reshape(len(row), -1, row.shape[-1])
        pooled += [x.mean(axis=1), x.max(axis=1), x.std(axis=1)]
    return np.concatenate(pooled, axis=-1)


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_rows_are_pooled_as_numpy_does(rows):
    got = RowsHead(0.0).pooled(FEATURES[:rows])
    np.testing.assert_allclose(got, by_numpy(FEATURES[:rows]), rtol=0, atol=1e-5)
    wide = RowsHead(0.0).pooled([x.astype(jnp.bfloat16) for x in FEATURES[:rows]])
    assert wide.dtype == jnp.float32  # sums over a row of bfloat16 would lose the small cells


def test_the_logit_is_one_linear_layer_on_them_without_dropout_out_of_training():
    head = RowsHead(0.5)
    pooled = by_numpy(FEATURES)
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(pooled.shape[1], 1)), np.array([0.7])
    params = {"logit": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}}
    got = head.apply({"params": params}, FEATURES, False)
    expected = pooled / pooled.shape[1] ** 0.25 @ kernel + bias
    np.testing.assert_allclose(got, expected[:, 0], rtol=1e-4)
    dropped = head.apply({"params": params}, FEATURES, True, rngs={"dropout": jax.random.key(0)})
    assert np.abs(dropped - got).min() > 0.01


def test_maps_that_are_the_same_everywhere_have_gradients():
    flat = [jnp.full((1, 4, 4, 2), value) for value in (0.0, 3.0)]
    head = RowsHead(0.0)
    variables = head.init(jax.random.key(0), flat, False)
    gradients = jax.grad(lambda features: head.apply(variables, features, False).sum())(flat)
    for gradient in gradients:
        assert np.isfinite(gradient).all() and np.any(gradient)
