"""Temperature and calibration error against closed forms and a brute-force count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from sklearn.linear_model import LogisticRegression

from defect_jax.decision.combination import combined, fit
from defect_jax.metrics import calibration

ROWS = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1, width=32)), min_size=1, max_size=60)


@given(ROWS, st.integers(1, 20))
def test_calibration_error_is_the_brute_force_one(rows, bins):
    label, probability = (np.array(column, float) for column in zip(*rows, strict=True))
    gap = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        last = number == bins - 1
        inside = (probability * bins >= number) & ((probability * bins < number + 1) | last)
        if inside.any():
            gap += inside.mean() * abs(probability[inside].mean() - label[inside].mean())
            assert (
                probability[inside].min() >= low - 1e-9 and probability[inside].max() <= high + 1e-9
            )
    assert calibration.expected_calibration_error(label, probability, bins) == pytest.approx(gap)
    assert sum(b.count for b in calibration.reliability(label, probability, bins)) == len(rows)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_recovered_from_scores_that_are_too_sure(temperature):
    generator = np.random.default_rng(0)
    logits = 2.0 * generator.normal(size=20_000)
    label = generator.random(20_000) < special.expit(logits)
    found = calibration.best_temperature(label, special.expit(logits * temperature))
    assert found == pytest.approx(temperature, rel=0.04)


def test_temperature_is_the_minimum_of_the_log_loss():
    generator = np.random.default_rng(1)
    score = generator.random(200)
    label = (generator.random(200) < score**2).astype(int)
    found = calibration.best_temperature(label, score)

    defective = label.sum()
    target = np.where(label, (defective + 1) / (defective + 2), 1 / (200 - defective + 2))  # Platt

    def loss(temperature):
        p = calibration.temperature_scale(score, temperature)
        return -np.mean(target * np.log(p) + (1 - target) * np.log1p(-p))

    assert loss(found) <= min(loss(found * 1.001), loss(found / 1.001))
    assert calibration.best_temperature([1, 1], [0.2, 0.3]) is None
    sure = calibration.best_temperature([0, 1], [0.1, 0.9])
    assert sure == pytest.approx(np.log(9) / np.log(2), rel=1e-6)  # as sure as of two in three


def test_calibration_keeps_the_order_and_moves_certainty_alone():
    score = np.array([0.0, 1e-9, 0.3, 0.5, 0.999, 1.0])
    cool = calibration.temperature_scale(score, 2.0)
    assert (np.diff(cool) >= 0).all() and cool[3] == 0.5 and np.isfinite(cool).all()
    np.testing.assert_allclose(
        calibration.temperature_scale(score[2:5], 1.0), score[2:5], rtol=1e-12
    )


def test_logistic_combination_is_scikit_learns():
    generator = np.random.default_rng(2)
    label = (np.arange(150) % 3 == 0).astype(int)
    score = special.expit(generator.normal(size=150) + label)
    mask_score = special.expit(generator.normal(size=150) + 2 * label)
    features = np.stack([special.logit(score), special.logit(mask_score)], axis=1)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(features, label)
    ours = fit(label, score, mask_score)
    np.testing.assert_allclose(ours, [*theirs.intercept_, *theirs.coef_[0]], atol=1e-6)
    probability = theirs.predict_proba(features)[:, 1]
    np.testing.assert_allclose(combined(ours, score, mask_score), probability, atol=1e-6)
