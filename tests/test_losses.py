"""Losses against closed forms in float64, and what must hold for any input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import special
from sklearn.metrics import log_loss

from defect_jax.losses.classification import classification_loss
from defect_jax.losses.cross_entropy import binary_cross_entropy, categorical_cross_entropy
from defect_jax.losses.dice import dice_loss
from defect_jax.losses.localisation import MOST_POSITIVE_WEIGHT, localisation_loss
from defect_jax.losses.segmentation import one_hot, segmentation_loss

SHAPE = (3, 4, 5, 1)
seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([0.0, 0.3, 3.0, 30.0, 1e4])
quickly = settings(max_examples=30, deadline=None)


def sample(seed, scale=3.0, heads=2):
    """Logits of some heads, a mask with few defects, a valid map with some padding."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(heads, *SHAPE)).astype(np.float32)
    mask = (rng.uniform(size=SHAPE) < 0.2).astype(np.float32)
    valid = (rng.uniform(size=SHAPE) < 0.8).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(mask), jnp.asarray(valid)


def bce_by_hand(logits, target, weight):
    logits, target, weight = (np.float64(x) for x in (logits, target, weight))
    losses = np.logaddexp(0, logits) - target * logits
    return (weight * losses).sum() / weight.sum()


def dice_by_hand(logits, mask, valid, smooth=1.0):
    logits, mask, valid = (np.float64(x) for x in (logits, mask, valid))
    score = np.exp(-np.logaddexp(0, -logits)) * valid
    mask = mask * valid
    ratios = [
        1 - (2 * (p * m).sum() + smooth) / (p.sum() + m.sum() + smooth)
        for p, m in zip(score, mask, strict=True)
        if m.any()
    ]
    return np.mean(ratios) if ratios else 0.0


def segmentation_by_hand(logits, mask, valid):
    return np.mean(
        [0.5 * bce_by_hand(z, mask, valid) + dice_by_hand(z, mask, valid) for z in logits]
    )


def categorical_by_hand(logits, target, weight):
    logits, target, weight = (np.float64(x) for x in (logits, target, weight[..., 0]))
    losses = -(target * special.log_softmax(logits, axis=-1)).sum(-1)
    return (weight * losses).sum() / weight.sum()


def class_dice_by_hand(logits, target, valid, smooth=1.0):
    """Mean over images and classes of defect, of those that an image has."""
    logits, target, valid = (np.float64(x) for x in (logits, target, valid))
    score, target = special.softmax(logits, axis=-1) * valid, target * valid
    ratios = [
        1 - (2 * (p * m).sum() + smooth) / (p.sum() + m.sum() + smooth)
        for image, masks in zip(score, target, strict=True)
        for p, m in zip(image.T[1:], masks.T[1:], strict=True)
        if m.any()
    ]
    return np.mean(ratios) if ratios else 0.0


def class_segmentation_by_hand(logits, target, valid):
    terms = [
        0.5 * categorical_by_hand(z, target, valid) + class_dice_by_hand(z, target, valid)
        for z in logits
    ]
    return np.mean(terms)


def localisation_by_hand(logits, mask, valid):
    """One cell a pixel."""
    truth = np.float64(mask) * np.float64(valid)
    defects, good = truth.sum(), (np.float64(valid) * (1 - truth)).sum()
    ratio = np.clip(good / max(defects, 1), 1, 20)
    weight = np.float64(valid) * np.where(truth > 0, ratio, 1.0)
    return bce_by_hand(logits, truth, weight) + dice_by_hand(logits, truth, valid)


def three_classes(loss):
    """Takes logits and masks as `sample` makes them for one of three classes, of two kinds of
    defect."""

    def of_classes(logits, mask, valid):
        xp = jnp if isinstance(mask, jax.Array) else np
        last = -0.5 * logits
        several = xp.concatenate([last[::-1], logits, last], axis=-1)
        kind = xp.broadcast_to(xp.arange(mask.shape[2]).reshape(1, 1, -1, 1) % 2, mask.shape)
        masks = xp.concatenate([1 - mask, mask * kind, mask * (1 - kind)], axis=-1)
        return loss(several, masks, valid)

    return of_classes


