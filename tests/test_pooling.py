"""Maxima over a map against JAX's own, ties included."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from defect_jax.models.pooling import halved, halved_by_threes, highest

SHAPES = st.sampled_from([(2, 2, 4, 1), (2, 4, 6, 3), (1, 2, 2, 2)])
FEW_VALUES = st.integers(-1, 2).map(float)  # so that most maxima are there more than once
MAPS = SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=FEW_VALUES))


def plain(x):
    return nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))


@functools.cache
def differentiated(function):
    """The gradient of a sum in which every maximum has a weight of its own."""

    def total(x):
        y = function(x)
        return jnp.sum(y * jnp.arange(1.0, 1.0 + y.size).reshape(y.shape))

    return jax.jit(jax.grad(total))


def gradient(function, x):
    return np.asarray(differentiated(function)(x))


@given(MAPS)
def test_half_the_size_is_jax_own_and_so_is_its_gradient(maps):
    x = jnp.asarray(maps)
    np.testing.assert_array_equal(halved(x), plain(x))
    np.testing.assert_array_equal(gradient(halved, x), gradient(plain, x))


ODD_SHAPES = st.sampled_from([(2, 3, 5, 1), (1, 4, 7, 2), (1, 1, 2, 3), (2, 6, 6, 1)])
ODD_MAPS = ODD_SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=FEW_VALUES))


def plain_by_threes(x):
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


@given(ODD_MAPS)
def test_by_threes_is_jax_own_and_so_is_its_gradient(maps):
    x = jnp.asarray(maps)
    np.testing.assert_array_equal(halved_by_threes(x), plain_by_threes(x))
    wanted = gradient(plain_by_threes, x)
    np.testing.assert_array_equal(gradient(halved_by_threes, x), wanted)


@given(MAPS)
def test_the_gradient_of_the_highest_goes_to_the_first_that_has_it(maps):
    x, flat = jnp.asarray(maps), maps.reshape(len(maps), -1, maps.shape[-1])
    np.testing.assert_array_equal(highest(x), flat.max(axis=1))
    expected = np.zeros_like(flat)
    weights = np.arange(1.0, 1.0 + flat[:, 0].size).reshape(flat[:, 0].shape)
    np.put_along_axis(expected, flat.argmax(axis=1)[:, None], weights[:, None], axis=1)
    np.testing.assert_array_equal(gradient(highest, x), expected.reshape(x.shape))


@pytest.mark.parametrize("pool", [halved, halved_by_threes])
@pytest.mark.parametrize(("platform", "searches"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_only_a_cpu_compares(platform, searches, pool):
    x = jax.ShapeDtypeStruct((1, 4, 4, 2), jnp.float32)
    train = jax.jit(jax.grad(lambda x: pool(x).sum()))
    text = jax.export.export(train, platforms=[platform])(x).mlir_module()
    assert ("select_and_scatter" in text) == searches


def test_bfloat16_stays():
    x = jnp.ones((1, 2, 2, 1), jnp.bfloat16)
    for function in (halved, halved_by_threes, highest):
        assert function(x).dtype == jax.grad(lambda x, f=function: f(x).sum())(x).dtype == x.dtype
