"""Images at another size: against OpenCV's averages and a closed form, and parts of the whole."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_jax.data.geometry.resampling import resampled

SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))
SEEDS = st.integers(0, 10**6)


def averages(old_px, new_px):
    """Exactly which share of each new pixel each old one covers."""
    scale = Fraction(old_px, new_px)
    return np.array(
        [
            [float(max(0, min(i + 1, (k + 1) * scale) - max(i, k * scale)) / scale)
             for i in range(old_px)]
            for k in range(new_px)
        ]
    )  # fmt: skip


@given(SIZES, SIZES, st.sampled_from([1, 3]), SEEDS)
def test_each_pixel_is_the_mean_of_what_it_covers(first, second, channels, seed):
    native, size = (
        tuple(side(pair) for pair in zip(first, second, strict=True)) for side in (max, min)
    )
    image = np.random.default_rng(seed).random((*native, channels), np.float32)
    rows, columns = (averages(*lengths) for lengths in zip(native, size, strict=True))
    expected = np.einsum("ij,jkc,lk->ilc", rows, image, columns)
    np.testing.assert_allclose(resampled(image, size), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, 1e-6), (np.uint8, 1), (np.uint16, 1)]
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "size", [(23, 31), (23, 50), (40, 31), (61, 90), (61, 50), (12, 90), (1, 1)]
)
def test_numbers_are_opencvs(dtype, tolerance, channels, size):
    """Up to one step of whole numbers: OpenCV rounds its weights when it enlarges those."""
    image = np.random.default_rng(0).random((40, 50, channels), np.float32)
    if dtype is not np.float32:
        image = (image * np.iinfo(dtype).max).astype(dtype)
    smaller = min(size[1], 50), min(size[0], 40)
    expected = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    expected = cv2.resize(expected, size[::-1], interpolation=cv2.INTER_LINEAR)
    found = resampled(image, size)
    assert found.dtype == dtype and found.shape == (*size, channels)
    difference = np.abs(found.astype(np.float64) - expected.reshape(found.shape))
    assert difference.max() <= tolerance


@given(SIZES, SIZES, SEEDS)
def test_a_part_is_the_part_of_the_whole(native, size, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*native, 1), np.uint8)
    starts = [int(rng.integers(length)) for length in size]
    ends = [int(rng.integers(*pair)) + 1 for pair in zip(starts, size, strict=True)]
    part = tuple(map(slice, starts, ends))
    np.testing.assert_array_equal(resampled(image, size, *part), resampled(image, size)[part])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_even_images_stay_even_up_to_the_brightest(dtype):
    for value in (0, 1, np.iinfo(dtype).max):
        for size in ((7, 90), (33, 20)):
            found = resampled(np.full((30, 40, 3), value, dtype), size)
            assert found.dtype == dtype and (found == value).all()


def test_its_own_size_is_the_same_image():
    image = np.random.default_rng(0).integers(0, 65536, (5, 3, 1), np.uint16)
    np.testing.assert_array_equal(resampled(image, (5, 3)), image)


@pytest.mark.parametrize("channels", [4, 5, 7, 16])
def test_each_channel_is_scaled_as_if_it_were_alone(channels):
    image = np.random.default_rng(channels).random((13, 17, channels)).astype(np.float32)
    scaled = resampled(image, (9, 23))
    for channel in range(channels):
        alone = resampled(image[..., channel : channel + 1].copy(), (9, 23))
        np.testing.assert_allclose(scaled[..., channel], alone[..., 0], atol=1e-6)
