"""Window statistics and pixel confidence against SciPy in float64, and what must hold for all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import unfreeze
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage, special, stats

from defect_jax.models.class_maps import log_probabilities, probabilities_of
from defect_jax.models.confidence import (
    CONFIDENCES,
    FixedConfidence,
    LearntConfidence,
    enclosure,
    window_statistics,
)

HEIGHT, WIDTH = 9, 8
WINDOWS = (3, 5, 7)
seeds = st.integers(0, 2**32 - 1)
every_kind = pytest.mark.parametrize("kind", list(CONFIDENCES))
every_channels = pytest.mark.parametrize("channels", [1, 4])  # defect or not; three classes


def box_mean(maps, window_px):
    return ndimage.uniform_filter(maps, (0, window_px, window_px, 0), mode="mirror")


STATISTICS = jax.jit(window_statistics, static_argnums=1)
ENCLOSURE = jax.jit(enclosure, static_argnums=1)


@st.composite
def windows(draw):
    window_px = draw(st.sampled_from([1, 3, 5, 7]))
    sides = st.integers(window_px // 2 + 1, window_px + 4)
    shape = draw(st.integers(1, 2)), draw(sides), draw(sides), draw(st.integers(1, 3))
    return window_px, np.random.default_rng(draw(seeds)).random(shape, np.float32)


@settings(max_examples=10)
@given(windows())
def test_window_statistics_are_scipys(window):
    window_px, maps = window
    mean, variance = STATISTICS(jnp.asarray(maps), window_px)
    np.testing.assert_allclose(mean, box_mean(np.float64(maps), window_px), rtol=1e-5)
    of_squares = box_mean(np.float64(maps).sum(-1, keepdims=True) ** 2, window_px)
    of_mean = mean.sum(-1, keepdims=True) ** 2
    np.testing.assert_allclose(variance + of_mean, of_squares, rtol=1e-5)
    assert np.all(variance >= 0.0)


def test_the_variance_of_a_constant_is_zero():
    _, variance = window_statistics(jnp.full((1, 9, 9, 1), 0.9), 7)
    np.testing.assert_allclose(variance, 0.0, atol=3e-7)


def enclosure_by_hand(defect, reach_px):
    """With SciPy's maximum over rays."""
    size, lines = 2 * reach_px + 1, []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        sides = []
        for sign in (1, -1):
            ray = np.zeros((1, size, size, 1), bool)
            for n in range(1, reach_px + 1):
                ray[0, reach_px + sign * n * down, reach_px + sign * n * right] = True
            sides.append(ndimage.maximum_filter(defect, footprint=ray, mode="constant"))
        lines.append(np.minimum(*sides))
    return np.max(lines, axis=0)


@settings(max_examples=10)
@given(seeds, st.integers(1, 3))
def test_enclosure_is_scipys_maximum_over_rays(seed, reach_px):
    defect = np.random.default_rng(seed).random((2, HEIGHT, WIDTH, 1), np.float32)
    got = ENCLOSURE(jnp.asarray(defect), reach_px)
    np.testing.assert_array_equal(got, enclosure_by_hand(defect, reach_px))


def test_enclosure_tells_between_from_beside():
    row = np.zeros((1, 7, 9, 1), np.float32)
    row[:, :, 2] = row[:, :, 6] = 1.0
    got = ENCLOSURE(jnp.asarray(row), 3)[0, 3, :, 0]
    mean = window_statistics(jnp.asarray(row), 7)[0][0, 3, :, 0]
    assert got[4] == 1.0 and got[1] == got[7] == 0.0
    np.testing.assert_allclose(mean[3], mean[1], rtol=1e-6)  # which the mean does not


def distribution(logits):
    """Background and classes, in float64."""
    logits = np.float64(logits)
    if logits.shape[-1] == 1:
        return np.concatenate([special.expit(-logits), special.expit(logits)], axis=-1)
    return special.softmax(logits, axis=-1)


def sureness(shares):
    entropy = stats.entropy(shares, base=shares.shape[-1], axis=-1)
    return 1.0 - entropy[..., None]


