"""GradNorm against its definition: the L1 loss, the sign, the sum, what it converges to."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from balance_problems import PARAMS, TASKS, combine, converged, everything, images, loss_fn, run
from hypothesis import given, settings
from hypothesis import strategies as st

from defect_jax import balance
from defect_jax.balance.gradnorm import normalised, weight_gradient
from defect_jax.balance.state import relative_inverse_rates

NUMBERS = st.floats(2.0**-7, 128.0, width=32)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**16), tasks=st.integers(2, 5), alpha=st.floats(0.0, 3.0))
def test_closed_form_is_the_derivative_of_the_l1_loss(seed, tasks, alpha):
    """Over random trees of gradients, through the norms of equation 1."""
    rng = np.random.default_rng(seed)
    names = ["x", "y"]
    trees = []
    for _ in range(tasks):
        scale = 10 ** rng.uniform(-2, 2)
        trees.append({n: jnp.asarray(scale * rng.normal(size=(3, 2)), jnp.float32) for n in names})
    weights = jnp.asarray(rng.uniform(0.1, 2.0, tasks), jnp.float32)
    losses = jnp.asarray(rng.uniform(0.1, 5.0, tasks), jnp.float32)
    initial = jnp.asarray(rng.uniform(0.1, 5.0, tasks), jnp.float32)
    rates = losses / initial / (losses / initial).mean()

    def through_the_trees(weights):
        norms = [
            jnp.sqrt(sum(jnp.sum((w * leaf) ** 2) for leaf in jax.tree.leaves(tree)))
            for w, tree in zip(weights, trees, strict=True)
        ]
        weighted = jnp.stack(norms)
        target = jax.lax.stop_gradient(weighted.mean() * rates**alpha)
        return jnp.abs(weighted - target).sum()

    there = jnp.ones(tasks, bool)
    norms = jnp.stack([optax.tree.norm(tree) for tree in trees])
    ours_rates = relative_inverse_rates(losses, initial, there)
    np.testing.assert_allclose(ours_rates, rates, rtol=1e-6)
    ours = weight_gradient(weights, norms, ours_rates, there, alpha)
    expected = jax.grad(through_the_trees)(weights)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_a_task_that_lags_gains_weight():
    """Equal norms; "far" has fallen to half, "near" not at all."""
    tx = balance.gradnorm(TASKS, alpha=1.0, initial_steps=1, shared=everything)
    gradients = {"near": [1.0, 0.0], "far": [0.0, 1.0]}
    _, state = combine(tx, gradients, {"near": jnp.array(2.0), "far": jnp.array(2.0)})
    np.testing.assert_allclose(state.memory, [1.0, 1.0], rtol=1e-6)
    _, state = combine(tx, gradients, {"near": jnp.array(2.0), "far": jnp.array(1.0)}, state)
    far, near = state.memory
    assert near > 1.0 > far


@given(
    proposed=st.lists(NUMBERS, min_size=2, max_size=6),
    floor=st.floats(0.0, 0.875, width=32),
    data=st.data(),
)
def test_weights_sum_to_the_number_of_tasks_and_stay_above_the_floor(proposed, floor, data):
    number = len(proposed)
    moving = jnp.array(data.draw(st.lists(st.booleans(), min_size=number, max_size=number)))
    before = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, number), jnp.float32)
    before = normalised(before, jnp.ones(number, bool), jnp.ones(number), floor)
    weights = normalised(jnp.array(proposed), moving, before, floor)
    assert float(weights.sum()) == pytest.approx(number, rel=1e-5)
    assert np.all(np.asarray(weights) >= floor * (1 - 1e-6))
    np.testing.assert_array_equal(weights[~moving], before[~moving])


def test_scaling_alone_keeps_the_ratios():
    weights = normalised(jnp.array([3.0, 2.0, 1.0]), jnp.ones(3, bool), jnp.ones(3), 0.05)
    np.testing.assert_allclose(weights, [1.5, 1.0, 0.5], rtol=1e-6)


def test_nothing_of_the_weights_loss_reaches_the_network():
    """Whatever alpha, a step is exactly the gradient of the weighted sum, weights constant."""
    image = images(1)[0]
    for alpha in (0.0, 1.5):
        tx = balance.gradnorm(TASKS, alpha=alpha)
        losses, gradients, _ = balance.task_gradients(loss_fn, PARAMS, image)
        state = tx.init(PARAMS)._replace(memory=jnp.array([0.4, 1.6]))
        combined, _ = tx.update(gradients, state, task_losses=losses)
        expected = jax.tree.map(
            lambda far, near: jnp.float32(0.4) * far + jnp.float32(1.6) * near,
            gradients["far"],
            gradients["near"],
        )
        jax.tree.map(np.testing.assert_array_equal, combined, expected)


def quadratics(params, targets, scales):
    """Two parabolas in one variable: gradient norms are known, scale · |x - target|."""
    x = params["encoder"]
    return {
        task: 0.5 * s * jnp.sum((x - t) ** 2)
        for task, t, s in zip("ab", targets, scales, strict=True)
    }


def test_alpha_0_makes_the_norms_of_two_quadratics_equal():
    """Far from both minima the norms are 3 and 40·1: the weights must become 40/43·2 and 3/43·2."""
    params = {"encoder": jnp.array([0.0])}
    tx = balance.gradnorm(("a", "b"), alpha=0.0, floor=0.001, learning_rate=0.005)
    targets, scales = jnp.array([3.0, 1.0]), jnp.array([1.0, 40.0])
    state = converged(tx, quadratics, params, targets, scales, steps=700)
    np.testing.assert_allclose(state.memory, [80 / 43, 6 / 43], rtol=0.01)
    np.testing.assert_allclose(jnp.sqrt(jnp.diagonal(state.gram)), [3.0, 40.0], rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1e-2, 7.0, 1e3])
def test_scaling_a_loss_leaves_the_balanced_ratio_as_it_is(alpha, scale):
    """Network held still, so that the weights converge; the losses are in the middle of a run."""
    ratios = []
    for c in (1.0, scale):
        tx = balance.gradnorm(TASKS, alpha=alpha, floor=1e-6, learning_rate=0.004)
        start = tx.init(PARAMS)
        initial = jnp.array([0.5 * c, 2.0])  # far, near
        start = start._replace(batches=start.batches + 99, initial_losses=initial)
        tx = tx._replace(init=lambda params, start=start: start)
        state = converged(tx, loss_fn, PARAMS, images(1)[0], 1.0, c, steps=3000)
        weighted = state.memory * jnp.sqrt(jnp.diagonal(state.gram))
        ratios.append(float(weighted[0] / weighted[1]))
        rate = state.inverse_rates
        assert ratios[-1] == pytest.approx(float(rate[0] / rate[1]) ** alpha, rel=0.02)
    assert ratios[1] == pytest.approx(ratios[0], rel=0.02)


def test_a_step_that_does_not_measure_uses_the_weights_and_keeps_norms():
    tx = balance.gradnorm(TASKS)
    _, measured = run(optax.chain(tx, optax.sgd(0.1)), images(4))
    params, kept = run(
        optax.chain(tx, optax.sgd(0.1)), images(3, 1), PARAMS, measured, measure=False
    )
    np.testing.assert_array_equal(kept[0].gram, measured[0].gram)
    np.testing.assert_array_equal(kept[0].weights, measured[0].memory)
    np.testing.assert_array_equal(kept[0].memory, measured[0].memory)
    assert int(kept[0].count) == 7
    assert np.any(params["head"]["kernel"] != PARAMS["head"]["kernel"])
    # The same gradient as a step that measures takes.
    losses, gradients, _ = balance.task_gradients(loss_fn, PARAMS, images(1)[0])
    with_norms, _ = tx.update(gradients, measured[0], task_losses=losses)
    without, _ = tx.update(gradients, measured[0], task_losses=losses, measure=False)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), with_norms, without
    )


def test_a_predicate_chooses_the_parameters_that_are_measured():
    losses, gradients, _ = balance.task_gradients(loss_fn, PARAMS, images(1)[0])
    tx = balance.gradnorm(TASKS, shared=lambda path: path == ("head", "kernel"))
    _, state = tx.update(gradients, tx.init(PARAMS), task_losses=losses)
    norm = jnp.linalg.norm(gradients["far"]["head"]["kernel"])
    np.testing.assert_allclose(jnp.sqrt(state.gram[0, 0]), norm, rtol=1e-6)
    assert state.gram[1, 1] == 0.0
