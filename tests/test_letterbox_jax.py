"""The size rule inside a program: OpenCV's letterbox of the loader, at any size, also symbolic."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import export

from defect_jax.data.geometry import letterbox, letterbox_jax
from defect_jax.data.geometry.unletterbox import unletterbox

TOLERANCE = 1e-5  # of the full range: both add float32 numbers, in another order
SIDES = st.integers(1, 3000)


@given(
    native=st.tuples(SIDES, SIDES),
    size=st.tuples(st.integers(1, 1024), st.integers(1, 1024)),
    max_scale=st.sampled_from((0.1, 0.5, 1.0, 1.7, 8.0)),
    max_stretch=st.sampled_from((1.0, 1.3, 9.0)),
)
def test_an_image_is_placed_where_the_loader_places_it(native, size, max_scale, max_stretch):
    expected = letterbox.place(native, size, 0.0, max_scale, max_stretch, "x")
    found = letterbox_jax.place(native, size, max_scale, max_stretch)
    assert tuple(found.tolist()) == expected


# Shrunk, enlarged, one of each, untouched, one pixel wide, mirrored more than once.
CASES = [
    ((300, 611), (64, 128), 1.0, 1.0),
    ((96, 64), (48, 32), 1.0, 1.0),
    ((20, 31), (64, 64), 8.0, 1.0),
    ((90, 20), (64, 64), 8.0, 9.0),
    ((40, 40), (40, 40), 1.0, 1.0),
    ((700, 1), (64, 32), 1.0, 1.0),
    ((3, 2), (33, 40), 1.0, 1.0),
    ((1, 1), (32, 32), 1.0, 1.0),
]


@pytest.mark.parametrize(("native", "size", "max_scale", "max_stretch"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_scaled_and_padded_as_the_loader_does(
    native, size, max_scale, max_stretch, channels
):
    image = np.random.default_rng(0).random((*native, channels), np.float32)
    placement = letterbox.place(native, size, 0.0, max_scale, max_stretch, "x")
    expected = letterbox.letterbox_image(image, placement, size)
    place = letterbox_jax.place(native, size, max_scale, max_stretch)
    found = letterbox_jax.letterbox_image(jnp.asarray(image)[None], place, size)
    np.testing.assert_allclose(found[0], expected, atol=TOLERANCE)


def test_one_program_serves_every_size():
    """Exported once with unknown batch and sides: there and back again as with known ones."""

    def there_and_back(image):
        batch, height, width, _ = image.shape
        placement = letterbox_jax.place((height, width), (16, 24), 1.0, 1.0)
        frame = letterbox_jax.letterbox_image(image, placement, (16, 24))[..., 0] / 255
        places, native = letterbox_jax.on_canvas(placement, batch, (height, width))
        return unletterbox(frame, places, native, (height, width))

    shape = jax.ShapeDtypeStruct(export.symbolic_shape("b, h, w, 1"), jnp.uint8)
    exported = export.export(jax.jit(there_and_back))(shape)
    known = functools.partial(jax.jit, there_and_back)
    for size in ((1, 30, 50, 1), (3, 16, 24, 1), (2, 5, 100, 1)):
        image = np.random.default_rng(1).integers(0, 256, size, np.uint8)
        found = exported.call(image)
        assert found.shape == size[:3]
        np.testing.assert_allclose(found, known()(image), atol=1e-6)