def all_valid_alike(logits, target, valid):
    return categorical_cross_entropy(logits, target, valid[..., 0])


def first_head(loss):
    return lambda logits, mask, valid: loss(logits[0], mask, valid)


def first_pixels(loss):
    return lambda logits, mask, valid: loss(*(x.reshape(-1)[:60] for x in (logits[0], mask, valid)))


# A new loss joins with a line: its name, ours, the closed form; both of (logits, mask, valid).
LOSSES = [
    ("bce", jax.jit(first_head(binary_cross_entropy)), first_head(bce_by_hand)),
    ("dice", jax.jit(first_head(dice_loss)), first_head(dice_by_hand)),
    ("segmentation", jax.jit(segmentation_loss), segmentation_by_hand),
    ("localisation", jax.jit(first_head(localisation_loss)), first_head(localisation_by_hand)),
    (
        "categorical",
        jax.jit(three_classes(first_head(all_valid_alike))),
        three_classes(first_head(categorical_by_hand)),
    ),
    (
        "class dice",
        jax.jit(three_classes(first_head(dice_loss))),
        three_classes(first_head(class_dice_by_hand)),
    ),
    (
        "class segmentation",
        jax.jit(three_classes(segmentation_loss)),
        three_classes(class_segmentation_by_hand),
    ),
    ("classification", jax.jit(first_pixels(classification_loss)), first_pixels(bce_by_hand)),
]
every_loss = pytest.mark.parametrize(
    "loss, by_hand", [row[1:] for row in LOSSES], ids=[row[0] for row in LOSSES]
)


@every_loss
@quickly
@given(seed=seeds, scale=scales)
def test_equals_the_closed_form(loss, by_hand, seed, scale):
    logits, mask, valid = sample(seed, scale)
    value = loss(logits, mask, valid)
    assert value.dtype == jnp.float32 and value.shape == ()
    np.testing.assert_allclose(value, by_hand(*map(np.asarray, (logits, mask, valid))), rtol=1e-6)


@every_loss
@quickly
@given(seed=seeds)
def test_padding_changes_nothing(loss, by_hand, seed):
    del by_hand
    logits, mask, valid = sample(seed)
    other_logits, other_mask, _ = sample(seed + 1, scale=50.0)
    other_logits = other_logits.at[:, 0, 0, 0].set(jnp.nan)
    mixed = (
        jnp.where(valid > 0, logits, other_logits),
        jnp.where(valid > 0, mask, other_mask),
        valid,
    )
    assert loss(logits, mask, valid) == loss(*mixed)


@every_loss
def test_padding_gets_no_gradient_even_if_not_finite(loss, by_hand):
    del by_hand
    logits, mask, valid = sample(0)
    grads = jax.grad(loss)(jnp.where(valid > 0, logits, jnp.inf), mask, valid)
    assert np.isfinite(grads).all()
    assert np.all(np.where(valid > 0, 0, grads) == 0)
    assert np.all(grads[0][np.asarray(valid) > 0] != 0)


@every_loss
def test_nothing_valid_is_zero_without_gradient(loss, by_hand):
    del by_hand
    logits, mask, valid = sample(0)
    value, grads = jax.value_and_grad(loss)(logits, mask, jnp.zeros_like(valid))
    assert value == 0
    assert not np.any(grads)


@every_loss
@quickly
@given(seed=seeds)
def test_order_of_images_does_not_matter(loss, by_hand, seed):
    del by_hand
    logits, mask, valid = sample(seed)
    order = np.random.default_rng(seed).permutation(SHAPE[0])
    permuted = loss(logits[:, order], mask[order], valid[order])
    np.testing.assert_allclose(permuted, loss(logits, mask, valid), rtol=1e-6)


