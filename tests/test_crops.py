"""Which part of an image training sees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defect_jax.data.geometry.crops import Window, choose, part, place_window, window_px
from defect_jax.data.geometry.letterbox import letterbox_image, letterbox_mask, valid_area
from defect_jax.data.geometry.tiles import TileAxis
from defect_jax.data.pipeline.sampling import SamplingPlan

LABELS = (1, 0, 1, 1, 0, 1)


def test_wishes_are_balanced_and_tiles_without_a_defect_are_of_every_image():
    plan = SamplingPlan(LABELS, 120, 0.5, seed=3, good_are_of_good=False)
    requests = [plan[position] for position in range(len(plan))]
    rows = {wanted: [w.row for w in requests if w.defective is wanted] for wanted in (True, False)}
    assert len(rows[True]) == len(rows[False]) == 60
    assert {row: rows[True].count(row) for row in (0, 2, 3, 5)} == dict.fromkeys((0, 2, 3, 5), 15)
    assert {row: rows[False].count(row) for row in range(6)} == dict.fromkeys(range(6), 10)


def test_without_a_share_every_image_comes_as_it_is():
    plan = SamplingPlan(LABELS, 12, None, seed=3, good_are_of_good=False)
    requests = [plan[position] for position in range(12)]
    assert {wish.defective for wish in requests} == {None}
    assert sorted(wish.row for wish in requests) == sorted(2 * list(range(6)))


@settings(max_examples=50)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(2, 40), st.integers(2, 40)),
    st.integers(0, 20),
    st.sampled_from([True, False, None]),
    st.integers(0, 2**32 - 1),
)
def test_a_window_shows_what_is_wished_for(image_px, sides, overlap_px, wanted, seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros(image_px, np.uint8)
    defect = [slice(a := int(rng.integers(n)), a + 5) for n in image_px]
    mask[tuple(defect)] = 2
    window = choose(mask, sides, overlap_px, wanted, rng)
    seen = part(mask, window)
    assert seen.size and window[2:] == sides
    if wanted:
        assert seen.any()
    for axis, length in enumerate(image_px):
        start, side = window[axis], sides[axis]
        if length <= side:
            assert length - side <= start <= 0  # the whole of it
        else:
            beyond = TileAxis(length, side, min(overlap_px, side // 2)).before_px
            assert -beyond <= start <= length - side + beyond


def test_a_tile_without_a_defect_is_found_beside_one():
    mask = np.zeros((60, 200), np.uint8)
    mask[:, 100:103] = 1
    rng = np.random.default_rng(0)
    windows = [choose(mask, (32, 32), 8, False, rng) for _ in range(50)]
    assert not any(part(mask, window).any() for window in windows)
    assert len({window.left for window in windows}) > 20


def test_small_defects_are_seen_as_often_as_large_ones():
    mask = np.zeros((100, 400), np.uint8)
    mask[10:90, 10:90] = 1
    mask[50, 350] = 1
    rng = np.random.default_rng(0)
    windows = [choose(mask, (32, 32), 8, True, rng) for _ in range(400)]
    small = sum(window.left > 200 for window in windows)
    assert 160 < small < 240  # 200 ± 4 standard deviations
    assert len({(350 - window.left, 50 - window.top) for window in windows}) > 100  # anywhere in it


@pytest.mark.parametrize(
    "window", [Window(-4, 6, 16, 16), Window(0, 0, 16, 16), Window(9, 30, 16, 16)]
)
def test_a_part_is_placed_where_its_window_has_it(window):
    image = np.random.default_rng(0).integers(0, 256, (20, 40, 1)).astype(np.uint8)
    placement = place_window(window, (20, 40), (16, 16))
    frame = letterbox_image(part(image, window), placement, (16, 16))
    rows, columns = (np.arange(16) + start for start in window[:2])
    inside = np.ix_((rows >= 0) & (rows < 20), (columns >= 0) & (columns < 40))
    np.testing.assert_array_equal(
        frame[inside],
        image[np.ix_(rows[(rows >= 0) & (rows < 20)], columns[(columns >= 0) & (columns < 40)])],
    )
    expected = np.outer((rows >= 0) & (rows < 20), (columns >= 0) & (columns < 40))
    np.testing.assert_array_equal(valid_area(placement, (16, 16)), expected)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_a_larger_window_is_shrunk_into_the_frame(seed):
    rng = np.random.default_rng(seed)
    sides = window_px((32, 48), 0.3, 0.3, rng)
    for side, frame in zip(sides, (32, 48), strict=True):
        assert frame / 1.17 <= side <= frame * 1.17 / 0.7
    mask = np.zeros((100, 140), np.uint8)
    mask[40, 60] = 1
    window = choose(mask, sides, 16, True, rng)
    placement = place_window(window, mask.shape, (32, 48))
    assert placement.top >= 0 and placement.top + placement.height <= 32
    assert placement.left >= 0 and placement.left + placement.width <= 48
    assert letterbox_mask(part(mask, window), placement, (32, 48)).any()


def test_no_window_is_larger_or_smaller_unless_asked_for():
    assert window_px((32, 48), 0.0, 0.0, np.random.default_rng(0)) == (32, 48)
