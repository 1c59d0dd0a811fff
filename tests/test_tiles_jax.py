"""Tiles inside a program: what the loader cuts and NumPy stitches, at any size, also symbolic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import export

from defect_jax.data.geometry import tiles
from defect_jax.data.geometry.stitching import strips
from defect_jax.data.geometry.tiles_jax import TileAxis, through_tiles
from defect_jax.models.probabilities import Probabilities

SIZE_PX, OVERLAP_PX = (16, 24), 8  # half of one side: every row of a tile is shared
TOLERANCE = 1e-6


@given(st.integers(1, 400), st.integers(1, 64), st.integers(1, 32))
def test_a_side_has_the_tiles_that_the_loader_cuts(image_px, tile_px, overlap_px):
    side = image_px, max(tile_px, 2 * overlap_px), overlap_px
    expected, found = tiles.TileAxis(*side), TileAxis(*side)
    assert (found.tiles, found.before_px) == (expected.tiles, expected.before_px)


@pytest.mark.parametrize("image_px", [1, 2, 7, 16, 17, 100])
def test_a_tile_shows_the_pixels_that_the_loader_cuts(image_px):
    expected, found = tiles.TileAxis(image_px, 16, 5), TileAxis(image_px, 16, 5)
    for tile in range(expected.tiles):
        np.testing.assert_array_equal(found.image_positions(tile), expected.image_positions(tile))


def predict(tile):
    """Maps that differ by where in its tile a pixel is, so that no seam would stay hidden."""
    seen = tile.astype(jnp.float32).sum(-1) / 765
    down, across = (jnp.linspace(0.1, 1.0, size_px) for size_px in SIZE_PX)
    place = jnp.broadcast_to(down[None, ::-1, None] * across[None, None], seen.shape)
    maps = jnp.stack([seen * place, seen**2, 1.0 - place], axis=-1)
    return Probabilities(maps, seen.mean((1, 2)))


def by_hand(image):
    """The same of one image [h w c], from the tiles of the loader."""
    grid = tiles.Grid(
        *(
            tiles.TileAxis(native, size, OVERLAP_PX)
            for native, size in zip(image.shape[:2], SIZE_PX, strict=True)
        )
    )
    seen = jax.jit(predict)(np.stack(list(grid.cut(image))))
    return np.concatenate(list(strips(np.asarray(seen.mask), grid))), float(seen.label.max())


def looked_at(image):
    return tuple(through_tiles(predict, image, SIZE_PX, OVERLAP_PX, 3))[:2]


# One pixel wide, smaller than a tile, exactly one, one pixel more, many of an odd size.
SIZES = [(1, 1, 1), (70, 1, 1), (5, 9, 3), (16, 24, 1), (17, 24, 1), (16, 25, 3), (61, 103, 1)]


@pytest.mark.parametrize("shape", SIZES)
def test_maps_are_stitched_as_numpy_does(shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    mask, label = jax.jit(looked_at)(images)
    assert mask.shape == (2, *shape[:2], 3)
    for image, one, score in zip(images, mask, label, strict=True):
        expected, highest = by_hand(image)
        np.testing.assert_allclose(one, expected, atol=TOLERANCE)
        assert float(score) == pytest.approx(highest, abs=TOLERANCE)


def test_one_program_serves_every_size():
    """Exported once with unknown batch and sides, and without a label."""

    def maps_of(image):
        def unlabelled(tile):
            return Probabilities(predict(tile).mask, None)

        predicted = through_tiles(unlabelled, image, SIZE_PX, OVERLAP_PX, 3)
        assert predicted.label is None
        return predicted.mask

    shape = jax.ShapeDtypeStruct(export.symbolic_shape("b, h, w, 1"), jnp.uint8)
    exported = export.export(jax.jit(maps_of))(shape)
    assert exported.mlir_module().count("stablehlo.while") == 2
    for size in ((1, 3, 100), (2, 40, 25)):
        images = np.random.default_rng(1).integers(0, 256, (*size, 1), np.uint8)
        found = exported.call(images)
        assert found.shape == (*size, 3)
        np.testing.assert_allclose(found[-1], by_hand(images[-1])[0], atol=TOLERANCE)
