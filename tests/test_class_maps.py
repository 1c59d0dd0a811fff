"""Logits of one or of several classes as probabilities, against SciPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from defect_jax.models.class_maps import (
    log_probabilities,
    mean_logits,
    mean_probabilities,
    probabilities_of,
)
from defect_jax.models.heads import MaskHeads, prior_logits
from defect_jax.models.initialise import initial_variables

HEADS, SHAPE = 3, (2, 3, 4)
quickly = settings(max_examples=20)
samples = given(
    channels=st.sampled_from([1, 2, 6]),
    scale=st.sampled_from([0.0, 1.0, 10.0, 80.0, 1e4]),
    seed=st.integers(0, 2**32 - 1),
)
functions = mean_logits, log_probabilities, mean_probabilities, probabilities_of
compiled = {f.__name__: jax.jit(f) for f in functions}


def sample(channels, scale, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=scale, size=(HEADS, *SHAPE, channels)).astype(np.float32)


def logarithms(logits):
    """Log-probability of background and of each class, in float64."""
    logits = np.float64(logits)
    if logits.shape[-1] == 1:
        return np.concatenate([special.log_expit(-logits), special.log_expit(logits)], axis=-1)
    return special.log_softmax(logits, axis=-1)


@quickly
@samples
def test_log_probabilities_are_scipys(channels, scale, seed):
    logits = sample(channels, scale, seed)
    actual = compiled["log_probabilities"](logits)
    assert actual.shape[-1] == max(2, channels)
    np.testing.assert_allclose(actual, logarithms(logits), rtol=1e-5, atol=1e-6)


@quickly
@samples
def test_probabilities_are_scipys_without_background(channels, scale, seed):
    logits = sample(channels, scale, seed)[0]
    actual = compiled["probabilities_of"](logits)
    assert actual.shape == (*SHAPE, max(1, channels - 1))
    np.testing.assert_allclose(actual, np.exp(logarithms(logits))[..., 1:], rtol=1e-5, atol=1e-7)


@quickly
@samples
def test_heads_are_joined_by_the_mean_of_their_probabilities(channels, scale, seed):
    logits = sample(channels, scale, seed)
    mean = special.logsumexp(logarithms(logits), axis=0) - np.log(HEADS)
    actual = compiled["mean_logits"](logits)
    assert actual.shape == (*SHAPE, channels)
    np.testing.assert_allclose(logarithms(actual), mean, rtol=1e-5, atol=2e-6)
    direct = compiled["mean_probabilities"](logits)
    np.testing.assert_allclose(direct, np.exp(mean[..., 1:]), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("channels", [1, 6])
def test_one_head_is_joined_as_it_is(channels):
    logits = sample(channels, 3.0, 0)[:1]
    np.testing.assert_array_equal(mean_logits(jnp.asarray(logits)), logits[0])


def test_two_classes_by_softmax_are_one_by_sigmoid():
    logits = jnp.asarray(sample(1, 3.0, 1))
    two = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
    for one, other in (
        (log_probabilities(two), log_probabilities(logits)),
        (probabilities_of(two[0]), probabilities_of(logits[0])),
        (probabilities_of(mean_logits(two)), probabilities_of(mean_logits(logits))),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize("classes, channels", [(1, 1), (2, 3), (5, 6)])
def test_mask_heads_have_a_logit_for_background_where_classes_are_told_apart(classes, channels):
    heads, features = MaskHeads(classes), [jnp.zeros((2, 4, 6, 8))] * 3
    variables = heads.init(jax.random.key(0), features)
    assert heads.apply(variables, features).shape == (3, 2, 4, 6, channels)
    for head in variables["params"].values():
        assert head["kernel"].shape == (1, 1, 8, channels)


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_every_number_of_classes_starts_with_the_same_probability_of_defect(classes):
    bias = prior_logits(None, (1 if classes == 1 else classes + 1,))
    shares = np.exp(logarithms(np.asarray(bias)))
    np.testing.assert_allclose(shares[1:], special.expit(-2.0) / classes, rtol=1e-6)


def test_initial_biases_of_the_network_are_the_prior():
    class Heads(MaskHeads):
        def __call__(self, image, train):
            return super().__call__([image])

    variables = initial_variables(Heads(4), (1, 2, 2, 3), 0)
    bias = variables["params"]["logits_0"]["bias"]
    np.testing.assert_array_equal(bias, prior_logits(None, (5,)))