def by_hand(kind, logits, window_px, params):
    """What the distribution becomes, in float64."""
    shares = distribution(logits)
    defects = shares[..., 1:]
    defect = defects.sum(-1, keepdims=True)
    mean = box_mean(defects, window_px)
    mu = box_mean(defect, window_px)
    variance = box_mean(defect**2, window_px) - mu**2
    enclosed = enclosure_by_hand(defect, window_px // 2)
    own = sureness(shares)
    around = sureness(np.maximum(box_mean(shares, window_px), 0.0))
    gate = (1.0 - own) * around
    if kind == "learnt":
        maps = np.concatenate([defect, enclosed, mu, variance, 1 - own, 1 - around], axis=-1)
        kernel, bias = (np.float64(params["gate"][name]) for name in ("kernel", "bias"))
        sums = [
            ndimage.correlate(maps[..., i], kernel[None, :, :, i, 0], mode="constant")
            for i in range(maps.shape[-1])
        ]
        gate = special.expit(sum(sums) + bias)[..., None]
    higher = defects + gate * np.maximum(enclosed - defect, 0.0) * mean / mu
    return np.concatenate([1.0 - higher.sum(-1, keepdims=True), higher], axis=-1)


def parameters(module, channels, seed=0):
    """A random gate for the learnt kind; nothing for the fixed one."""
    image = jnp.zeros((1, HEIGHT, WIDTH, channels))
    params = unfreeze(module.init(jax.random.key(0), image)).get("params", {})
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), jnp.float32), params)


CACHE = {}


def refiner(kind, channels, window_px):
    """Compiled, with the parameters of `parameters`."""
    key = kind, channels, window_px
    if key not in CACHE:
        module = CONFIDENCES[kind](window_px)
        apply = jax.jit(lambda params, logits: module.apply({"params": params}, logits))
        CACHE[key] = apply, parameters(module, channels)
    return CACHE[key]


def uneven(seed, scale, channels):
    """Logits of patches that are sure, with noise on them."""
    rng = np.random.default_rng(seed)
    shape = 2, HEIGHT, WIDTH, channels
    patches = ndimage.gaussian_filter(rng.normal(size=shape), (0, 2, 2, 0))
    return np.float32(12.0 * scale * patches + rng.normal(scale=scale, size=shape))


@every_kind
@every_channels
@settings(max_examples=20)
@example(seed=6572, scale=5.0, window_px=3)  # off by 3.9e-5, with logits of 30 and more
@given(seed=seeds, scale=st.sampled_from([0.3, 2.0, 5.0]), window_px=st.sampled_from(WINDOWS))
def test_equals_the_formula(kind, channels, seed, scale, window_px):
    logits = uneven(seed, scale, channels)
    apply, params = refiner(kind, channels, window_px)
    refined = np.asarray(apply(params, logits))
    expected = by_hand(kind, logits, window_px, params)
    # A probability is off by the share by which its logit is off in units: eight of its roundings.
    rtol = 8 * np.finfo(np.float32).eps * np.abs(logits).max()
    np.testing.assert_allclose(distribution(refined), expected, rtol=rtol, atol=3e-6)


@every_kind
@every_channels
def test_the_formula_is_tried_where_it_raises_and_where_it_does_not(kind, channels):
    logits = uneven(0, 2.0, channels)
    apply, params = refiner(kind, channels, 5)
    refined = apply(params, logits)
    before = distribution(logits)[..., 1:].sum(-1)
    raised = np.mean(distribution(refined)[..., 1:].sum(-1) > before + 1e-3)
    assert 0.05 < raised < 0.95


