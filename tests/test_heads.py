"""What the label is read off: statistics of rows, in their order, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_networks import images

from defect_jax.models.heads import LEAST, MOST, RowsHead, evidence, pooled_rows

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
    got = pooled_rows(FEATURES[:rows])
    np.testing.assert_allclose(got, by_numpy(FEATURES[:rows]), rtol=0, atol=1e-5)
    wide = pooled_rows([x.astype(jnp.bfloat16) for x in FEATURES[:rows]])
    assert wide.dtype == jnp.float32  # sums over a row of bfloat16 would lose the small cells


@pytest.mark.parametrize("channels", [1, 3])
def test_masks_show_their_highest_windows_as_numpy_finds_them(channels):
    logits = np.random.default_rng(3).normal(-6, 4, size=(2, 3, 64, 32, channels))
    if channels == 1:
        defect = (1 / (1 + np.exp(-logits))).mean(axis=0)[..., 0]
    else:
        odds = np.exp(logits)
        defect = (1 - odds[..., 0] / odds.sum(axis=-1)).mean(axis=0)
    shown = []
    for side in (1, 8, 32):
        windows = defect.reshape(3, 64 // side, side, 32 // side, side)
        shown.append(windows.mean(axis=(2, 4)).max(axis=(1, 2)))
    share = np.stack([*shown, defect.mean(axis=(1, 2))], axis=-1).clip(LEAST, MOST)
    got = evidence(jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(got, np.log(share / (1 - share)), rtol=1e-3, atol=1e-3)


def test_windows_are_no_larger_than_the_image():
    assert np.isfinite(evidence(jnp.zeros((1, 2, 8, 16, 1)))).all()


def test_the_logits_are_linear_layers_without_dropout_out_of_training():
    head = RowsHead(0.5)
    pooled = by_numpy(FEATURES)
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(pooled.shape[1], 1)), np.array([0.7])
    params = {"logit": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}}
    params["of_masks"] = {"kernel": jnp.float32(rng.normal(size=(4, 1))), "bias": jnp.ones(1)}
    masks = images(2, 2 * 32, 48, 1)[None]
    got = head.apply({"params": params}, FEATURES, masks, False)
    expected = pooled / pooled.shape[1] ** 0.25 @ kernel + bias
    np.testing.assert_allclose(got[0], expected[:, 0], rtol=1e-4)
    of_masks = np.asarray(evidence(masks)) @ np.asarray(params["of_masks"]["kernel"]) + 1
    np.testing.assert_allclose(got[1], of_masks[:, 0], rtol=1e-4)
    keys = {"dropout": jax.random.key(0)}
    dropped = head.apply({"params": params}, FEATURES, masks, True, rngs=keys)
    assert np.abs(dropped[0] - got[0]).min() > 0.01
    np.testing.assert_array_equal(dropped[1], got[1])


def test_the_masks_learn_nothing_from_the_label():
    head, masks = RowsHead(0.0), images(2, 32, 48, 1)[None]
    variables = head.init(jax.random.key(0), FEATURES, masks, False)
    gradient = jax.grad(lambda masks: head.apply(variables, FEATURES, masks, False).sum())(masks)
    assert not np.any(gradient)


def test_maps_that_are_the_same_everywhere_have_gradients():
    flat = [jnp.full((1, 4, 4, 2), value) for value in (0.0, 3.0)]
    head = RowsHead(0.0)
    masks = jnp.zeros((1, 1, 8, 8, 1))
    variables = head.init(jax.random.key(0), flat, masks, False)
    gradients = jax.grad(lambda features: head.apply(variables, features, masks, False).sum())(flat)
    for gradient in gradients:
        assert np.isfinite(gradient).all() and np.any(gradient)
