"""Images into the network's frame: geometry by hand, and no defect ever vanishes."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_jax.data.geometry.letterbox import (
    Placement,
    jitter,
    letterbox_image,
    letterbox_mask,
    place,
    valid_area,
)
from defect_jax.runtime.errors import UserError


@pytest.mark.parametrize(
    ("native", "size", "max_scale", "max_stretch", "expected"),
    [
        ((300, 600), (128, 128), 1.0, 1.0, Placement(32, 0, 64, 128)),
        ((600, 300), (128, 128), 1.0, 1.0, Placement(0, 32, 128, 64)),
        ((641, 230), (672, 256), 1.0, 1.0, Placement(15, 13, 641, 230)),  # KSDD2: only padded
        ((64, 64), (128, 128), 1.0, 1.0, Placement(32, 32, 64, 64)),  # not enlarged above max_scale
        ((64, 64), (128, 128), 2.0, 1.0, Placement(0, 0, 128, 128)),
        ((1, 1000), (64, 64), 1.0, 1.0, Placement(31, 0, 1, 64)),  # one pixel high stays one pixel
        ((300, 600), (128, 128), 1.0, 1.5, Placement(16, 0, 96, 128)),  # room is left
        ((600, 300), (128, 128), 1.0, 9.0, Placement(0, 0, 128, 128)),  # filled, not beyond
        ((300, 100), (150, 150), 1.0, 9.0, Placement(0, 25, 150, 100)),  # nor above max_scale
    ],
)
def test_place_fits_stretches_and_centres(native, size, max_scale, max_stretch, expected):
    assert place(native, size, 0.0, max_scale, max_stretch, "x") == expected


def test_place_refuses_to_shrink_below_the_limit_and_names_the_image():
    with pytest.raises(UserError, match=r"part_7: 700x230 px does not fit .* 672x256"):
        place((700, 230), (672, 256), 1.0, 1.0, 9.0, "part_7")


def test_unscaled_image_and_mask_are_copied_exactly():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 65536, (5, 3, 1), np.uint16)
    mask = rng.random((5, 3)) < 0.3
    placement = place((5, 3), (8, 8), 1.0, 1.0, 1.0, "x")
    framed = letterbox_image(image, placement, (8, 8))
    inside = np.s_[1:6, 2:5]
    assert framed.dtype == np.uint16
    np.testing.assert_array_equal(framed[inside], image)
    mirrored = np.pad(image, ((1, 2), (2, 3), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal(framed, mirrored)
    ids = mask * rng.integers(1, 256, mask.shape).astype(np.uint8)
    for one in (mask, ids):
        expected = np.zeros((8, 8), np.uint8)
        expected[inside] = one
        placed = letterbox_mask(one, placement, (8, 8))
        assert placed.dtype == np.uint8
        np.testing.assert_array_equal(placed, expected)
    valid = valid_area(placement, (8, 8))
    assert valid[inside].all() and valid.sum() == 15


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)), st.integers(0, 10**6), st.floats(0.001, 0.5)
)
def test_no_defect_vanishes_and_none_reaches_the_padding(native, seed, share):
    rng = np.random.default_rng(seed)
    mask = rng.random(native) < share
    mask[rng.integers(native[0]), rng.integers(native[1])] = True
    placement = place(native, (16, 24), 0.0, 1.0, 1.0, "x")
    framed = letterbox_mask(mask, placement, (16, 24))
    assert framed.any()
    assert not framed[~valid_area(placement, (16, 24))].any()


def test_a_large_defect_keeps_its_area_and_a_thin_crack_its_length():
    mask = np.zeros((400, 400), bool)
    mask[100:300, 120:280] = True
    placement = place(mask.shape, (100, 100), 0.0, 1.0, 1.0, "x")
    assert letterbox_mask(mask, placement, (100, 100)).sum() == mask.sum() / 16
    crack = np.zeros((400, 400), bool)
    crack[np.arange(40, 360), 201] = True  # one px wide at a quarter of the size
    assert letterbox_mask(crack, placement, (100, 100)).any(axis=1).sum() == 80


def by_hand(mask, placement, size):
    """Which pixels are kept, by OpenCV's shares; and by how much each is over or under its half."""
    height, width = placement[2:]
    share = mask.astype(np.float32)
    smaller = min(width, mask.shape[1]), min(height, mask.shape[0])
    for target, method in ((smaller, cv2.INTER_AREA), ((width, height), cv2.INTER_LINEAR)):
        if target != share.shape[::-1]:
            share = cv2.resize(share, target, interpolation=method)
    framed, over = np.zeros(size, bool), np.full(size, -1, np.float32)
    inside = np.s_[placement.top : placement.top + height, placement.left : placement.left + width]
    around = cv2.dilate(share, np.ones((3, 3), np.uint8))
    framed[inside] = (share >= 0.5 * around) & (share > 0)
    over[inside] = np.where(around > 0, share - 0.5 * around, -1)
    return framed, over


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(1, 5),
    st.floats(0.001, 0.9),
    st.floats(0.3, 3.0),
    st.integers(0, 10**6),
)
def test_classes_do_not_change_which_pixels_are_kept(native, classes, share, scale, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, classes, native, np.uint8, endpoint=True) * (rng.random(native) < share)
    placement = place(native, (32, 48), 0.0, scale, 1.3, "x")
    framed = letterbox_mask(ids, placement, (32, 48))
    binary = letterbox_mask(ids > 0, placement, (32, 48))
    assert set(np.unique(framed)) <= set(np.unique(ids)) | {0}
    np.testing.assert_array_equal(framed > 0, binary)
    np.testing.assert_array_equal(
        letterbox_mask((ids > 0).astype(np.uint8), placement, (32, 48)), binary
    )
    if placement[2:] != native:
        expected, over = by_hand(ids > 0, placement, (32, 48))
        sure = np.abs(over) > 2e-5
        np.testing.assert_array_equal(binary[sure], expected[sure])
        assert binary[np.abs(over) < 1e-6].all()  # exact halves are kept


