"""Two batches by hand, the second without one of the two tasks: each method's update and state."""

import jax.numpy as jnp
import numpy as np
import pytest
from balance_problems import METHODS, combine, everything

NEAR, FAR = np.array([3.0, 4.0]), np.array([1.0, -2.0])
FIRST = {"near": 2.0, "far": 3.0}
SECOND = {"near": 1.0, "far": 0.0}
LENGTHS = np.array([np.sqrt(5.0), 5.0])  # of far and near: states are in the order of the names


def two_batches(method, **options):
    """The second batch's update, the states after the first and the second."""
    tx = METHODS[method](("near", "far"), shared=everything, **options)
    losses = [{task: jnp.array(value) for task, value in of.items()} for of in (FIRST, SECOND)]
    _, first = combine(tx, {"near": NEAR, "far": FAR}, losses[0])
    update, second = combine(tx, {"near": NEAR, "far": 0.0 * FAR}, losses[1], first)
    # What was last seen of each, over the batches in which it was there.
    np.testing.assert_allclose(np.sqrt(np.diagonal(second.gram)), LENGTHS, rtol=1e-6)
    assert second.gram[0, 1] == NEAR @ FAR
    np.testing.assert_allclose(second.initial_losses, [3.0, 1.5])
    assert second.batches.tolist() == [1, 2] and second.count == 2
    np.testing.assert_allclose(second.inverse_rates, [1.0, 1.0])
    return update, first, second


def gradnorm_after_one_step():
    """Weights of far and near, alpha = 0, learning rate 0.1, from norms 5 and sqrt 5."""
    target = LENGTHS.mean()
    moved = np.exp(-0.1 * np.sign(LENGTHS - target) * LENGTHS / target)
    return 2.0 * moved / moved.sum()


def adam_on_log_variance():
    """s of far and near after both batches by Adam's formulas; far moves in the first alone."""
    rate, values = 0.025, []
    for losses in ([3.0], [2.0, 1.0]):
        s = mean = square = 0.0
        for step, loss in enumerate(losses, 1):
            gradient = 0.5 - np.exp(-s) * loss
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            s -= rate * (mean / (1 - 0.9**step)) / np.sqrt(square / (1 - 0.999**step))
        values.append(s)
    return values


@pytest.mark.parametrize(
    ("method", "share", "options"),
    [
        ("fixed", 1.0, {}),
        ("gradnorm", gradnorm_after_one_step()[1], {"alpha": 0.0, "learning_rate": 0.1}),
        ("uncertainty", np.exp(-0.025), {}),  # Adam's first step is one of the whole rate
        ("dwa", 1.0, {"window_steps": 1}),
        ("famo", 1.0, {}),  # weights of the tasks that are there sum to 1
        ("pcgrad", 1.0, {}),
        ("cagrad", 1.5, {"c": 0.5}),  # the mean gradient, and half of its length once more
        ("mgda", 1.0, {}),
        ("imtl_g", 1.0, {}),
    ],
)
def test_the_task_that_is_there_gets_its_share_alone(method, share, options):
    update, *_ = two_batches(method, **options)
    np.testing.assert_allclose(update, share * NEAR, rtol=1e-5)


def test_gradnorm_moves_no_weight():
    _, first, second = two_batches("gradnorm", alpha=0.0, learning_rate=0.1)
    np.testing.assert_allclose(first.memory, gradnorm_after_one_step(), rtol=1e-6)
    np.testing.assert_array_equal(first.memory, second.memory)


def test_uncertainty_moves_the_variance_of_what_is_there():
    _, _, second = two_batches("uncertainty")
    np.testing.assert_allclose(second.memory.log_variance, adam_on_log_variance(), rtol=1e-5)


def test_famo_keeps_the_last_loss_of_what_is_not_there_and_moves_no_logits():
    _, first, second = two_batches("famo")
    np.testing.assert_allclose(second.memory.log_losses, np.log([3.0, 1.0]), atol=1e-6)
    np.testing.assert_array_equal(first.memory.logits, second.memory.logits)


def test_dwa_takes_means_over_the_batches_in_which_a_task_was_there():
    _, _, second = two_batches("dwa", window_steps=1)
    np.testing.assert_allclose(second.memory.last, [3.0, 1.0])
    np.testing.assert_allclose(second.memory.before, [0.0, 2.0])
    tx = METHODS["dwa"](("near", "far"), shared=everything, window_steps=1)
    update, _ = combine(
        tx, {"near": NEAR, "far": FAR}, dict.fromkeys(FIRST, jnp.array(1.0)), second
    )
    rates = np.exp(np.array([1.0, 0.5]) / 2.0)  # far's is not known yet, near's loss halved
    weights = 2.0 * rates / rates.sum()
    np.testing.assert_allclose(update, weights @ np.stack([FAR, NEAR]), rtol=1e-5)
