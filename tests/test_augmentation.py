"""Augmentation: the mask moves with the image, and no defect leaves the frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from defect_jax.data.pipeline.augmentation import Augment, _noise, _shift

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


def element(seed=0, shape=(12, 16, 1), dtype=np.uint8):
    rng = np.random.default_rng(seed)
    valid = np.zeros(shape[:2], bool)
    valid[1:-2, 2:-1] = True
    defect = valid & (rng.random(shape[:2]) < 0.1)
    image = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    mask = defect * rng.integers(1, 4, shape[:2], np.uint8)
    return {"image": image, "mask": mask, "valid": valid, "label": np.float32(mask.any())}


def test_everything_off_changes_nothing():
    before = element()
    after = Augment(**OFF).random_map(dict(before), np.random.default_rng(1))
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])


@given(st.integers(0, 10**6))
def test_mask_and_valid_move_with_the_image(seed):
    """The image carries its own mask as grey values, so the two can be compared afterwards."""
    before = element(seed)
    before["image"] = np.where(before["valid"], 50, 90)
    before["image"] = np.where(before["mask"], 200 + before["mask"], before["image"])
    before["image"] = before["image"].astype(np.uint8)[..., None]
    moves = OFF | {"flip_horizontal": True, "flip_vertical": True, "shift_px": 4}
    after = Augment(**moves).random_map(dict(before), np.random.default_rng(seed))
    defect = after["mask"] > 0
    assert after["mask"].dtype == np.uint8 and after["valid"].dtype == bool
    np.testing.assert_array_equal(after["image"][defect, 0], 200 + after["mask"][defect])
    seen = after["image"][after["valid"] & ~defect, 0]
    assert set(seen.tolist()) <= {50}
    np.testing.assert_array_equal(np.bincount(after["mask"].flat), np.bincount(before["mask"].flat))


@given(st.integers(0, 10**6), st.sampled_from([np.uint8, np.uint16]), st.sampled_from([1, 3]))
def test_shape_type_and_label_stay_and_no_defect_pixel_is_lost(seed, dtype, channels):
    before = element(seed, (12, 16, channels), dtype)
    after = Augment(**ALL).random_map(dict(before), np.random.default_rng(seed))
    assert after["image"].shape == before["image"].shape and after["image"].dtype == dtype
    assert after["label"] == before["label"]
    assert after["mask"].sum() == before["mask"].sum()
    assert not after["mask"][~after["valid"]].any()


@pytest.mark.parametrize("change", ["brightness", "contrast", "gamma", "noise", "blur_px"])
def test_each_change_of_tones_acts_within_its_limit(change):
    before = element(3, (64, 64, 1))
    before["image"] = np.clip(before["image"], 60, 190)
    augment = Augment(**(OFF | {change: 0.1 if change != "blur_px" else 1.0}))
    differences = [
        augment.random_map(dict(before), np.random.default_rng(seed))["image"].astype(float)
        - before["image"]
        for seed in range(20)
    ]
    means = [abs(d.mean()) for d in differences]
    assert max(np.abs(d).max() for d in differences) > 0
    assert max(means) <= 0.1 * 255 + 1


def test_golden_values_of_a_fixed_image():
    """These change what every run sees: a new NumPy or OpenCV that changes them must be noticed."""
    after = Augment(**(ALL | {"blur_px": 0.0})).random_map(element(5), np.random.default_rng(7))
    assert after["image"][4, 4:10, 0].tolist() == [69, 72, 162, 154, 102, 19]
    assert int(after["image"].sum()) == 17305


@pytest.mark.parametrize(("dtype", "strength"), [(np.uint8, 0.01), (np.uint16, 0.2)])
def test_noise_has_its_strength_and_is_fresh_for_each_image_and_pixel(dtype, strength):
    top = np.iinfo(dtype).max
    image = np.full((256, 256, 3), top // 2, dtype)
    found = []
    for seed in range(2):
        noisy = _noise(image, strength, np.random.default_rng(seed))
        values = (noisy[..., 0].astype(float) - top // 2) / top
        np.testing.assert_array_equal(noisy[..., 1:], np.repeat(noisy[..., :1], 2, axis=-1))
        expected = np.random.default_rng(seed).uniform(0.0, strength)
        rounding = 1.0 / 12.0 / top**2
        assert values.std() == pytest.approx(np.sqrt(expected**2 + rounding), rel=0.07)
        assert abs(values.mean()) < 4 * expected / 256
        for axis in (0, 1):  # neighbours know nothing of each other
            assert abs((values * np.roll(values, 1, axis)).mean()) < 0.02 * values.std() ** 2
        found.append(values / values.std())
    assert abs(np.mean(found[0] * found[1])) < 0.02


def test_noise_of_many_images_is_gaussian():
    image = np.full((64, 64, 1), 2**15, np.uint16)
    values = []
    for seed in range(400):
        strength = np.random.default_rng(seed).uniform(0.0, 0.1)
        noisy = _noise(image, 0.1, np.random.default_rng(seed)).astype(float)
        values.append((noisy - 2**15) / 65535 / strength)
    pooled = np.concatenate(values).ravel()
    assert stats.kstest(pooled, "norm").statistic < 0.002
    for moment, expected in ((2, 1.0), (4, 3.0)):
        assert (pooled**moment).mean() == pytest.approx(expected, rel=0.02)
    share = (np.abs(pooled) > 3.0).mean()  # 256 values alone would end at 2.9
    assert share == pytest.approx(2 * stats.norm.sf(3.0), rel=0.1)
    assert np.abs(pooled).max() > 4.0


def test_noise_stops_at_black_and_white():
    for value in (0, 255):
        noisy = _noise(np.full((64, 64, 1), value, np.uint8), 0.1, np.random.default_rng(0))
        assert set(np.unique(np.abs(noisy.astype(int) - value))) <= set(range(100))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_shift_repeats_the_border(dtype, channels):
    before = element(2, (12, 16, channels), dtype)
    before["mask"][:] = 0
    planes = {name: before[name] for name in ("image", "mask", "valid")}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        down, right = (int(rng.integers(-4, 5)) for _ in range(2))
        after = _shift(planes, 4, np.random.default_rng(seed))
        rows = (np.arange(12) - down).clip(0, 11)[:, None]
        columns = (np.arange(16) - right).clip(0, 15)
        np.testing.assert_array_equal(after["image"], before["image"][rows, columns])
        from_rows, from_columns = np.arange(12)[:, None] - down, np.arange(16) - right
        inside = (from_rows == rows) & (from_columns == columns)
        np.testing.assert_array_equal(after["valid"], before["valid"][rows, columns] & inside)
