"""Pixel metrics against other implementations, on random and on adversarial images."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pixel_references import decided_metrics, pixel_cases, ranking

from defect_jax.metrics import binned
from defect_jax.metrics.counts import PixelCounts
from defect_jax.metrics.histogram import PixelHistogram, bin_index
from defect_jax.metrics.regions import region_weights

REFERENCES = json.loads(
    pathlib.Path(__file__).with_name("references").joinpath("aupro.json").read_text()
)
PLANES = ("probability", "mask", "valid", "region_weight", "regions")


@jax.jit
def accumulate(state, case):
    histogram, counts = state
    histogram = histogram.update(*(case[name] for name in PLANES))
    return histogram, counts.update(case["decided"], case["mask"], case["valid"])


def evaluated(*cases):
    state = PixelHistogram.empty(), PixelCounts.empty()
    for case in cases:
        state = accumulate(state, case)
    return jax.device_get(state)


def agree(ours, expected, tolerance):
    assert set(ours) == set(expected)
    for name, value in expected.items():
        assert (ours[name] is None) == (value is None), name
        assert value is None or abs(ours[name] - value) <= tolerance, name


@given(pixel_cases())
def test_ranking_equals_the_definitions_with_a_bin_as_a_tie_and_brackets_the_unbinned(case):
    histogram, _ = evaluated(case)
    ours, brackets = histogram.compute(), histogram.brackets()
    bins = np.asarray(bin_index(jnp.asarray(case["probability"])))
    # The weight of a pixel is counted in units of 2^-30, and there are up to 90 pixels.
    agree(ours, ranking(bins, case["mask"], case["valid"]), 1e-7)
    for name, value in ranking(case["probability"], case["mask"], case["valid"]).items():
        assert (brackets[name] is None) == (value is None), name
        if value is not None:
            low, high = brackets[name]
            assert low - 1e-7 <= min(value, ours[name]), name
            assert max(value, ours[name]) <= high + 1e-7, name


@given(pixel_cases())
def test_decided_masks_equal_sets_of_pixels(case):
    _, counts = evaluated(case)
    valid = case["valid"]
    agree(counts.compute(), decided_metrics(case["decided"][valid], case["mask"][valid]), 1e-12)


@settings(max_examples=50, deadline=None)
@given(pixel_cases(), pixel_cases())
def test_merging_two_equals_seeing_both_in_any_order(one, other):
    merged = [a.merge(b) for a, b in zip(evaluated(one), evaluated(other), strict=True)]
    for together in (evaluated(one, other), evaluated(other, one)):
        for a, b in zip(jax.tree.leaves(merged), jax.tree.leaves(together), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", REFERENCES, ids=lambda case: case["name"])
def test_aupro_equals_the_published_code(case):
    probability = np.float32(case["levels"]).reshape(case["shape"]) / case["of"]
    mask = np.zeros(probability.size, bool)
    mask[case["mask"]] = True
    mask = mask.reshape(case["shape"])
    assert ranking(probability, mask)["aupro"] == pytest.approx(case["reference"], abs=1e-6)
    weights, regions = zip(*map(region_weights, mask), strict=True)
    planes = (probability, mask, np.ones_like(mask), np.stack(weights), np.array(regions, np.int32))
    histogram, _ = evaluated(dict(zip(PLANES, planes, strict=True)) | {"decided": mask})
    assert histogram.compute()["aupro"] == pytest.approx(case["reference"], abs=1e-3)
    low, high = histogram.brackets()["aupro"]
    assert low - 1e-6 <= case["reference"] <= high + 1e-6
    assert low - 1e-6 <= case["anomalib"] <= high + 1e-6


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=9))
@example([(1, 0), (0, 2), (1, 0)])  # F1 of 2/3 both with the top alone and with everything
def test_best_f1_bin_is_found_by_trying_all(bins):
    positives, negatives = np.array(bins, int).reshape(-1, 2).T
    f1 = {}
    for first in range(len(bins)):
        true, false = positives[first:].sum(), negatives[first:].sum()
        f1[first] = 2 * true / max(true + false + positives.sum(), 1)
    best = binned.best_f1_bin(positives, negatives)
    if not positives.sum():
        assert best is None
        return
    top = max(f1.values())
    lowest = min(first for first, value in f1.items() if value >= top - 1e-12)
    occupied = lowest + np.flatnonzero((positives + negatives)[lowest:])[0]
    assert best == (lowest + occupied) // 2  # all bins from `lowest` to `occupied` decide alike
