"""PCGrad, CAGrad, MGDA and IMTL-G against TorchJD, SciPy and their definitions."""

import functools
import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from balance_problems import METHODS, combine, everything
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from defect_jax.balance.cagrad import conflict_averse
from defect_jax.balance.imtl_g import impartial
from defect_jax.balance.mgda import shortest
from defect_jax.balance.pcgrad import projected

CASES = json.loads(
    pathlib.Path(__file__).with_name("references").joinpath("torchjd.json").read_text()
)
PAIRS = [case for case in CASES if len(case["gradients"]) == 2]
TRIPLES = [case for case in CASES if len(case["gradients"]) == 3]
NUMBERS = st.floats(-10.0, 10.0, width=32).filter(lambda x: x == 0.0 or abs(x) > 1e-3)
VECTORS = st.lists(NUMBERS, min_size=4, max_size=4).map(np.float32)


def names(case):
    return case["name"]


@functools.cache
def transform(method, tasks):
    return METHODS[method](tasks, shared=everything)


def combined(method, gradients):
    tasks = tuple(f"t{index}" for index in range(len(gradients)))
    return combine(transform(method, tasks), dict(zip(tasks, gradients, strict=True)))[0]


@pytest.mark.parametrize("method", ["pcgrad", "cagrad", "mgda", "imtl_g"])
@pytest.mark.parametrize("case", PAIRS, ids=names)
def test_two_tasks_as_torchjd_has_it(method, case):
    expected = np.array(case["combined"][method])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(combined(method, case["gradients"]), expected, atol=1e-5 * scale)


@pytest.mark.parametrize("case", TRIPLES, ids=names)
def test_three_tasks_as_torchjd_has_it(case):
    """Its IMTL-G is exact; its MGDA and CAGrad stop at an error of 1e-4, and must not be better."""
    gradients = np.array(case["gradients"])
    expected = {method: np.array(value) for method, value in case["combined"].items()}
    np.testing.assert_allclose(combined("imtl_g", gradients), expected["imtl_g"], atol=1e-5)
    ours = combined("mgda", gradients)
    np.testing.assert_allclose(ours, expected["mgda"], atol=2e-4)
    assert np.linalg.norm(ours) <= np.linalg.norm(expected["mgda"]) * (1 + 1e-6)
    ours = combined("cagrad", gradients)
    np.testing.assert_allclose(ours, expected["cagrad"], atol=2e-4)
    assert (gradients @ ours).min() >= (gradients @ expected["cagrad"]).min() - 1e-5


def on_simplex(objective, tasks):
    """Minimum of a convex function over the simplex, by SciPy in float64."""
    result = optimize.minimize(
        objective,
        np.full(tasks, 1 / tasks),
        method="SLSQP",
        bounds=[(0, 1)] * tasks,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    return result.x


@pytest.mark.parametrize("tasks", [3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_mgda_and_cagrad_of_more_tasks_as_scipy_has_it(tasks, seed):
    gradients = np.random.default_rng(seed).normal(size=(tasks, 6))
    gram, there = gradients @ gradients.T, jnp.ones(tasks, bool)
    expected = on_simplex(lambda w: w @ gram @ w, tasks)
    ours = np.float64(shortest(jnp.asarray(gram, jnp.float32), there))
    np.testing.assert_allclose(ours @ gradients, expected @ gradients, atol=2e-4)
    mean = np.full(tasks, 1 / tasks)
    radius = 0.5 * np.sqrt(mean @ gram @ mean)
    dual = lambda w: w @ gram @ mean + radius * np.sqrt(w @ gram @ w)  # noqa: E731
    best = on_simplex(dual, tasks)
    expected = mean + radius / np.sqrt(best @ gram @ best) * best
    ours = np.float64(conflict_averse(jnp.asarray(gram, jnp.float32), there, 0.5))
    np.testing.assert_allclose(ours @ gradients, expected @ gradients, atol=2e-4)


@given(first=VECTORS, second=VECTORS)
def test_mgda_is_never_longer_than_either_gradient_nor_against_it(first, second):
    result = np.float64(combined("mgda", [first, second]))
    lengths = [np.linalg.norm(g) for g in (first, second) if np.any(g)]
    if lengths:
        assert np.linalg.norm(result) <= min(lengths) * (1 + 1e-5)
        for gradient in (first, second):
            bound = -1e-5 * np.linalg.norm(gradient) * max(lengths)
            assert result @ np.float64(gradient) >= bound


@given(first=VECTORS, second=VECTORS)
def test_imtl_g_has_equal_projections_and_inverse_norms(first, second):
    lengths = np.linalg.norm([first, second], axis=1)
    if lengths.min() == 0.0:
        return
    gram = jnp.array([first, second]) @ jnp.array([first, second]).T
    weights = np.float64(impartial(gram, jnp.array([True, True])))
    np.testing.assert_allclose(weights, lengths[::-1] / lengths.sum(), rtol=1e-4)


def naive_pcgrad(gradients, orders):
    """Algorithm 1 on the vectors themselves."""
    total = np.zeros(gradients.shape[1])
    for index, order in enumerate(orders):
        vector = gradients[index].copy()
        for other in order:
            product = vector @ gradients[other]
            if other != index and product < 0:
                vector -= product / (gradients[other] @ gradients[other]) * gradients[other]
        total += vector
    return total


@pytest.mark.parametrize("seed", range(5))
def test_pcgrad_of_four_tasks_in_any_order(seed):
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(4, 6))
    orders = np.array([rng.permutation(4) for _ in range(4)])
    gram = jnp.asarray(gradients @ gradients.T, jnp.float32)
    weights = projected(gram, jnp.asarray(orders), jnp.ones(4, bool))
    expected = naive_pcgrad(gradients, orders)
    np.testing.assert_allclose(np.float64(weights) @ gradients, expected, atol=1e-5)


def test_pcgrad_draws_the_order_anew_at_every_step():
    gradients = dict(zip("abc", np.random.default_rng(3).normal(size=(3, 3)), strict=True))
    gradients["c"] = -gradients["a"] - gradients["b"] + 0.1
    tx = METHODS["pcgrad"](list("abc"), shared=everything)
    state, results = None, set()
    for _ in range(12):
        result, state = combine(tx, gradients, state=state)
        results.add(tuple(np.round(result, 4)))
    assert len(results) > 1
    again = combine(tx, gradients)[0], combine(tx, gradients)[0]
    np.testing.assert_array_equal(*again)


def test_cagrad_without_radius_is_the_mean():
    gradients = np.random.default_rng(0).normal(size=(3, 5))
    tx = METHODS["cagrad"](list("abc"), c=0.0, shared=everything)
    ours, _ = combine(tx, dict(zip("abc", gradients, strict=True)))
    np.testing.assert_allclose(ours, gradients.mean(0), atol=1e-6)


@pytest.mark.parametrize("method", ["cagrad", "mgda", "imtl_g"])
@pytest.mark.parametrize("pair", [([1.0, 2.0], [1.0, 2.0]), ([1.0, 2.0], [-2.0, -4.0])])
def test_parallel_and_opposite_gradients_have_finite_weights(method, pair):
    assert np.all(np.isfinite(combined(method, pair)))


def test_absent_tasks_leave_the_others_as_if_alone():
    gradients = np.random.default_rng(1).normal(size=(3, 5))
    for method in ("pcgrad", "cagrad", "mgda", "imtl_g"):
        with_zero = combined(method, [gradients[0], np.zeros(5), gradients[2]])
        np.testing.assert_allclose(with_zero, combined(method, gradients[[0, 2]]), atol=1e-5)
