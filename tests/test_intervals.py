"""Intervals against SciPy, statsmodels' published example and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from defect_jax.metrics import bootstrap, ranking
from defect_jax.metrics.intervals import clopper_pearson, rate_interval


@given(st.integers(0, 60), st.integers(0, 60))
def test_clopper_pearson_is_scipys_exact_interval(successes, failures):
    trials = successes + failures
    if not trials:
        return
    want = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert clopper_pearson(successes, trials) == pytest.approx((want.low, want.high), abs=1e-9)
    hits = [1] * successes + [0] * failures
    one_each = rate_interval(hits, [str(index) for index in range(trials)])
    assert one_each == pytest.approx((want.low, want.high), abs=1e-9)


def test_copies_of_an_image_tell_nothing_new():
    """Six equal shots of 20 parts are worth 20 images, not 120."""
    hits = [1] * 15 + [0] * 5
    groups = [str(index) for index in range(20)]
    low, high = rate_interval(np.repeat(hits, 6), np.repeat(groups, 6).tolist())
    exact = stats.binomtest(15, 20).proportion_ci(0.95, "exact")
    assert low <= exact.low and high >= exact.high  # Student's quantile pays a little more
    assert high - low < 1.15 * (exact.high - exact.low)
    all_hit = rate_interval([1] * 120, np.repeat(groups, 6).tolist())
    assert all_hit == pytest.approx(clopper_pearson(20, 20))
    assert rate_interval([], []) is None


def test_interval_of_correlated_shots_holds_as_often_as_it_says():
    """Naive counting of images holds the truth in far fewer than 95 % of the draws."""
    generator = np.random.default_rng(0)
    groups = np.repeat([str(index) for index in range(30)], 6)
    held = np.zeros(2)
    for _ in range(400):
        rate = generator.beta(0.8, 0.2, size=30)  # of each part; 0.8 on average
        hits = generator.random((30, 6)) < rate[:, None]
        for index, names in enumerate((groups, [str(i) for i in range(180)])):
            low, high = rate_interval(hits.ravel(), list(names))
            held[index] += low <= 0.8 <= high
    assert held[0] / 400 > 0.93
    assert held[1] / 400 < 0.85


ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(0, 4)),
    min_size=2,
    max_size=25,
)


@given(ROWS)
def test_weighted_metrics_are_scikit_learns(rows):
    """A weight is a number of copies: the same metric of the copied table."""
    label, score, weight = (np.array(column) for column in zip(*rows, strict=True))
    copied_label, copied_score = np.repeat(label, weight), np.repeat(score, weight)
    weights = weight[None].astype(np.float64)
    ap = bootstrap.average_precision(label, score)(weights)[0]
    auroc = bootstrap.auroc(label, score)(weights)[0]
    if not copied_label.any():
        assert np.isnan(ap)
    else:
        assert ap == pytest.approx(sk.average_precision_score(copied_label, copied_score))
    if copied_label.any() and not copied_label.all():
        assert auroc == pytest.approx(sk.roc_auc_score(copied_label, copied_score))
    else:
        assert np.isnan(auroc)
    mean = bootstrap.weighted_mean(np.where(label, score, np.nan))(weights)[0]
    counted = np.repeat(score[label == 1], weight[label == 1])
    assert np.isnan(mean) if not counted.size else mean == pytest.approx(counted.mean())


def test_replicates_draw_whole_parts_and_are_the_same_each_time(monkeypatch):
    groups = ["a", "b", "a", "c", "c", "c"]
    whole = np.concatenate(list(bootstrap.replicates(groups)))
    assert whole.shape == (bootstrap.REPLICATES, 6)
    assert (whole[:, 0] == whole[:, 2]).all() and (whole[:, 3] == whole[:, 5]).all()
    assert (whole[:, [0, 1, 3]].sum(axis=1) == 3).all()
    monkeypatch.setattr(bootstrap, "BLOCK_VALUES", 6 * 7)  # a block holds seven replicates
    np.testing.assert_array_equal(np.concatenate(list(bootstrap.replicates(groups))), whole)


def test_bootstrap_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap.interval(bootstrap.weighted_mean(values), [str(i) for i in range(400)])
    error = values.std() / 20
    assert (low, high) == pytest.approx(values.mean() + 1.96 * np.array([-error, error]), abs=0.02)


def test_paired_difference_is_narrower_than_the_models_own_intervals():
    generator = np.random.default_rng(0)
    first = generator.random(200)
    second = first + 0.1 + 0.01 * generator.normal(size=200)
    metrics = bootstrap.weighted_mean(first), bootstrap.weighted_mean(second)
    groups = [str(index // 2) for index in range(200)]
    low, high = bootstrap.difference_interval(metrics, groups)
    assert 0.095 < low < 0.1 < high < 0.105
    assert bootstrap.interval(bootstrap.auroc([1] * 4, [0.5] * 4), list("abcd")) is None


def test_bands_hold_the_curve_and_end_where_it_ends():
    generator = np.random.default_rng(0)
    label = (np.arange(300) % 3 == 0).astype(int)
    score = generator.normal(size=300) + 1.5 * label
    bands = bootstrap.curve_bands(label, score, [str(index // 2) for index in range(300)])
    curve = ranking.roc_curve(label, score)
    at = np.searchsorted(curve.false_positive_rate, bands.false_positive_rate, side="right") - 1
    recall = curve.recall[at]
    assert (bands.recall_low <= recall).all() and (recall <= bands.recall_high).all()
    assert bands.recall_low[-1] == bands.recall_high[-1] == 1.0
    assert (bands.precision_low <= bands.precision_high).all()
    assert (np.diff(bands.recall_low) >= 0).all()
    assert bootstrap.curve_bands([1, 1], [0.5, 0.6], ["a", "b"]) is None
