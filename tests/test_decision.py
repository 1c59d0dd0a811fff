import dataclasses
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from edited_json import EDITS, paths, replaced, with_more, without
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from validation_images import images, options

from defect_jax.decision import (
    Combination,
    DecisionRule,
    PartDecision,
    Promise,
    SequentialTest,
)
from defect_jax.decision.apply import (
    IN_PROGRAMS,
    ON_HOST,
    Marked,
    Thresholds,
    decide,
    mark,
    mark_strips,
    why_undecided,
)
from defect_jax.decision.choose import choose
from defect_jax.decision.combination import combined
from defect_jax.decision.record import REJECTS_NOTHING
from defect_jax.decision.sequential import REJECT, Looked, decide_shots, look
from defect_jax.decision.shots import SHOTS
from defect_jax.decision.ways import rejects
from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError

PROBABILITY = st.floats(0, 1, width=32)
IMAGES = st.lists(st.tuples(st.integers(0, 1), PROBABILITY, PROBABILITY), min_size=1)


@settings(deadline=None)
@given(IMAGES, st.none() | PROBABILITY)
def test_choose_keeps_its_promises(given_images, pixel_threshold):
    label, score, mask_score = (np.array(column) for column in zip(*given_images, strict=True))
    chosen = choose(images(label, score, mask_score), pixel_threshold, options(), 7)
    assert 0 <= chosen.pixel_threshold <= chosen.mask_threshold <= 1
    limit = chosen.mask_threshold if pixel_threshold is None else pixel_threshold
    assert chosen.pixel_threshold == min(limit, chosen.mask_threshold)
    assert (chosen.pictures, chosen.defective) == (len(label), label.sum())
    if 0 < label.sum() < len(label):
        assert chosen.note == ""
        for f1, threshold, values in (
            (chosen.f1, chosen.threshold, score),
            (chosen.mask_f1, chosen.mask_threshold, mask_score),
        ):
            assert f1 == pytest.approx(f1_score(label, values >= threshold), abs=1e-12)
            best = max(f1_score(label, values >= t) for t in values)
            assert f1 == pytest.approx(best, abs=1e-12)
    else:
        assert chosen.threshold == chosen.mask_threshold == 0.5
        assert chosen.f1 is None and chosen.mask_f1 is None
        assert "validation split has no" in chosen.note


@settings(deadline=None)
@given(IMAGES, PROBABILITY)
def test_rejected_by_the_mask_means_pixels_to_show(given_images, pixel_threshold):
    label, score, mask_score = (np.array(column) for column in zip(*given_images, strict=True))
    chosen = choose(images(label, score, mask_score), pixel_threshold, options(), 7)
    rejected = mask_score >= chosen.mask_threshold
    assert (mask_score[rejected] >= chosen.pixel_threshold).all()


def test_threshold_lies_midway_between_the_scores_it_parts():
    table = images([0, 0, 1], [0.0, 0.25, 0.75], [0.5, 0.5, 0.625])
    chosen = choose(table, 0.125, options(), 7)
    assert (chosen.threshold, chosen.mask_threshold, chosen.pixel_threshold) == (0.5, 0.5625, 0.125)
    assert (chosen.f1, chosen.mask_f1, chosen.min_area_px) == (1.0, 1.0, 1)


@pytest.mark.parametrize(("labels", "word"), [([0, 0], "defective"), ([1, 1], "good")])
def test_one_kind_of_image_is_said_and_not_guessed_from(labels, word):
    chosen = choose(images(labels, [0.125, 0.75], [0.25, 0.75]), 0.875, options(), 7)
    assert f"no {word} image" in chosen.note
    assert (chosen.threshold, chosen.mask_threshold, chosen.pixel_threshold) == (0.5, 0.5, 0.5)
    assert chosen.part is chosen.sequential is chosen.logistic is None


def test_small_areas_are_left_out_when_that_helps():
    """Good surface sparkles in a few pixels as brightly as a defect shines in many."""
    label = [0] * 20 + [1] * 5
    table = images(label, label, [0.9] * 25, area_px=[3] * 20 + [80] * 5)
    chosen = choose(table, 0.5, options(), 7)
    assert (chosen.min_area_px, chosen.mask_f1) == (4, 1.0)
    assert chosen.pixel_threshold <= chosen.mask_threshold <= 0.9
    for fixed in (1, 60):
        assert choose(table, 0.5, options(min_area_px=fixed), 7).min_area_px == fixed
    with pytest.raises(UserError, match="config.decision.min_area_px=81"):
        choose(table, 0.5, options(min_area_px=81, rule="target_recall"), 7)


