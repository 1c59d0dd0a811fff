"""Every rule against a search over all thresholds; the promise against its exact distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from validation_images import images, options

from defect_jax.decision.bound import allowed_misses, breaking_chance, parts_needed
from defect_jax.decision.choose import choose
from defect_jax.decision.rules import RULES, LabelledScores, rates
from defect_jax.runtime.errors import UserError

SCORE = st.floats(0, 1, width=16)
TABLES = st.lists(st.tuples(st.integers(0, 1), SCORE), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(label for label, _ in rows) < len(rows)
)
LEAST = {  # what the rule promises to have smallest, by hand
    "best_f1": lambda r, o: -r.f1,
    "target_recall": lambda r, o: r.false_positive_rate if r.recall >= o["recall"] else 9.0,
    "target_false_positive_rate": lambda r, o: (
        -r.recall if r.false_positive_rate <= o["false_positive_rate"] else 9.0
    ),
    "least_cost": lambda r, o: (
        o["defect_rate"] * o["miss_cost"] * (1 - r.recall)
        + (1 - o["defect_rate"]) * o["false_alarm_cost"] * r.false_positive_rate
    ),
}


@pytest.mark.parametrize("rule", LEAST)
@given(rows=TABLES, share=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
def test_no_threshold_is_better_than_the_rules(rule, rows, share):
    label, score = (np.array(column) for column in zip(*rows, strict=True))
    wish = options(recall=share, false_positive_rate=share, defect_rate=share)
    table = LabelledScores(label, score, np.arange(label.size))
    threshold = RULES[rule].choose(table, wish, 1).threshold
    got = LEAST[rule](rates(label, score >= threshold), wish)
    every = [LEAST[rule](rates(label, score >= t), wish) for t in (*score, 2.0)]
    assert got == pytest.approx(min(every), abs=1e-9)


def test_a_target_that_nothing_meets_rejects_nothing():
    table = LabelledScores(np.array([0, 1]), np.array([1.0, 0.5]), np.arange(2))
    wish = options(false_positive_rate=0.0)
    threshold = RULES["target_false_positive_rate"].choose(table, wish, 1).threshold
    assert threshold > 1.0
    below = LabelledScores(np.array([0, 1]), np.array([0.8, 0.5]), np.arange(2))
    assert RULES["target_false_positive_rate"].choose(below, wish, 1).threshold == pytest.approx(
        0.9
    )


@given(st.integers(1, 400), st.floats(0.005, 0.6), st.floats(0.5, 0.999))
def test_allowed_misses_is_the_largest_that_keeps_the_promise(parts, miss_rate, confidence):
    misses = allowed_misses(parts, miss_rate, confidence)
    broken = 1 - confidence
    if misses is None:
        assert parts < parts_needed(miss_rate, confidence)
        assert (1 - miss_rate) ** parts > broken
        return
    assert parts >= parts_needed(miss_rate, confidence)
    assert stats.binom.cdf(misses, parts, miss_rate) <= broken
    assert stats.binom.cdf(misses + 1, parts, miss_rate) > broken
    # Clopper and Pearson's one-sided upper bound of the same counts says the same.
    assert stats.beta.ppf(confidence, misses + 1, parts - misses) <= miss_rate + 1e-9


def test_promise_takes_the_lowest_shot_of_each_part():
    """22 defective parts of two shots, 0.1 with 0.9 confidence: none may be missed."""
    lowest = np.linspace(0.3, 0.9, 22)
    score = np.concatenate([lowest, lowest + 0.05, [0.1, 0.35]])
    group = [*range(22), *range(22), 22, 23]
    wish = options(rule="guaranteed_miss_rate", miss_rate=0.1, confidence=0.9)
    chosen = choose(images([1] * 44 + [0] * 2, score, group=group), 0.2, wish, 7)
    assert chosen.threshold == pytest.approx(0.3, abs=1e-7) and chosen.logistic is None
    assert (chosen.promise.parts, chosen.promise.misses, chosen.promise.compared) == (22, 0, 1)
    # Without a head the mask decides: the probability is that of the logits above its threshold.
    above = special.logit(0.35) - special.logit(chosen.mask_threshold)
    expected = special.expit(above / chosen.temperature)
    assert chosen.part.shots == "max" and chosen.part.threshold == pytest.approx(expected, abs=1e-7)
    assert chosen.sequential.lower < 0  # accepting early could break the promise


def test_too_few_parts_are_refused_with_the_number_needed():
    wish = options(rule="guaranteed_miss_rate", miss_rate=0.1, confidence=0.9)
    table = images([1] * 21 + [0], np.linspace(0.9, 0.1, 22))
    with pytest.raises(UserError, match="needs 22 defective parts .* which has 21") as error:
        choose(table, 0.2, wish, 7)
    possible = float(str(error.value).rpartition("=")[2])
    choose(table, 0.2, wish | {"miss_rate": possible}, 7)
    with pytest.raises(UserError, match="shared among 4 choices .* needs 36 defective parts"):
        choose(table, 0.2, wish, 7, compared=4)


class Line:
    """A production line whose parts differ in difficulty, and their shots a little by the light.

    The future is known: the chance of a miss at a threshold comes from 200,000 parts.
    """

    def __init__(self, shots: int):
        self.shots, self.generator = shots, np.random.default_rng(1)
        future = self.draw(200_000)
        self.lowest, self.all = np.sort(future.min(axis=1)), np.sort(future, axis=None)

    def draw(self, parts: int) -> np.ndarray:
        hard = self.generator.normal(size=(parts, 1))
        light = self.generator.normal(size=(parts, self.shots))
        return stats.norm.cdf(1.5 + hard + 0.3 * light)


def broken_promises(line: Line, groups: np.ndarray, future: np.ndarray, draws=2000) -> float:
    """Share of the draws of 60 parts after which more than a tenth of `future` is missed."""
    wish, broken = options(miss_rate=0.1, confidence=0.9), 0
    for _ in range(draws):
        score = line.draw(60).ravel()
        table = LabelledScores(np.ones(score.size, int), score, groups)
        threshold = RULES["guaranteed_miss_rate"].choose(table, wish, 1).threshold
        broken += np.searchsorted(future, threshold) > 0.1 * future.size
    return broken / draws


@pytest.mark.parametrize("shots", [1, 6])
def test_promise_is_broken_as_seldom_as_said_and_hardly_less(shots):
    """60 parts allow 2 misses: 5.3 % of the draws must break 10 %, whatever the number of shots."""
    exact = breaking_chance(60, allowed_misses(60, 0.1, 0.9), 0.1)
    assert exact == pytest.approx(0.0530, abs=1e-4)
    line = Line(shots)
    share = broken_promises(line, np.repeat(np.arange(60), shots), line.lowest)
    assert abs(share - exact) < 4 * np.sqrt(exact * (1 - exact) / 2000) and share < 0.1


def test_counting_shots_as_parts_breaks_the_promise():
    """The naive bound: six shots of a part taken for six witnesses. Even of images, which is what
    it counts, it misses too many far more often than in a tenth of the draws."""
    line, each_its_own = Line(6), np.arange(360)
    assert broken_promises(line, each_its_own, line.all) > 0.2
    assert broken_promises(line, each_its_own, line.lowest) > 0.8
