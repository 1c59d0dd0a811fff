"""Weights of pixels against SciPy in float64, and what must hold for any input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from defect_jax.losses.pixel_weight import pixel_weight

SHAPE = (3, 10, 12, 1)
REACHES = (0, 1, 3)
weights_of = jax.jit(pixel_weight, static_argnums=(3, 4))
samples = given(
    seed=st.integers(0, 2**32 - 1),
    strength=st.sampled_from([0.0, 0.5, 4.0, 1e4]),
    reach=st.sampled_from(REACHES),
    localised=st.booleans(),
)
quickly = settings(max_examples=25)


def sample(seed):
    """A mask of few defects, a frame of padding of any width, and what localisation found."""
    rng = np.random.default_rng(seed)
    valid = np.zeros(SHAPE, np.float32)
    for image in valid:
        top, left = rng.integers(0, 3, 2)
        image[top : 10 - rng.integers(0, 3), left : 12 - rng.integers(0, 3)] = 1.0
    mask = (rng.random(SHAPE) < rng.choice([0.0, 0.02, 0.3, 1.0])) * valid
    return np.float32(mask), valid, rng.random(SHAPE, np.float32)


def by_hand(mask, valid, found, strength, reach):
    window = (1, 2 * reach + 1, 2 * reach + 1, 1)
    grown = ndimage.grey_dilation(np.float64(mask), window, mode="constant")
    near = ndimage.uniform_filter(grown, (1, 3, 3, 1), mode="nearest")
    near = near if found is None else np.maximum(near, found)
    weight = (1.0 + strength * near) * (valid > 0)
    return weight / weight[valid > 0].mean()


@quickly
@samples
def test_equals_scipy(seed, strength, reach, localised):
    mask, valid, found = sample(seed)
    found = found if localised else None
    actual = weights_of(mask, valid, found, strength, reach)
    np.testing.assert_allclose(actual, by_hand(mask, valid, found, strength, reach), rtol=1e-5)


@quickly
@samples
def test_the_mean_over_the_images_is_one_and_padding_has_none(seed, strength, reach, localised):
    mask, valid, found = sample(seed)
    weight = weights_of(mask, valid, found if localised else None, strength, reach)
    np.testing.assert_allclose(np.float64(weight)[valid > 0].mean(), 1.0, rtol=1e-5)
    assert not np.any(np.asarray(weight)[valid == 0])


@quickly
@samples
def test_no_strength_gives_exactly_ones(seed, strength, reach, localised):
    del strength
    mask, valid, found = sample(seed)
    weight = weights_of(mask, valid, found if localised else None, 0.0, reach)
    np.testing.assert_array_equal(weight, valid)


@quickly
@samples
def test_a_defect_that_localisation_misses_weighs_as_much_as_anything(
    seed, strength, reach, localised
):
    del localised
    mask, valid, found = sample(seed)
    blind = np.where(mask > 0, 0.0, found).astype(np.float32)
    weight = np.asarray(weights_of(mask, valid, blind, strength, max(1, reach)))
    np.testing.assert_allclose(weight[mask > 0], weight.max(), rtol=1e-5)


def test_what_lies_in_the_padding_changes_nothing():
    mask, valid, found = sample(5)
    assert (valid == 0).any()
    wild = np.where(valid > 0, mask, 1.0), valid, np.where(valid > 0, found, 1.0)
    actual = weights_of(*map(np.float32, wild), 4.0, 3)
    np.testing.assert_array_equal(actual, weights_of(mask, valid, found, 4.0, 3))


def test_nothing_valid_weighs_nothing():
    mask, valid, found = sample(0)
    assert not np.any(weights_of(mask, np.zeros_like(valid), found, 4.0, 1))


def weighted(found, mask, valid):
    weight = pixel_weight(mask, valid, found, 4.0, 1)
    return jnp.sum(weight * jnp.arange(mask.size).reshape(mask.shape))


def test_no_gradient_goes_into_what_localisation_found(monkeypatch):
    mask, valid, found = map(jnp.asarray, sample(1))
    assert not np.any(jax.grad(weighted)(found, mask, valid))
    monkeypatch.setattr(jax.lax, "stop_gradient", lambda x: x)
    assert np.any(jax.grad(weighted)(found, mask, valid))  # it could


@pytest.mark.parametrize("strength", [1.0, 9.0])
def test_strength_is_how_much_more_a_defect_weighs_than_the_rest(strength):
    mask = np.zeros((1, 16, 16, 1), np.float32)
    mask[0, 4:6, 4:6] = 1.0
    weight = np.asarray(weights_of(mask, np.ones_like(mask), None, strength, 1))[0, ..., 0]
    np.testing.assert_allclose(weight[5, 5] / weight[12, 12], 1.0 + strength, rtol=1e-6)
