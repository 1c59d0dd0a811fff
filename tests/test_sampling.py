"""The order of images: balance, least-used first, any position from that position alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_jax.data.pipeline.sampling import SamplingPlan

LABELS = (1, 0, 0, 0, 1, 0, 0, 0, 0, 1)


@given(st.floats(0.1, 0.9), st.integers(0, 99))
def test_share_of_defective_images_is_kept_in_every_stretch(fraction, seed):
    plan = SamplingPlan(LABELS, 400, fraction, seed)
    drawn = np.array([LABELS[plan[i].row] for i in range(400)])
    running = np.cumsum(drawn) - fraction * np.arange(1, 401)
    assert np.abs(running).max() <= 1.0 + 1e-6


@given(st.integers(0, 99), st.integers(1, 200))
def test_least_used_first_in_both_kinds(seed, length):
    plan = SamplingPlan(LABELS, length, 0.5, seed)
    used = Counter(plan[i].row for i in range(length))
    for kind in (0, 1):
        counts = [used[row] for row, label in enumerate(LABELS) if label == kind]
        assert max(counts) - min(counts) <= 1


def test_without_a_fraction_every_image_comes_once_an_epoch_in_a_new_order():
    plan = SamplingPlan(LABELS, 30, None, seed=1)
    epochs = [[plan[10 * epoch + i].row for i in range(10)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_positions_do_not_depend_on_what_was_asked_before():
    plan = SamplingPlan(LABELS, 100, 0.5, seed=3)
    forward = [plan[i] for i in range(100)]
    again = SamplingPlan(LABELS, 100, 0.5, seed=3)
    assert [again[i] for i in reversed(range(100))] == forward[::-1]


def test_golden_order():
    """Philox and the permutation must give this on every machine and NumPy."""
    plan = SamplingPlan(LABELS, 12, 0.5, seed=0)
    assert [plan[i].row for i in range(12)] == [2, 0, 6, 9, 7, 4, 8, 0, 5, 9, 3, 4]


def test_position_outside_the_run_is_an_index_error():
    with pytest.raises(IndexError, match="position 5 of a plan of 5"):
        SamplingPlan(LABELS, 5, 0.5, seed=0)[5]
