"""Maps back to native size, against a plain NumPy bilinear sampler."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from defect_jax.data.geometry.letterbox import place
from defect_jax.data.geometry.unletterbox import unletterbox

FRAME, CANVAS = (16, 24), (40, 48)


def bilinear(frame, placement, native):
    """Samples the placed part of a frame at the centres of native pixels; edges are held."""
    inner = frame[
        placement.top : placement.top + placement.height,
        placement.left : placement.left + placement.width,
    ].astype(np.float64)
    axes = []
    for length, size in zip(inner.shape, native, strict=True):
        centre = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(centre).astype(int)
        axes.append((low, np.minimum(low + 1, length - 1), centre - low))
    (r0, r1, fr), (c0, c1, fc) = axes
    fr = fr[:, None]
    top = inner[np.ix_(r0, c0)] * (1 - fc) + inner[np.ix_(r0, c1)] * fc
    low = inner[np.ix_(r1, c0)] * (1 - fc) + inner[np.ix_(r1, c1)] * fc
    return top * (1 - fr) + low * fr


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(1, 40), st.integers(1, 48)), st.integers(0, 1000))
def test_equals_the_numpy_sampler_at_every_size(native, seed):
    frame = np.random.default_rng(seed).random(FRAME, np.float32)
    placement = place(native, FRAME, 0.0, 2.0, 3.0, "x")
    got = unletterbox(
        jnp.asarray(frame)[None],
        jnp.asarray(placement, jnp.float32)[None],
        jnp.asarray(native, jnp.int32)[None],
        CANVAS,
    )
    np.testing.assert_allclose(
        np.asarray(got)[0, : native[0], : native[1]], bilinear(frame, placement, native), atol=2e-6
    )


def test_unscaled_images_come_back_bit_for_bit():
    frame = np.random.default_rng(1).random(FRAME, np.float32)
    placement = place((10, 20), FRAME, 1.0, 1.0, 1.0, "x")
    got = unletterbox(
        jnp.asarray(frame)[None],
        jnp.asarray(placement, jnp.float32)[None],
        jnp.asarray([[10, 20]], jnp.int32),
        CANVAS,
    )
    np.testing.assert_array_equal(np.asarray(got)[0, :10, :20], frame[3:13, 2:22])
