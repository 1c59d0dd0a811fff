"""Uncertainty, dynamic weight average and FAMO against their formulas in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from balance_problems import TASKS, combine, everything

from defect_jax import balance

GRADIENTS = {"near": [1.0, 2.0], "far": [-3.0, 0.5]}
LOSSES = np.abs(np.random.default_rng(0).normal(1.0, 0.4, (40, 2))) + 0.05  # far, near


def weights_over(tx, losses=LOSSES):
    """Weights at each step, from given losses."""
    state, history = None, []
    for far, near in losses:
        given = {"near": jnp.float32(near), "far": jnp.float32(far)}
        combined, state = combine(tx, GRADIENTS, given, state)
        weights = np.asarray(state.weights)
        expected = weights[0] * np.array(GRADIENTS["far"]) + weights[1] * np.array(
            GRADIENTS["near"]
        )
        np.testing.assert_allclose(combined, expected, rtol=1e-5)
        history.append(weights)
    return np.array(history)


class Adam:
    """The textbook's, in float64."""

    def __init__(self, learning_rate):
        self.rate, self.mean, self.square, self.steps = learning_rate, 0.0, 0.0, 0

    def step(self, gradient):
        self.steps += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        mean, square = self.mean / (1 - 0.9**self.steps), self.square / (1 - 0.999**self.steps)
        return -self.rate * mean / (np.sqrt(square) + 1e-8)


def test_uncertainty_descends_its_likelihood():
    log_variance, adam, expected = np.zeros(2), Adam(0.05), []
    for losses in LOSSES:
        expected.append(np.exp(-log_variance))
        log_variance = log_variance + adam.step(0.5 - np.exp(-log_variance) * losses)
    tx = balance.uncertainty(TASKS, learning_rate=0.05, shared=everything)
    np.testing.assert_allclose(weights_over(tx), expected, rtol=1e-4)


def test_uncertainty_settles_at_half_the_inverse_loss():
    tx = balance.uncertainty(TASKS, learning_rate=0.05, shared=everything)
    last = weights_over(tx, np.tile([2.0, 0.25], (600, 1)))[-1]
    np.testing.assert_allclose(last, [0.25, 2.0], rtol=0.01)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_dynamic_weight_average_compares_two_windows(temperature):
    tx = balance.dynamic_weight_average(
        TASKS, temperature=temperature, window_steps=5, shared=everything
    )
    means = LOSSES.reshape(8, 5, 2).mean(1)
    expected = []
    for step in range(40):
        window = step // 5  # the one that runs
        rate = means[window - 1] / means[window - 2] if window >= 2 else np.ones(2)
        share = np.exp(rate / temperature)
        expected.append(2 * share / share.sum())
    np.testing.assert_allclose(weights_over(tx), expected, rtol=1e-5)


def test_famo_follows_its_algorithm_on_consecutive_batches():
    logits, adam, before, expected = np.zeros(2), Adam(0.05), None, []
    for losses in LOSSES:
        share = np.exp(logits) / np.exp(logits).sum()
        weights = share / losses
        expected.append(weights / weights.sum())
        if before is not None:
            fall = np.log(before) - np.log(losses)
            gradient = share * (fall - share @ fall)
            logits = logits + adam.step(gradient + 0.01 * logits)
        before = losses
    tx = balance.famo(TASKS, learning_rate=0.05, decay=0.01, shared=everything)
    np.testing.assert_allclose(weights_over(tx), expected, rtol=1e-3)


def test_fixed_weights_are_those_given():
    tx = balance.fixed(TASKS, {"near": 0.8, "far": 0.2, "other": 9.0}, shared=everything)
    np.testing.assert_allclose(weights_over(tx), np.tile([0.2, 0.8], (40, 1)), rtol=1e-6)