def test_a_minimum_area_that_does_not_help_is_not_asked_for():
    table = images([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], area_px=[0, 3, 2, 90])
    assert choose(table, 0.5, options(), 7).min_area_px == 1


def test_logistic_combination_only_where_there_is_a_head():
    label, score = [0, 0, 1, 1] * 5, [0.1, 0.4, 0.6, 0.9] * 5
    assert choose(images(label, score), 0.5, options(), 7).logistic is None
    mask_score = [0.2, 0.6, 0.5, 0.8] * 5
    fitted = choose(images(label, score, mask_score), 0.5, options(), 7).logistic
    both = combined((fitted.intercept, fitted.head, fitted.mask), score, mask_score)
    assert f1_score(label, both >= fitted.threshold) == 1.0


def test_written_decision_reads_back_equal(tmp_path):
    group = [index // 3 for index in range(30)]
    label = [int(g % 2) for g in group]
    score = np.random.default_rng(0).random(30)
    for changes in ({}, {"rule": "guaranteed_miss_rate", "miss_rate": 0.5}):
        made = choose(images(label, score, 1 - score, group), 0.4, options(**changes), 7)
        assert made.part and made.sequential and (made.promise or made.logistic)
        made.to_json(tmp_path / "run" / "decision.json")
        assert DecisionRule.from_json(tmp_path / "run" / "decision.json") == made
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["decision.json"]


def test_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "decision.json"
    good = DecisionRule(0.5, 0.5, 0.5, 7, 3, 1)
    good.to_json(path)
    with pytest.raises(ValueError):
        dataclasses.replace(good, threshold=float("nan")).to_json(path)
    with pytest.raises(UnicodeEncodeError):
        atomic_files.write_text(path, "\ud800")
    assert DecisionRule.from_json(path) == good
    assert [entry.name for entry in tmp_path.iterdir()] == ["decision.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": None}, "threshold must be a number, not null"),
        ({"threshold": True}, "threshold must be a number"),
        ({"threshold": 1.5}, "threshold must be between 0 and 1"),
        ({"threshold": float("nan")}, "NaN is no number"),
        ({"pixel_threshold": 0.75}, "pixel_threshold must not be above mask_threshold"),
        ({"pictures": 1.5}, "pictures must be a whole number"),
        ({"defective": -1}, "defective must be a whole number"),
        ({"f1": "high"}, "f1 must be a number or null"),
        ({"rule": 3}, "rule must be text"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"extra": 1}, "unknown field 'extra'"),
        ({"part": {"shots": "max"}}, "field 'part.threshold' is missing"),
        ({"part": 1}, "part. must hold one JSON object"),
        ({"sequential": {"far": 1}}, "unknown field 'sequential.far'"),
        ({"options": []}, "options must be an object"),
    ],
)
def test_wrong_field_is_named(tmp_path, change, message):
    path = tmp_path / "decision.json"
    fields = dataclasses.asdict(DecisionRule(0.5, 0.5, 0.25, 7, 3, 1)) | change
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError, match=message) as error:
        DecisionRule.from_json(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_field_and_whole_number_for_a_probability(tmp_path):
    path = tmp_path / "decision.json"
    numbers = {"threshold": 1, "mask_threshold": 1, "pixel_threshold": 0, "pictures": 3}
    numbers["checkpoint_step"] = 7
    path.write_text(json.dumps(numbers))
    with pytest.raises(UserError, match="'defective' is missing"):
        DecisionRule.from_json(path)
    path.write_text(json.dumps(numbers | {"defective": 1}))
    assert DecisionRule.from_json(path) == DecisionRule(1.0, 1.0, 0.0, 7, 3, 1)


@pytest.mark.parametrize("text", [None, "{", "[1]", '{"threshold": 0.5'])
def test_file_that_is_no_decision_is_named(tmp_path, text):
    path = tmp_path / "decision.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match="decision.json: "):
        DecisionRule.from_json(path)


PART = PartDecision("max", 0.5, 10, 5)
WHOLE = DecisionRule(
    **{"threshold": 0.5, "mask_threshold": 0.5, "pixel_threshold": 0.25, "checkpoint_step": 7},
    **{"pictures": 3, "defective": 1, "temperature": 1.5, "f1": 0.5, "options": options()},
    promise=Promise(0.1, 0.9, 5, 0, 1),
    part=PART,
    sequential=SequentialTest(0.8, 0.2, 1.5, 2.0),
    logistic=Combination(0.0, 1.0, 1.0, 0.5),
)


@pytest.mark.parametrize("edit", EDITS)
def test_every_value_replaced_by_anything_is_a_decision_or_one_line(edit, tmp_path):
    path, fields = tmp_path / "decision.json", dataclasses.asdict(WHOLE)
    for place in paths(fields):
        for text in (replaced(fields, place, EDITS[edit]), without(fields, place)):
            path.write_text(text)
            try:
                made = DecisionRule.from_json(path)
            except UserError as error:
                assert "decision.json: " in str(error) and "\n" not in str(error)
            else:
                Thresholds.of(made)
                assert decide(Marked(0.9, 5, np.ones((2, 2), np.uint8)), math.nan, made).rejected
        path.write_text(with_more(fields, place))
        if place[0] != "options" or len(place) == 1:
            with pytest.raises(UserError, match="unknown field"):
                DecisionRule.from_json(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part": {"shots": "x", "threshold": 0.5, "parts": 1, "defective": 1}}, "part.shots must"),
        ({"part": {"shots": "max", "threshold": 3, "parts": 1, "defective": 1}}, "part.threshold"),
        ({"temperature": 1e-9}, "temperature must be from"),
        ({"min_area_px": 2**31}, "min_area_px must be from 0"),
        ({"logistic": {"intercept": 1e9, "head": 1, "mask": 1, "threshold": 0.5}}, "intercept"),
        ({"sequential": {"upper": -1, "lower": -1, "expected_shots": 1, "shots": 1}}, "upper must"),
        ({"note": "\x1b]52;c;aGk=\x07"}, "note must be text"),
    ],
)
def test_a_number_out_of_its_range_is_named(change, message, tmp_path):
    path = tmp_path / "decision.json"
    path.write_text(json.dumps(dataclasses.asdict(WHOLE) | change))
    with pytest.raises(UserError, match=message):
        DecisionRule.from_json(path)


