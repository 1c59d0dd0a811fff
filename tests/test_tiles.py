"""Tiles cover an image, and are put together without a seam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from tiny_predictor import RULE, surface, tiny_config, tiny_network, tiny_predictor

from defect_jax.data.geometry.letterbox import letterbox_image, place
from defect_jax.data.geometry.stitching import strips
from defect_jax.data.geometry.tiles import Grid, TileAxis, later_share, mirrored
from defect_jax.models.probabilities import probabilities

TILED = {"data.tile_overlap_px": 16}
SIZES = [(32, 48), (33, 49), (100, 61), (300, 1), (5, 200), (7, 9)]
sides = st.integers(1, 12).flatmap(
    lambda half: st.builds(TileAxis, st.integers(1, 200), st.integers(2 * half, 60), st.just(half))
)


@given(sides)
def test_tiles_reach_over_a_side_and_no_further_than_they_must(side):
    covered = (side.tiles - 1) * side.stride_px + side.tile_px
    assert 0 <= covered - side.image_px < max(side.stride_px, side.tile_px)
    if side.tiles > 1:
        assert covered - side.stride_px < side.image_px
    seen = np.concatenate([side.image_positions(tile) for tile in range(side.tiles)])
    assert set(seen.tolist()) == set(range(side.image_px))
    assert 0 <= side.before_px <= (covered - side.image_px + 1) // 2


@given(st.integers(1, 40), st.integers(0, 90), st.integers(0, 90))
def test_mirroring_is_that_of_numpy(length, before, after):
    expected = np.pad(np.arange(length), (before, after), mode="symmetric")
    actual = mirrored(np.arange(-before, length + after), length)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("overlap_px", [1, 2, 7, 8, 64])
def test_two_tiles_share_their_overlap(overlap_px):
    share = later_share(overlap_px)
    np.testing.assert_allclose(share + share[::-1], 1.0, atol=1e-7)
    assert (np.diff(share) >= 0).all()
    quarter = overlap_px // 4
    assert (share[:quarter] == 0).all() and (share[len(share) - quarter :] == 1).all()


@pytest.mark.parametrize("native_px", [(20, 30), (32, 48), (1, 48), (3, 5)])
def test_an_image_that_fits_is_the_frame_of_the_letterbox(native_px):
    config = tiny_config(**TILED)
    image = surface(*native_px)[..., None]
    (tile,) = Grid.of(native_px, config.data.size, config.data.tile_overlap_px).cut(image)
    placement = place(native_px, (32, 48), 1.0, 1.0, 1.0, "x")
    np.testing.assert_array_equal(tile, letterbox_image(image, placement, (32, 48)))


@settings(max_examples=25)
@given(sides, sides, st.integers(0, 2**32 - 1))
def test_tiles_of_an_image_make_the_image(rows, columns, seed):
    shape = (rows.image_px, columns.image_px, 2)
    image = np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)
    grid = Grid(rows, columns)
    parts = list(strips(grid.cut(image), grid))
    assert all(len(part) > 0 for part in parts)
    np.testing.assert_array_equal(np.concatenate(parts), image)


def naive(tiles, grid):
    """Every tile times a weight of its own, divided by the sum of weights."""
    weights = []
    for side in (grid.rows, grid.columns):
        ramp = np.ones((side.tiles, side.tile_px))
        share = later_share(side.overlap_px)
        ramp[1:, : side.overlap_px] = share
        ramp[:-1, side.stride_px :] = share[::-1]
        weights.append(ramp)
    shape = [(side.tiles - 1) * side.stride_px + side.tile_px for side in (grid.rows, grid.columns)]
    total, weight = np.zeros((*shape, tiles[0].shape[-1])), np.zeros((*shape, 1))
    tiles = iter(tiles)
    for row in range(grid.rows.tiles):
        for column in range(grid.columns.tiles):
            part = tuple(
                slice(place * side.stride_px, place * side.stride_px + side.tile_px)
                for place, side in ((row, grid.rows), (column, grid.columns))
            )
            here = np.outer(weights[0][row], weights[1][column])[..., None]
            total[part] += here * next(tiles)
            weight[part] += here
    inside = tuple(
        slice(side.before_px, side.before_px + side.image_px) for side in (grid.rows, grid.columns)
    )
    return (total / weight)[inside]


@settings(max_examples=25)
@given(sides, sides, st.integers(0, 2**32 - 1))
def test_overlapping_maps_are_a_weighted_mean(rows, columns, seed):
    grid, rng = Grid(rows, columns), np.random.default_rng(seed)
    count = rows.tiles * columns.tiles
    maps = rng.random((count, rows.tile_px, columns.tile_px, 2), np.float32)
    actual = np.concatenate(list(strips(maps, grid)))
    np.testing.assert_allclose(actual, naive(maps, grid), atol=1e-6)


@pytest.fixture(scope="module")
def whole():
    """A network of two rows, which sees 11 px round a pixel, and its map of a whole image."""
    config = tiny_config(**{"data.size": (96, 96)})
    network, average = tiny_network(config)

    @jax.jit
    def probability(image):
        return probabilities(network.apply(average, image, train=False)).mask

    image = np.random.default_rng(0).normal(size=(200, 250, 1)).astype(np.float32)
    return probability, image


def difference(whole, overlap_px):
    """Between the map of an image's tiles and that of all they cover at once."""
    probability, image = whole
    grid = Grid(*(TileAxis(length, 96, overlap_px) for length in image.shape[:2]))
    tiles = np.stack(list(grid.cut(image)))
    stitched = np.concatenate(list(strips(np.asarray(probability(jnp.asarray(tiles))), grid)))
    covered = [
        (side.tiles - 1) * side.stride_px + side.tile_px for side in (grid.rows, grid.columns)
    ]
    one = Grid(*(TileAxis(n, c, 0) for n, c in zip(image.shape[:2], covered, strict=True)))
    (frame,) = one.cut(image)
    at_once = np.asarray(probability(jnp.asarray(frame[None])))[0]
    place = slice(one.rows.before_px, one.rows.before_px + 200), slice(one.columns.before_px, None)
    return np.abs(stitched - at_once[place][:, :250]).max()


