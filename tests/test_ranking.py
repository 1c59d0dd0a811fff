import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from defect_jax.metrics import ranking

TOLERANCE = 1e-12


@st.composite
def scored(draw, both=True):
    """Labels and scores; scores from few values so that ties are the rule, or from many."""
    values = draw(st.sampled_from([st.integers(0, 4).map(lambda i: i / 4), st.floats(0, 1)]))
    labels = (0, 1) if both else draw(st.sampled_from([(0,), (1,), (0, 1)]))
    rows = draw(st.lists(st.tuples(st.sampled_from(labels), values)))
    rows += [(label, draw(values)) for label in labels if both]
    return [row[0] for row in rows], [row[1] for row in rows]


@settings(deadline=None)
@given(scored())
def test_areas_equal_sklearn(case):
    label, score = case
    assert ranking.average_precision(label, score) == pytest.approx(
        sk.average_precision_score(label, score), abs=TOLERANCE
    )
    assert ranking.auroc(label, score) == pytest.approx(
        sk.roc_auc_score(label, score), abs=TOLERANCE
    )
    precision, recall, _ = sk.precision_recall_curve(label, score)
    assert ranking.average_precision_trapezoid(label, score) == pytest.approx(
        sk.auc(recall, precision), abs=TOLERANCE
    )


@settings(deadline=None)
@given(scored())
def test_curves_equal_sklearn(case):
    label, score = case
    precision, recall, threshold = sk.precision_recall_curve(label, score)
    ours = ranking.precision_recall_curve(label, score)
    np.testing.assert_allclose(ours.precision, precision[-2::-1], atol=TOLERANCE)
    np.testing.assert_allclose(ours.recall, recall[-2::-1], atol=TOLERANCE)
    np.testing.assert_array_equal(ours.threshold, threshold[::-1])
    rate, recall, threshold = sk.roc_curve(label, score, drop_intermediate=False)
    ours = ranking.roc_curve(label, score)
    np.testing.assert_allclose(ours.false_positive_rate, rate, atol=TOLERANCE)
    np.testing.assert_allclose(ours.recall, recall, atol=TOLERANCE)
    np.testing.assert_array_equal(ours.threshold, threshold)


@settings(deadline=None)
@given(scored())
def test_best_f1_is_the_best_of_all_thresholds_and_ties_go_to_recall(case):
    label, score = np.array(case[0]), np.array(case[1])
    threshold = ranking.best_f1_threshold(label, score)
    tried = {t: sk.f1_score(label, score >= t) for t in set(score.tolist())}
    best = max(tried.values())
    assert sk.f1_score(label, score >= threshold) == pytest.approx(best, abs=TOLERANCE)
    lowest = min(t for t, f1 in tried.items() if f1 > best - TOLERANCE)
    np.testing.assert_array_equal(score >= threshold, score >= lowest)


@settings(deadline=None)
@given(scored(), st.floats(0, 1))
def test_read_off_points_equal_a_search_over_all_thresholds(case, level):
    label, score = np.array(case[0]), np.array(case[1])
    points = [
        (np.mean(score[label == 0] >= t), np.mean(score[label == 1] >= t)) for t in [*score, np.inf]
    ]
    assert ranking.recall_at_fpr(label, score, level) == max(r for f, r in points if f <= level)
    assert ranking.fpr_at_recall(label, score, level) == min(f for f, r in points if r >= level)


@settings(deadline=None)
@given(scored(), st.randoms())
def test_order_of_images_does_not_matter(case, random):
    rows = list(zip(*case, strict=True))
    random.shuffle(rows)
    label, score = zip(*rows, strict=True)
    for metric in (ranking.average_precision, ranking.auroc, ranking.best_f1_threshold):
        assert metric(label, score) == metric(*case)


def test_limits_are_inclusive():
    label = [0] * 20 + [1] * 20
    score = [*np.linspace(0.0, 0.5, 19), 0.9, 0.1, *np.linspace(0.91, 1.0, 19)]
    assert ranking.recall_at_fpr(label, score, 0.05) == 0.95
    assert ranking.fpr_at_recall(label, score, 0.95) == 0.0


@settings(deadline=None)
@given(scored(both=False))
def test_one_kind_of_image_is_enough_where_the_metric_is_defined(case):
    label, score = case
    found = (ranking.average_precision, ranking.average_precision_trapezoid)
    ours = [metric(label, score) for metric in (*found, ranking.auroc)]
    expected = [None, None, None]
    if any(label):
        precision, recall, _ = sk.precision_recall_curve(label, score)
        expected[:2] = sk.average_precision_score(label, score), sk.auc(recall, precision)
    if len(set(label)) == 2:
        expected[2] = np.mean([(p > n) + (p == n) / 2 for p in of(1, case) for n in of(0, case)])
    assert [value is None for value in ours] == [value is None for value in expected]
    assert [v for v in ours if v is not None] == pytest.approx(
        [v for v in expected if v is not None]
    )


def of(kind, case):
    return [score for label, score in zip(*case, strict=True) if label == kind]


@pytest.mark.parametrize("label", [[], [0, 0], [1, 1]])
def test_undefined_is_none(label):
    score = [0.25, 0.75][: len(label)]
    both = (ranking.auroc, ranking.roc_curve, ranking.recall_at_fpr, ranking.fpr_at_recall)
    positive = (
        ranking.average_precision,
        ranking.average_precision_trapezoid,
        ranking.precision_recall_curve,
        ranking.best_f1_threshold,
    )
    assert [metric(label, score) for metric in both] == [None] * 4
    if 1 not in label:
        assert [metric(label, score) for metric in positive] == [None] * 4


def test_threshold_between_neighbouring_floats_keeps_the_lower_score_out():
    lower, upper = 0.5, float(np.nextafter(0.5, 1))
    assert ranking.best_f1_threshold([0, 1], [lower, upper]) == upper
    assert ranking.best_f1_threshold([1, 1], [0.0, 0.0]) == 0.0


@pytest.mark.parametrize(
    ("label", "score", "message"),
    [
        ([0, 1], [0.5], "shape"),
        ([0, 2], [0.5, 0.5], "0 or 1"),
        ([0, 1], [0.5, np.nan], "finite"),
    ],
)
def test_bad_input_is_refused(label, score, message):
    with pytest.raises(ValueError, match=message):
        ranking.average_precision(label, score)