def test_a_kept_pixel_gets_the_class_that_covers_most_of_it():
    """Four blocks of 4x4 px become four pixels; shares counted by hand."""
    ids = np.zeros((4, 16), np.uint8)
    ids[:, :4] = [[3, 3, 3, 1], [3, 3, 1, 1], [3, 1, 1, 1], [9, 9, 9, 9]]  # 6 of 3, 6 of 1, 4 of 9
    ids[:, 4:8] = [[2, 2, 2, 2], [0, 0, 0, 0], [7, 7, 0, 0], [7, 7, 7, 0]]  # 4 of 2, 5 of 7, 7 of 0
    ids[:, 8:12] = 255
    framed = letterbox_mask(ids, Placement(1, 2, 1, 4), (3, 8))
    expected = np.zeros((3, 8), np.uint8)
    expected[1, 2:5] = 1, 7, 255
    np.testing.assert_array_equal(framed, expected)


def test_a_thin_crack_keeps_its_class_beside_another_defect():
    ids = np.zeros((400, 400), np.uint8)
    ids[np.arange(40, 360), 201] = 2
    ids[100:300, 240:280] = 1
    framed = letterbox_mask(ids, place(ids.shape, (100, 100), 0.0, 1.0, 1.0, "x"), (100, 100))
    assert (framed == 2).any(axis=1).sum() == 80 and (framed == 2).sum() == 80
    assert (framed == 1).sum() == 50 * 10


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.floats(0.0, 0.5),
    st.floats(0.0, 0.5),
    st.integers(0, 10**6),
)
def test_jitter_stays_in_the_frame_and_within_its_limits(native, shrink, stretch, seed):
    before = place(native, (32, 48), 0.0, 1.0, 1.0, "x")
    after = jitter(before, (32, 48), shrink, stretch, np.random.default_rng(seed))
    assert 0 <= after.top <= 32 - after.height and 0 <= after.left <= 48 - after.width
    for old, new in zip(before[2:], after[2:], strict=True):
        longest = old * np.exp(stretch / 2)
        shortest = old * (1 - shrink) * np.exp(-stretch / 2)
        assert shortest - 0.51 <= new <= longest + 0.51 or new == 1


def test_without_jitter_only_the_place_changes():
    before = place((30, 20), (32, 48), 0.0, 1.0, 1.0, "x")
    rng = np.random.default_rng(0)
    places = {jitter(before, (32, 48), 0.0, 0.0, rng)[:2] for _ in range(50)}
    assert len(places) > 20
    assert jitter(before, (32, 48), 0.0, 0.0, rng)[2:] == before[2:]
