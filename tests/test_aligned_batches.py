"""Batches: the elements one upon the other, where XLA can use them without a copy."""

import jax
import numpy as np
import pytest

from defect_jax.data.pipeline.batches import ALIGNMENT_BYTES, stacked


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(), (1,), (7, 5, 3)])
def test_batches_are_stacked_and_used_where_they_are(dtype, shape):
    rng = np.random.default_rng(0)
    elements = [{"x": rng.integers(0, 2, shape).astype(dtype)} for _ in range(3)]
    batch = stacked(elements)["x"]
    np.testing.assert_array_equal(batch, np.stack([each["x"] for each in elements]))
    assert batch.dtype == dtype and batch.ctypes.data % ALIGNMENT_BYTES == 0
    placed = jax.device_put(batch, jax.devices("cpu")[0])
    assert placed.unsafe_buffer_pointer() == batch.ctypes.data