def test_a_seam_is_invisible_where_the_overlap_holds_what_the_network_sees(whole):
    assert difference(whole, 48) < 1e-5  # a quarter of the overlap is 12 px
    assert difference(whole, 2) > 1e-3  # so the comparison can tell


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.num_classes": 2, "data_info.classes": ["a", "b"]},
        {"model.classification_head": False},
        {"data_info.channels": 3, "data_info.bit_depth": 16},
    ],
)
def test_a_decision_through_tiles_is_what_the_network_says_of_each(changes):
    config = tiny_config(**TILED, **changes)
    network, average = tiny_network(config)
    apply = jax.jit(lambda image: network.apply(average, image, train=False))
    predictor = tiny_predictor(**TILED, **changes)
    channels, dtype = config.data_info.channels, f"uint{config.data_info.bit_depth}"
    marked = []
    for seed, native_px in enumerate(SIZES):
        image = surface(*native_px, channels, np.dtype(dtype), seed).reshape(*native_px, channels)
        grid = Grid.of(native_px, config.data.size, config.data.tile_overlap_px)
        maps, labels = [], []
        for tile in grid.cut(image):
            seen = (np.float32(tile) / np.iinfo(dtype).max - 0.4) / 0.2
            outputs = apply(jnp.asarray(seen[None], jnp.float32))
            logits = np.float64(outputs.mask_logits[:, 0])
            classes = "data_info.classes" in changes
            heads = special.softmax(logits, -1)[..., 1:] if classes else special.expit(logits)
            maps.append(heads.mean(0))
            labels += [] if outputs.label_logits is None else [float(outputs.label_logits[0])]
        expected = naive(maps, grid)
        probability = expected.sum(-1)
        decision = predictor.predict(image)
        assert decision.mask_score == pytest.approx(probability.max(), abs=2e-5)
        score = special.expit(max(labels)) if labels else probability.max()
        assert decision.score == pytest.approx(score, abs=2e-5)
        mask = np.where(probability >= RULE.pixel_threshold, 1 + expected.argmax(-1), 0)
        reaches = probability.max() >= RULE.mask_threshold
        mask *= reaches and np.count_nonzero(mask) >= RULE.min_area_px
        assert (decision.mask != mask).sum() <= 1e-4 * mask.size
        marked.append(decision.mask_rejected)
    assert any(marked)


def test_images_are_decided_alone_as_among_others():
    images = [surface(*native_px, seed=seed) for seed, native_px in enumerate(SIZES[:4])]
    by_four, by_one = tiny_predictor(**TILED), tiny_predictor(batch_size=1, **TILED)
    for together, image in zip(by_four.predict(images), images, strict=True):
        alone = by_one.predict(image)
        np.testing.assert_array_equal(together.mask, alone.mask)
        assert together.score == pytest.approx(alone.score, abs=1e-6)