@pytest.mark.parametrize("shots", SHOTS)
def test_every_way_to_take_shots_together_may_be_read(shots, tmp_path):
    made = dataclasses.replace(WHOLE, part=dataclasses.replace(PART, shots=shots))
    made.to_json(tmp_path / "decision.json")
    assert DecisionRule.from_json(tmp_path / "decision.json") == made


NO_NUMBERS = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("bad", NO_NUMBERS)
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0, REJECTS_NOTHING])
def test_what_is_no_number_rejects_whatever_the_thresholds(bad, threshold):
    made = dataclasses.replace(WHOLE, threshold=threshold, mask_threshold=threshold)
    made = dataclasses.replace(made, pixel_threshold=threshold, min_area_px=50)
    thresholds = Thresholds.of(made)
    for xp, functions in ((np, ON_HOST), (jnp, IN_PROGRAMS)):
        probability = np.full((2, 4, 5), 0.1, np.float32)
        probability[1, 2, 3] = bad
        marked = mark(xp.asarray(probability), xp.zeros((2, 4, 5), int), thresholds)
        assert np.isinf(marked.mask_score[1]) and marked.classes[1, 2, 3] == 1
        decision = decide(marked, xp.asarray(np.float32([0.0, 0.0])), made, functions)
        good = threshold > 0.1
        assert np.asarray(decision.rejected).tolist() == [threshold == 0.0, True]
        assert np.asarray(decision.mask_rejected)[1] and decision.mask[1, 2, 3] == 1
        assert not good or not np.asarray(decision.mask_rejected)[0]
        of_head = decide(marked, xp.asarray(np.float32([bad, bad])), made, functions)
        assert np.asarray(of_head.rejected).all()
    assert rejects(bad, threshold) is True  # Python's own numbers, as the predictor has them
    assert why_undecided(bad, 0.5) and why_undecided(0.5, bad) and not why_undecided(0.5, 0.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_shots_that_are_no_numbers_are_rejected(bad):
    test = SequentialTest(0.8, 0.2, 1.5, 2.0)
    assert decide_shots(np.array([bad]), PART, test) == (1, 1)
    assert look(Looked(), bad, "max", test)[1] == REJECT
    strips = iter([np.full((2, 3, 1), 0.1, np.float32), np.full((2, 3, 1), np.float32(bad))])
    marked = mark_strips(strips, (4, 3), Thresholds(2.0, 2.0, 1))
    assert marked.mask_score == math.inf and marked.area_px == 6