def extremes(seed, scale, channels):
    """Logits, a third of them at plus or minus 40."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(2, HEIGHT, WIDTH, channels))
    wild = rng.random(logits.shape) < 1 / 3
    return jnp.asarray(np.where(wild, 40.0 * rng.choice([-1, 1], logits.shape), logits), np.float32)


scales = st.sampled_from([0.0, 1.0, 5.0, 40.0])
biases = st.sampled_from([-40.0, -2.0, 0.0, 40.0])


def biased(params, bias):
    return {"gate": {**params["gate"], "bias": jnp.full(1, bias)}} if params else params


@every_kind
@every_channels
@settings(max_examples=30)
@given(seed=seeds, scale=scales, window_px=st.sampled_from(WINDOWS), bias=biases)
def test_no_probability_of_defect_falls(kind, channels, seed, scale, window_px, bias):
    logits = extremes(seed, scale, channels)
    apply, params = refiner(kind, channels, window_px)
    refined = apply(biased(params, bias), logits)
    assert np.isfinite(refined).all()
    if channels == 1:
        assert np.all(refined >= logits)
        return
    before, after = np.exp(log_probabilities(logits)), np.exp(refined)
    np.testing.assert_allclose(after.sum(-1), 1.0, atol=3e-6)
    after = np.asarray(jax.nn.softmax(refined))
    assert np.all(after[..., 1:] >= before[..., 1:] * (1.0 - 5e-6) - 1e-37)  # each
    assert np.all(after[..., 0] <= before[..., 0] * (1.0 + 5e-6) + 2e-6)


def test_a_plain_mean_would_let_probabilities_fall():
    probability = distribution(extremes(0, 1.0, 1))[..., 1:]
    assert np.mean(box_mean(probability, 3) < probability) > 0.3


@every_kind
@every_channels
@settings(max_examples=20)
@given(seed=seeds, scale=scales, bias=biases)
def test_gradients_are_finite(kind, channels, seed, scale, bias):
    logits = extremes(seed, scale, channels)
    apply, params = refiner(kind, channels, 5)
    key = "gradient", kind, channels
    if key not in CACHE:

        def loss(params, logits, signs):
            return jnp.sum(log_probabilities(apply(params, logits)) * signs)

        CACHE[key] = jax.jit(jax.grad(loss, argnums=(0, 1)))
    signs = np.random.default_rng(seed).normal(size=(2, HEIGHT, WIDTH, max(2, channels)))
    for grad in jax.tree.leaves(CACHE[key](biased(params, bias), logits, np.float32(signs))):
        assert np.isfinite(grad).all()


@every_channels
def test_the_gate_learns_where_it_raises(channels):
    module = LearntConfidence(5)
    params = parameters(module, channels)
    logits = extremes(3, 1.0, channels)
    grads = jax.grad(
        lambda params: probabilities_of(module.apply({"params": params}, logits)).sum()
    )(params)
    assert np.all(np.asarray(grads["gate"]["kernel"]) != 0.0) and np.any(grads["gate"]["bias"])


def one_class(probability, channels):
    """Logits of a map of one class of defect; what is left goes to background."""
    probability = np.float64(probability)[None, ..., None]
    logits = special.logit(probability)
    if channels > 1:
        rest = np.full((*probability.shape[:-1], channels - 2), -20.0)
        logits = np.concatenate([np.zeros_like(logits), logits, rest], axis=-1)
    return jnp.asarray(logits, jnp.float32)


@every_kind
@every_channels
def test_a_crack_one_pixel_wide_survives_exactly(kind, channels):
    probability = np.full((21, 21), 0.02)
    probability[:, 10] = 0.9
    logits = one_class(probability, channels)
    module = CONFIDENCES[kind](7)
    params = module.init(jax.random.key(0), logits)
    refined = log_probabilities(module.apply(params, logits))
    np.testing.assert_allclose(refined[0, :, 10], log_probabilities(logits)[0, :, 10], rtol=1e-6)
    if channels == 1:
        np.testing.assert_array_equal(module.apply(params, logits)[0, :, 10], logits[0, :, 10])
    erased = box_mean(probability[None, ..., None], 7)[0, :, 10, 0]
    assert np.all(erased < 0.2)  # by the mean of the paper's words


@every_channels
def test_a_hole_in_a_sure_block_is_raised_as_far_as_the_gate_opens(channels):
    probability = np.full((15, 15), 0.95)
    probability[7, 7] = 0.2
    logits = one_class(probability, channels)
    learnt = LearntConfidence(7)
    shut = unfreeze(learnt.init(jax.random.key(0), logits))["params"]

    def at_the_hole(module, params):
        return probabilities_of(module.apply({"params": params}, logits))[0, 7, 7].sum()

    np.testing.assert_allclose(at_the_hole(learnt, biased(shut, 20.0)), 0.95, rtol=1e-4)
    half = biased(shut, 0.0)
    np.testing.assert_allclose(at_the_hole(learnt, half), (0.2 + 0.95) / 2, rtol=1e-4)
    closed = 0.2 + special.expit(-2.0) * (0.95 - 0.2)
    np.testing.assert_allclose(at_the_hole(learnt, shut), closed, rtol=1e-4)  # as it starts
    assert 0.3 < at_the_hole(FixedConfidence(7), {}) < 0.95


def test_the_learnt_gate_starts_almost_closed_and_everywhere_alike():
    module = LearntConfidence(7)
    gate = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 6)))["params"]["gate"]
    assert gate["kernel"].shape == (3, 3, 6, 1)
    assert not np.any(gate["kernel"]) and gate["bias"].tolist() == [-2.0]


def test_the_fixed_gate_has_no_parameters():
    assert not FixedConfidence(7).init(jax.random.key(0), jnp.zeros((1, 8, 8, 6)))
