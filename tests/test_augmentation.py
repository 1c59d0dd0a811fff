"""Augmentation: the mask moves with the image, and no defect leaves the frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from defect_jax.data.pipeline.augmentation import Augment, _noise, _shift, _tones

OFF = {
    "flip_horizontal": False,
    "flip_vertical": False,
    "shift_px": 0,
    "brightness": 0.0,
    "contrast": 0.0,
    "gamma": 0.0,
    "noise": 0.0,
    "blur_px": 0.0,
}
ALL = {
    "flip_horizontal": True,
    "flip_vertical": True,
    "shift_px": 4,
    "brightness": 0.2,
    "contrast": 0.2,
    "gamma": 0.2,
    "noise": 0.05,
    "blur_px": 1.0,
}
GOLDEN = [-0.222188, 0.842407, -0.109785, 0.111251, 1.040749, 0.572324]
GOLDEN_SUM = 61.147194


def element(seed=0, shape=(12, 16, 1)):
    """Shares of which some are beyond the range."""
    rng = np.random.default_rng(seed)
    valid = np.zeros(shape[:2], bool)
    valid[1:-2, 2:-1] = True
    defect = valid & (rng.random(shape[:2]) < 0.1)
    image = np.float32(rng.integers(-100, 356, shape) / 255)
    mask = defect * rng.integers(1, 4, shape[:2], np.uint8)
    told = {"label": np.float32(mask.any()), "masked": np.float32(1.0)}
    return {"image": image, "mask": mask, "valid": valid} | told


def test_everything_off_changes_nothing():
    before = element()
    after = Augment(**OFF).random_map(dict(before), np.random.default_rng(1))
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])


@given(st.integers(0, 10**6))
def test_mask_and_valid_move_with_the_image(seed):
    """The image carries its own mask as values, so the two can be compared afterwards."""
    before = element(seed)
    before["image"] = np.where(before["valid"], 50, 90)
    before["image"] = np.where(before["mask"], 200 + before["mask"], before["image"])
    before["image"] = before["image"].astype(np.float32)[..., None]
    moves = OFF | {"flip_horizontal": True, "flip_vertical": True, "shift_px": 4}
    after = Augment(**moves).random_map(dict(before), np.random.default_rng(seed))
    defect = after["mask"] > 0
    assert after["mask"].dtype == np.uint8 and after["valid"].dtype == bool
    np.testing.assert_array_equal(after["image"][defect, 0], 200 + after["mask"][defect])
    seen = after["image"][after["valid"] & ~defect, 0]
    assert set(seen.tolist()) <= {50}
    np.testing.assert_array_equal(np.bincount(after["mask"].flat), np.bincount(before["mask"].flat))


@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
def test_shape_type_and_label_stay_and_no_defect_pixel_is_lost(seed, channels):
    before = element(seed, (12, 16, channels))
    copy = before["image"].copy()
    after = Augment(**ALL).random_map(dict(before), np.random.default_rng(seed))
    np.testing.assert_array_equal(before["image"], copy)
    assert after["image"].shape == before["image"].shape and after["image"].dtype == np.float32
    assert np.isfinite(after["image"]).all()
    assert after["label"] == before["label"]
    assert after["mask"].sum() == before["mask"].sum()
    assert not after["mask"][~after["valid"]].any()


@pytest.mark.parametrize("change", ["brightness", "contrast", "gamma", "noise", "blur_px"])
def test_each_change_of_tones_acts_within_its_limit(change):
    before = element(3, (64, 64, 1))
    before["image"] = np.clip(before["image"], 0.25, 0.75)
    augment = Augment(**(OFF | {change: 0.1 if change != "blur_px" else 1.0}))
    differences = [
        augment.random_map(dict(before), np.random.default_rng(seed))["image"] - before["image"]
        for seed in range(20)
    ]
    means = [abs(d.mean()) for d in differences]
    assert max(np.abs(d).max() for d in differences) > 0
    assert max(means) <= 0.1


@pytest.mark.parametrize("seed", range(5))
def test_tones_keep_the_order_of_values_inside_and_beyond_the_range(seed):
    values = np.linspace(-3.0, 4.0, 1401, dtype=np.float32).reshape(1, -1, 1)
    after = _tones(values, 0.2, 0.2, 0.4, np.random.default_rng(seed))
    assert (np.diff(after[0, :, 0]) > 0.0).all()
    rng = np.random.default_rng(seed)
    offset, gain = rng.uniform(-0.2, 0.2), 1.0 + rng.uniform(-0.2, 0.2)
    exponent = np.exp(rng.uniform(-0.4, 0.4))
    bent = np.where((values > 0.0) & (values < 1.0), np.abs(values) ** exponent, values)
    np.testing.assert_allclose(after, (bent - 0.5) * gain + 0.5 + offset, atol=2e-6)


def test_golden_values_of_a_fixed_image():
    """These change what every run sees: a new NumPy or OpenCV that changes them must be noticed."""
    after = Augment(**(ALL | {"blur_px": 0.0})).random_map(element(5), np.random.default_rng(7))
    np.testing.assert_allclose(after["image"][4, 4:10, 0], GOLDEN, atol=1e-5)
    assert float(after["image"].sum()) == pytest.approx(GOLDEN_SUM, abs=1e-3)


@pytest.mark.parametrize("strength", [0.01, 0.2])
def test_noise_has_its_strength_and_is_fresh_for_each_image_and_pixel(strength):
    image = np.full((256, 256, 3), 0.5, np.float32)
    found = []
    for seed in range(2):
        noisy = _noise(image, strength, np.random.default_rng(seed))
        values = noisy[..., 0].astype(float) - 0.5
        np.testing.assert_array_equal(noisy[..., 1:], np.repeat(noisy[..., :1], 2, axis=-1))
        expected = np.random.default_rng(seed).uniform(0.0, strength)
        assert values.std() == pytest.approx(expected, rel=0.07)
        assert abs(values.mean()) < 4 * expected / 256
        for axis in (0, 1):  # neighbours know nothing of each other
            assert abs((values * np.roll(values, 1, axis)).mean()) < 0.02 * values.std() ** 2
        found.append(values / values.std())
    assert abs(np.mean(found[0] * found[1])) < 0.02


def test_noise_of_many_images_is_gaussian():
    image = np.full((64, 64, 1), 0.5, np.float32)
    values = []
    for seed in range(400):
        strength = np.random.default_rng(seed).uniform(0.0, 0.1)
        noisy = _noise(image, 0.1, np.random.default_rng(seed)).astype(float)
        values.append((noisy - 0.5) / strength)
    pooled = np.concatenate(values).ravel()
    assert stats.kstest(pooled, "norm").statistic < 0.002
    for moment, expected in ((2, 1.0), (4, 3.0)):
        assert (pooled**moment).mean() == pytest.approx(expected, rel=0.02)
    share = (np.abs(pooled) > 3.0).mean()  # 256 values alone would end at 2.9
    assert share == pytest.approx(2 * stats.norm.sf(3.0), rel=0.1)
    assert np.abs(pooled).max() > 4.0


@pytest.mark.parametrize("channels", [1, 3])
def test_a_shift_repeats_the_border(channels):
    before = element(2, (12, 16, channels))
    before["mask"][:] = 0
    planes = {name: before[name] for name in ("image", "mask", "valid")}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        down, right = (int(rng.integers(-4, 5)) for _ in range(2))
        after = _shift(planes, None, 4, np.random.default_rng(seed))
        rows = (np.arange(12) - down).clip(0, 11)[:, None]
        columns = (np.arange(16) - right).clip(0, 15)
        np.testing.assert_array_equal(after["image"], before["image"][rows, columns])
        from_rows, from_columns = np.arange(12)[:, None] - down, np.arange(16) - right
        inside = (from_rows == rows) & (from_columns == columns)
        np.testing.assert_array_equal(after["valid"], before["valid"][rows, columns] & inside)


@pytest.mark.parametrize("seed", range(4))
def test_each_of_sixteen_channels_is_changed_as_if_it_were_alone(seed):
    before = element(seed, (12, 16, 16))
    after = Augment(**ALL).random_map(dict(before), np.random.default_rng(seed))
    for channel in range(16):
        alone = before | {"image": before["image"][..., channel : channel + 1].copy()}
        expected = Augment(**ALL).random_map(alone, np.random.default_rng(seed))
        np.testing.assert_allclose(
            after["image"][..., channel], expected["image"][..., 0], atol=1e-6
        )
        np.testing.assert_array_equal(after["mask"], expected["mask"])
