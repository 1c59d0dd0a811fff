"""Wald's test on correlated shots: its closed forms, its promise, and where it knows nothing."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from validation_images import images, options

from benchmarks.correlated_shots import exchangeable, neighbours
from defect_jax.decision import DecisionRule, Evidence, PartDecision, SequentialTest
from defect_jax.decision.choose import SEQUENTIAL, choose
from defect_jax.decision.correlation import ALIKE, effective_shots, shot_correlation
from defect_jax.decision.evidence import running_evidence
from defect_jax.decision.record import SEQUENTIAL_TESTS
from defect_jax.decision.sequential import REJECT, Looked, decide_shots, look
from defect_jax.decision.wald import bounds, choose_wald
from defect_jax.runtime.errors import UserError

MEAN = PartDecision("mean", 0.5, 100, 50)
RATES = options(early_miss_rate=0.05, early_false_alarm_rate=0.05)


def line(draw, parts, correlation, shots=10, seed=0):
    """Labels, and logits that are N(±1, 1) with that correlation within a part."""
    label = np.repeat([0, 1], parts)
    noise = draw(np.random.default_rng(seed), 2 * parts, shots, correlation)
    return label, list(noise + 2.0 * label[:, None] - 1.0)


def test_effective_shots_are_the_variance_of_the_mean_of_correlated_shots():
    for rho in (0.0, 0.3, 0.9, 1.0):
        for n in (1, 2, 7):
            of_sum = np.where(np.eye(n, dtype=bool), 1.0, rho).sum()
            assert effective_shots(float(n), rho) == pytest.approx(n**2 / of_sum)


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=6), st.floats(0, 0.95))
def test_evidence_is_the_likelihood_ratio_of_correlated_gaussian_shots(logits, rho):
    good, bad, variance = -1.0, 0.5, 2.0
    of = Evidence(centre=(good + bad) / 2, slope=(bad - good) / variance)
    found = running_evidence(special.expit(np.array(logits)), of, rho)
    for n in range(1, len(logits) + 1):
        covariance = variance * np.where(np.eye(n, dtype=bool), 1.0, rho)
        likely = [
            stats.multivariate_normal.logpdf(logits[:n], np.full(n, mean), covariance)
            for mean in (good, bad)
        ]
        assert found[n - 1] == pytest.approx(likely[1] - likely[0], abs=1e-6)


def test_bounds_are_walds():
    assert bounds(0.1, 0.2) == pytest.approx((math.log(0.1 / 0.8), math.log(0.9 / 0.2)))
    assert set(SEQUENTIAL) == set(SEQUENTIAL_TESTS)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_correlation_is_found_and_seldom_exceeded(rho):
    many = shot_correlation(*line(exchangeable, 2000, rho))
    assert rho <= many <= rho + 0.03
    few = [shot_correlation(*line(exchangeable, 20, rho, seed=seed)) for seed in range(40)]
    assert np.mean(np.array(few) >= rho) >= 0.95  # the highest of four bounds of 95 %
    # Of a line's strips the neighbours count, not the mean over all pairs, which is far lower.
    assert rho <= shot_correlation(*line(neighbours, 2000, rho)) <= rho + 0.03


@pytest.mark.parametrize("logits", [[[0.1], [2.0]], [[0.1, 0.3]], [[1.0, 1.0], [1.0, 1.0]]])
def test_where_nothing_is_known_of_shots_they_count_as_one(logits):
    logits = [np.array(shots) for shots in logits]
    label = np.arange(len(logits)) % 2
    assert shot_correlation(label, logits) == ALIKE
    test = choose_wald(label, [special.expit(s) for s in logits], MEAN, RATES, may_accept=True)
    assert test.evidence.slope == 0.0 and test.expected_shots == test.shots
    assert test.effective_shots == 1.0


@pytest.mark.parametrize("draw", [exchangeable, neighbours])
def test_promised_rates_hold_for_correlated_shots_as_the_naive_ones_do_not(draw):
    label, logits = line(draw, 60, 0.8, seed=1)
    test = choose_wald(
        label, [special.expit(shots) for shots in logits], MEAN, RATES, may_accept=True
    )
    assert test.expected_shots < test.shots == 10 and 0.8 <= test.correlation < 1.0
    naive = dataclasses.replace(test, correlation=0.0)
    truth, fresh = line(draw, 1000, 0.8, seed=2)
    most = stats.binom.ppf(0.999, 1000, 0.05) / 1000
    for made, holds in ((test, True), (naive, False)):
        decided = [decide_shots(shots, MEAN, made) for shots in special.expit(np.array(fresh))]
        rejected, looks = np.array(decided).T
        early = looks < 10
        wrong = [float((early & (rejected != kind))[truth == kind].mean()) for kind in (0, 1)]
        assert (max(wrong) <= most) == holds and (holds or min(wrong) > most)


def test_wald_is_chosen_by_a_field_written_and_read_back(tmp_path):
    label, logits = line(exchangeable, 30, 0.3, shots=4)
    group = np.repeat(np.arange(60), 4)
    score = special.expit(np.array(logits)).ravel()
    wald = options(sequential="wald", shots="mean", early_miss_rate=0.02)
    made = choose(images(np.repeat(label, 4), score, group=group), 0.5, wald, 7)
    test = made.sequential
    assert (test.lower, test.upper) == pytest.approx(bounds(0.02, 0.01))
    assert test.evidence.slope > 0 and test.effective_shots < test.shots == 4
    made.to_json(tmp_path / "decision.json")
    assert DecisionRule.from_json(tmp_path / "decision.json") == made
    promised = wald | {"rule": "guaranteed_miss_rate", "miss_rate": 0.2}
    made = choose(images(np.repeat(label, 4), score, group=group), 0.5, promised, 7)
    never = made.sequential
    accepted = [decide_shots(np.full(4, 1e-9), dataclasses.replace(MEAN, shots="max"), never)]
    assert accepted == [(0, 4)]  # only the whole part may be accepted


def test_decisions_older_than_the_correlation_are_read_and_decide_as_they_did(tmp_path):
    path = tmp_path / "decision.json"
    old = {"upper": 0.8, "lower": 0.2, "expected_shots": 1.5, "shots": 2.0}
    fields = dataclasses.asdict(DecisionRule(0.5, 0.5, 0.25, 7, 3, 1)) | {"sequential": old}
    path.write_text(json.dumps(fields))
    test = DecisionRule.from_json(path).sequential
    assert test == SequentialTest(0.8, 0.2, 1.5, 2.0) and test.evidence is None
    assert look(Looked(), 0.9, "max", test)[1] == REJECT


EVIDENCE = {"centre": 0.5, "slope": 2.0}
OF_WALD = {"upper": 4.6, "lower": -4.6, "expected_shots": 1.5, "shots": 2.0, "correlation": 0.3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correlation": None}, "correlation is missing, which its evidence needs"),
        ({"correlation": 1.5}, "correlation must be from 0 to 1"),
        ({"upper": -1.0}, "upper must be from 0"),
        ({"lower": 5.0}, "lower must be from"),
        ({"evidence": EVIDENCE | {"slope": -1.0}}, "slope must be from 0"),
        ({"evidence": {"centre": 0.5}}, "'sequential.evidence.slope' is missing"),
        ({"evidence": None}, "upper must be between 0 and 1"),
    ],
)
def test_a_wrong_number_of_walds_test_is_named(change, message, tmp_path):
    path = tmp_path / "decision.json"
    test = OF_WALD | {"evidence": EVIDENCE} | change
    fields = dataclasses.asdict(DecisionRule(0.5, 0.5, 0.25, 7, 3, 1)) | {"sequential": test}
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError, match=message):
        DecisionRule.from_json(path)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_shot_that_is_no_number_rejects_and_stays_so(bad):
    test = SequentialTest(4.6, -4.6, 1.5, 2.0, 0.3, 1.5, Evidence(0.5, 2.0))
    assert decide_shots(np.array([bad]), MEAN, test) == (1, 1)
    assert np.isinf(running_evidence(np.array([0.5, bad, 1e-9]), test.evidence, 0.3)[1:]).all()
