"""Several shots of a part: taken together, one by one, and counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from validation_images import images, options

from defect_jax.decision import DecisionRule, PartDecision, SequentialTest
from defect_jax.decision.choose import choose
from defect_jax.decision.empirical import choose_empirical
from defect_jax.decision.sequential import (
    ACCEPT,
    LOOK_AGAIN,
    REJECT,
    Looked,
    decide_shots,
    look,
)
from defect_jax.decision.shots import SHOTS, best_shots, part_scores, parts_of
from defect_jax.evaluation.result_tables import combined_metrics, to_parts
from defect_jax.metrics.images import ImageRow, image_metrics
from defect_jax.metrics.parts import Part, part_metrics, write_parts
from defect_jax.metrics.slices import by_class, by_size, size_edges, slice_metrics
from defect_jax.metrics.summary import join_metrics

SCORES = st.lists(st.floats(0, 1, width=16), min_size=1, max_size=5)


@given(SCORES)
def test_shots_together_are_the_plain_formulas(scores):
    for name, formula in {
        "max": max,
        "mean": np.mean,
        "noisy_or": lambda p: 1 - np.prod(1 - np.array(p)),
    }.items():
        running = SHOTS[name](np.array(scores))
        want = [formula(scores[: n + 1]) for n in range(len(scores))]
        np.testing.assert_allclose(running, want, atol=1e-12)


def test_part_is_defective_if_any_shot_is_and_shots_follow_their_ids():
    parts = parts_of(list("babac"), ["x5", "x4", "x3", "x2", "x1"], [0, 0, 1, 0, 0])
    assert parts.group == ["a", "b", "c"] and parts.label.tolist() == [0, 1, 0]
    assert [rows.tolist() for rows in parts.rows] == [[3, 1], [2, 0], [4]]
    score = [0.9, 0.2, 0.5, 0.4, 0.1]
    assert part_scores(parts, score, "mean").tolist() == pytest.approx([0.3, 0.7, 0.1])


@pytest.mark.parametrize(
    ("shots", "good", "bad"),
    [
        ("max", [0.4, 0.4, 0.4], [0.0, 0.0, 0.6]),  # the defect shows in one light only
        ("mean", [0.9, 0.0, 0.0], [0.5, 0.5, 0.5]),  # a glare in one of the good ones
    ],
)
def test_the_way_that_ranks_best_is_taken(shots, good, bad):
    group, score = ["g"] * 3 + ["b"] * 3, good + bad
    parts = parts_of(group, list("123123"), [0, 0, 0, 1, 1, 1])
    assert best_shots(parts, score) == shots
    chosen = choose(images([0] * 3 + [1] * 3, score, group=group), 0.1, options(), 7)
    assert chosen.part.shots == shots
    named = options(shots="noisy_or")
    assert choose(images([0, 1], [0.2, 0.6]), 0.1, named, 7).part.shots == "noisy_or"


PARTS = st.lists(st.tuples(st.integers(0, 1), SCORES), min_size=2, max_size=8)


@given(PARTS, st.sampled_from(list(SHOTS)), st.floats(0.05, 0.95), st.booleans())
def test_causal_test_costs_no_mistake_and_saves_looks(rows, shots, threshold, may_accept):
    label = np.array([truth for truth, _ in rows])
    scores = [np.array(of_part) for _, of_part in rows]
    part = PartDecision(shots, threshold, len(rows), int(label.sum()))
    test = choose_empirical(label, scores, part, options(), may_accept)
    one_by_one = [decide_shots(of_part, part, test) for of_part in scores]
    rejected = np.array([verdict for verdict, _ in one_by_one])
    full = np.array([SHOTS[shots](of_part)[-1] >= threshold for of_part in scores])
    assert (rejected < label).sum() <= (full < label).sum()
    assert (rejected > label).sum() <= (full > label).sum()
    assert test.expected_shots == pytest.approx(np.mean([looks for _, looks in one_by_one]))
    assert test.expected_shots <= test.shots == pytest.approx(np.mean([len(s) for s in scores]))
    if not may_accept:
        assert (rejected >= full).all() and test.lower < 0


def test_clear_parts_are_decided_at_the_first_shot():
    scores, part = list(np.array([[0.9, 0.9], [0.1, 0.2]])), PartDecision("max", 0.5, 2, 1)
    test = choose_empirical(np.array([1, 0]), scores, part, options(), may_accept=True)
    assert test.expected_shots == 1.0 and test.shots == 2.0


@given(SCORES, st.sampled_from(list(SHOTS)))
def test_look_by_look_is_the_decision_of_the_row(scores, shots):
    test = SequentialTest(upper=0.7, lower=0.3, expected_shots=1.0, shots=1.0)
    looked, verdict, looks = Looked(), LOOK_AGAIN, 0
    for score in scores:
        looked, verdict = look(looked, score, shots, test)
        looks += 1
        if verdict != LOOK_AGAIN:
            break
    part = PartDecision(shots, 0.5, 10, 5)
    final, count = decide_shots(np.array(scores), part, test)
    assert count == looks
    if verdict == LOOK_AGAIN:
        assert final == (SHOTS[shots](np.array(scores))[-1] >= 0.5)
    else:
        assert final == (verdict == REJECT) and verdict in (ACCEPT, REJECT)


def image(name, label, score, mask_score=0.1, true_px=0, inside=0, predicted=0, threshold=0.5):
    union = true_px + predicted - inside
    return ImageRow(
        f"{name}/{score}", name, label, score, mask_score, int(score >= threshold),
        int(predicted > 0), inside / union if union else None, inside, true_px, predicted,
        score, int(score >= threshold),
    )  # fmt: skip


def test_metrics_of_parts_by_hand(tmp_path):
    shots = [
        ("a", 1, 0.2),
        ("a", 1, 0.9),
        ("b", 1, 0.3),
        ("c", 0, 0.6),
        ("c", 0, 0.1),
        ("d", 0, 0.2),
    ]
    rows = [image(*shot) for shot in shots]
    decided = DecisionRule(0.5, 0.5, 0.5, 7, 6, 3)  # nothing chosen: the highest shot, and 0.5
    parts = to_parts(rows, decided)
    assert [(p.group, p.label, p.score, p.decision, p.shots) for p in parts] == [
        ("a", 1, 0.9, 1, 2), ("b", 1, 0.3, 0, 1), ("c", 0, 0.6, 1, 2), ("d", 0, 0.2, 0, 1),
    ]  # fmt: skip
    metrics = part_metrics(parts)
    rates = ("part_recall", "part_false_positive_rate", "part_precision", "shots", "part_auroc")
    assert [metrics[key] for key in rates] == [0.5, 0.5, 0.5, 1.5, 0.75]
    assert (metrics["part_false_negatives"], metrics["part_false_positives"]) == (1, 1)
    write_parts(tmp_path / "parts.csv", parts)
    lines = (tmp_path / "parts.csv").read_text().splitlines()
    assert lines[1] == "a,1,2,0.9,1,1,2" and len(lines) == 5
    assert part_metrics([])["part_recall"] is None


def test_either_and_calibration_by_hand():
    rows = [
        image("a", 1, 0.9), image("b", 1, 0.1, predicted=5), image("c", 1, 0.2),
        image("d", 0, 0.1, predicted=2), image("e", 0, 0.2),
    ]  # fmt: skip
    metrics = combined_metrics([(rows, DecisionRule(0.5, 0.5, 0.5, 7, 5, 3))])
    assert metrics["either_recall"] == pytest.approx(2 / 3)
    assert metrics["either_false_positive_rate"] == 0.5
    assert metrics["logistic_recall"] is None and metrics["ece"] == metrics["ece_uncalibrated"]


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([image("a", 0, 0.9), image("b", 0, 0.2)], "part_recall is null: the split has no def"),
        (
            [image("a", 1, 0.9), image("a", 0, 0.2)],
            "positive_rate is null: the split has no good part",
        ),
        (
            [image("a", 1, 0.1), image("b", 0, 0.2)],
            "part_precision is null: no part is rejected",
        ),
        ([image("a", 1, 0.1)], "logistic_recall is null: the decision has no logistic"),
    ],
)
def test_undefined_figures_of_parts_say_why(rows, missing):
    decided = DecisionRule(0.5, 0.5, 0.5, 7, 2, 1)
    pixels = dict.fromkeys(("miou_pooled", "miou", "mpa", "pixel_ap", "pixel_auroc", "aupro"))
    given = part_metrics(to_parts(rows, decided)), combined_metrics([(rows, decided)]), pixels
    defective = sum(p.label for p in rows)
    metrics, reasons = join_metrics(
        image_metrics(rows), *given, images=len(rows), defective=defective
    )
    assert any(missing in reason for reason in reasons)
    assert len(reasons) == sum(value is None for value in metrics.values())


def test_slices_by_size_and_class():
    edges = size_edges([0, *range(10, 110, 10)])
    assert edges == [10, 30, 50, 80]
    rows = [
        image("a", 1, 0.9, true_px=10, inside=5, predicted=10),
        image("b", 1, 0.1, true_px=30),
        image("c", 1, 0.8, true_px=31, predicted=9),
        image("d", 1, 0.7, true_px=900, inside=900, predicted=900),
        image("e", 0, 0.9, predicted=4),
    ]
    tenth, first, second, third, fourth = by_size(rows, edges)
    assert tenth.name == "smallest tenth: up to 10 px" and tenth.recall == 1.0
    assert (first.defective, first.recall, first.seg_recall_hit) == (2, 0.5, 0.5)
    assert first.seg_miou == pytest.approx((5 / 15 + 0) / 2)
    assert (second.seg_recall_hit, second.recall) == (0.0, 1.0)
    assert third.defective == 0 and third.recall is third.recall_low is None
    assert fourth.name == "largest quarter: above 80 px" and fourth.seg_miou == 1.0
    by_name = by_class(rows, ["pit", "pit", "crack", "crack", "good"])
    assert [(s.name, s.defective, s.recall) for s in by_name] == [
        ("crack", 2, 1.0),
        ("pit", 2, 0.5),
    ]
    assert slice_metrics(by_name)["class_pit_recall"] == 0.5
    assert slice_metrics([tenth])["size_smallest_tenth_defective"] == 1
    assert by_class(rows, ["pit"] * 5) == [] and by_size(rows, None) == []
    assert size_edges([0, 0]) is None


def test_groups_that_look_like_formulas_are_texts(tmp_path):
    write_parts(tmp_path / "parts.csv", [Part("=1+1", 1, 6, 0.2, 0, 0, 6)])
    assert (tmp_path / "parts.csv").read_text().splitlines()[1].startswith("'=1+1,1,6,0.2,")