@every_loss
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e30])
def test_bfloat16_logits_are_safe(loss, by_hand, scale):
    logits, mask, valid = sample(0, scale)
    logits = logits.astype(jnp.bfloat16)
    value, grads = jax.value_and_grad(loss)(logits, mask, valid)
    assert value.dtype == jnp.float32
    assert np.isfinite(np.float32(grads)).all()
    expected = by_hand(*(np.float64(np.float32(x)) for x in (logits, mask, valid)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@quickly
@given(seed=seeds, scale=scales)
def test_ranges(seed, scale):
    logits, mask, valid = sample(seed, scale, heads=1)
    assert 0 <= dice_loss(logits[0], mask, valid) <= 1
    assert binary_cross_entropy(logits[0], mask, valid) >= 0


def test_dice_of_a_perfect_mask_and_of_its_opposite():
    _, mask, valid = sample(0)
    perfect = 1e3 * (2 * mask - 1)
    assert dice_loss(perfect, mask, valid) == 0
    pixels = np.sum(valid, axis=(1, 2, 3))
    opposite = np.mean(1 - 1 / (pixels + 1))
    np.testing.assert_allclose(dice_loss(-perfect, mask, valid), opposite, rtol=1e-6)


def test_dice_leaves_images_without_defect_out():
    logits, mask, valid = sample(1, heads=1)
    mask = mask.at[1].set(0.0)
    value, grads = jax.value_and_grad(dice_loss)(logits[0], mask, valid)
    others = jnp.array([0, 2])
    np.testing.assert_allclose(
        value, dice_loss(logits[0][others], mask[others], valid[others]), rtol=1e-6
    )
    assert not np.any(grads[1]) and np.any(grads[0]) and np.any(grads[2])


def test_dice_of_a_batch_without_defect_is_zero_without_gradient():
    empty = jnp.zeros(SHAPE)
    value, grads = jax.value_and_grad(dice_loss)(empty, empty, jnp.ones(SHAPE))
    assert value == 0
    assert not np.any(grads)


def test_dice_counts_a_small_defect_as_much_as_a_large_one():
    mask = jnp.zeros((2, 16, 16, 1)).at[0, :2, :2].set(1.0).at[1, 8:].set(1.0)
    found = 40.0 * (2 * mask - 1)
    valid = jnp.ones_like(mask)
    missed_small = dice_loss(found.at[0].set(-40.0), mask, valid)
    missed_large = dice_loss(found.at[1].set(-40.0), mask, valid)
    np.testing.assert_allclose(missed_small, 0.5 * (1 - 1 / 5), rtol=1e-6)
    np.testing.assert_allclose(missed_large, 0.5 * (1 - 1 / 129), rtol=1e-6)


def test_smooth_and_weights_are_used():
    logits, mask, valid = sample(2)
    by_hand = dice_by_hand(*(np.asarray(x) for x in (logits[0], mask, valid)), smooth=7.0)
    np.testing.assert_allclose(dice_loss(logits[0], mask, valid, smooth=7.0), by_hand, rtol=1e-6)
    only_bce = segmentation_loss(logits[:1], mask, valid, bce_weight=2.0, dice_weight=0.0)
    twice = 2 * binary_cross_entropy(logits[0], mask, valid)
    np.testing.assert_allclose(only_bce, twice, rtol=1e-6)


def test_deep_supervision_is_a_mean():
    logits, mask, valid = sample(3)
    alone = [segmentation_loss(logits[i : i + 1], mask, valid) for i in range(2)]
    np.testing.assert_allclose(segmentation_loss(logits, mask, valid), np.mean(alone), rtol=1e-6)


def test_sample_weights_weigh():
    logits, label = jnp.array([1.0, -2.0, 3.0]), jnp.array([1.0, 1.0, 0.0])
    weight = jnp.array([1.0, 3.0, 0.5])
    expected = bce_by_hand(logits, label, weight)
    np.testing.assert_allclose(classification_loss(logits, label, weight), expected, rtol=1e-6)


@quickly
@given(seed=seeds)
def test_categorical_cross_entropy_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    logits, weight = rng.normal(scale=3.0, size=(50, 4)), rng.random(50)
    kind = np.append(rng.integers(0, 4, 46), range(4))
    loss = categorical_cross_entropy(
        jnp.asarray(logits, jnp.float32),
        jnp.asarray(np.eye(4)[kind], jnp.float32),
        jnp.asarray(weight, jnp.float32),
    )
    shares = special.softmax(np.float64(np.float32(logits)), axis=-1)
    expected = log_loss(kind, shares, sample_weight=np.float32(weight))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_two_classes_by_softmax_cost_what_one_by_sigmoid_costs():
    logits, mask, valid = sample(5)
    two = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
    both = jnp.concatenate([1 - mask, mask], axis=-1)
    one = segmentation_loss(logits, mask, valid)
    np.testing.assert_allclose(segmentation_loss(two, both, valid), one, rtol=1e-6)


def test_one_hot_has_the_channels_of_the_logits():
    mask = np.random.default_rng(0).integers(0, 4, (2, 3, 5), np.uint8)
    np.testing.assert_array_equal(one_hot(jnp.asarray(mask), 4), np.eye(4)[mask])
    np.testing.assert_array_equal(one_hot(jnp.asarray(mask), 1)[..., 0], mask > 0)


def test_pixel_weights_weigh_the_cross_entropy_and_not_dice():
    logits, mask, valid = sample(6)
    weight = jnp.asarray(np.random.default_rng(6).random(SHAPE), jnp.float32)
    expected = [
        0.5 * bce_by_hand(z, mask, valid * weight) + dice_by_hand(z, mask, valid) for z in logits
    ]
    actual = segmentation_loss(logits, mask, valid, pixel_weight=weight)
    np.testing.assert_allclose(actual, np.mean(expected), rtol=1e-6)
    plain = segmentation_loss(logits, mask, valid)
    assert abs(actual - plain) > 1e-2 * plain
    ones = segmentation_loss(logits, mask, valid, pixel_weight=jnp.ones_like(weight))
    np.testing.assert_array_equal(ones, plain)


@quickly
@given(seed=seeds, share=st.sampled_from([0.0, 0.002, 0.1, 1.0]))
def test_a_cell_holds_a_defect_when_one_of_its_pixels_does(seed, share):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(2, 4, 6, 1)).astype(np.float32)
    mask = np.float32(rng.random((2, 16, 24, 1)) < share)
    valid = np.zeros_like(mask)
    valid[0, 3:, :21], valid[1, :16, 5:] = 1.0, 1.0
    cells = [of_pixels.reshape(2, 4, 4, 6, 4, 1).max((2, 4)) for of_pixels in (mask * valid, valid)]
    expected = localisation_by_hand(logits, *cells)
    actual = CELLS(*map(jnp.asarray, (logits, mask, valid)))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


CELLS = jax.jit(localisation_loss)


@pytest.mark.parametrize("cells, weight", [(9, 8.0), (25, MOST_POSITIVE_WEIGHT), (1, 1.0)])
def test_one_cell_with_a_defect_weighs_like_the_good_ones_up_to_a_limit(cells, weight):
    logits, mask = jnp.zeros((1, 1, cells, 1)), jnp.zeros((1, 1, cells, 1)).at[0, 0, 0].set(1.0)
    gradient = jax.grad(localisation_loss)(logits, mask, jnp.ones_like(mask))
    without = jax.grad(dice_loss)(logits, mask, jnp.ones_like(mask))
    own = np.asarray(gradient - without)[0, 0, :, 0]  # of the cross-entropy
    np.testing.assert_allclose(own[0], -0.5 * weight / (weight + cells - 1), rtol=1e-5)
    np.testing.assert_allclose(own[1:], 0.5 / (weight + cells - 1), rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [segmentation_loss, three_classes(segmentation_loss), first_head(localisation_loss)],
    ids=["segmentation", "class segmentation", "localisation"],
)
def test_sharded_batch_has_one_mean(loss):
    rng = np.random.default_rng(4)
    logits = jnp.asarray(rng.normal(size=(2, 8, 4, 4, 1)), jnp.float32)
    mask = jnp.asarray(rng.uniform(size=(8, 4, 4, 1)) < 0.2, jnp.float32)
    valid = jnp.ones_like(mask)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    of_heads = NamedSharding(mesh, PartitionSpec(None, "data"))
    of_batch = NamedSharding(mesh, PartitionSpec("data"))
    args = jax.device_put((logits, mask, valid), (of_heads, of_batch, of_batch))
    sharded = jax.jit(loss)(*args)
    np.testing.assert_allclose(sharded, loss(logits, mask, valid), rtol=1e-6)
