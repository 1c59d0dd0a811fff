import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from defect_jax import decision
from defect_jax.decision import Decision
from defect_jax.errors import UserError

PROBABILITY = st.floats(0, 1, width=32)
PICTURES = st.lists(st.tuples(st.integers(0, 1), PROBABILITY, PROBABILITY), min_size=1)


@settings(deadline=None)
@given(PICTURES, st.none() | PROBABILITY)
def test_choose_keeps_its_promises(pictures, pixel_threshold):
    label, score, mask_score = (np.array(column) for column in zip(*pictures, strict=True))
    chosen = decision.choose(label, score, mask_score, pixel_threshold, 7)
    assert 0 <= chosen.pixel_threshold <= chosen.mask_threshold <= 1
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
@given(PICTURES, PROBABILITY)
def test_rejected_by_the_mask_means_pixels_to_show(pictures, pixel_threshold):
    label, score, mask_score = (np.array(column) for column in zip(*pictures, strict=True))
    chosen = decision.choose(label, score, mask_score, pixel_threshold, 7)
    rejected = mask_score >= chosen.mask_threshold
    assert (mask_score[rejected] >= chosen.pixel_threshold).all()


def test_threshold_lies_midway_between_the_scores_it_parts():
    chosen = decision.choose([0, 0, 1], [0.0, 0.25, 0.75], [0.5, 0.5, 0.625], 0.125, 7)
    assert chosen == Decision(0.5, 0.5625, 0.125, 7, 3, 1, f1=1.0, mask_f1=1.0)


@pytest.mark.parametrize(("labels", "word"), [([0, 0], "defective"), ([1, 1], "good")])
def test_one_kind_of_picture_is_said_and_not_guessed_from(labels, word):
    chosen = decision.choose(labels, [0.125, 0.75], [0.25, 0.75], 0.875, 7)
    assert f"no {word} picture" in chosen.note
    assert (chosen.threshold, chosen.mask_threshold, chosen.pixel_threshold) == (0.5, 0.5, 0.5)


def test_written_decision_reads_back_equal(tmp_path):
    chosen = decision.choose([0, 1, 1], [0.1, 0.3, 1 / 3], [0.1, 0.7, 0.2], 1 / 7, 7)
    chosen.to_json(tmp_path / "run" / "decision.json")
    assert Decision.from_json(tmp_path / "run" / "decision.json") == chosen
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["decision.json"]


def test_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "decision.json"
    good = Decision(0.5, 0.5, 0.5, 7, 3, 1)
    good.to_json(path)
    with pytest.raises(ValueError):
        dataclasses.replace(good, threshold=float("nan")).to_json(path)
    with pytest.raises(UnicodeEncodeError):
        decision.atomic.write_text(path, "\ud800")
    assert Decision.from_json(path) == good
    assert [entry.name for entry in tmp_path.iterdir()] == ["decision.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": None}, "threshold must be a number, not null"),
        ({"threshold": True}, "threshold must be a number"),
        ({"threshold": 1.5}, "threshold must lie between 0 and 1"),
        ({"threshold": float("nan")}, "threshold must be a number"),
        ({"pixel_threshold": 0.75}, "pixel_threshold must not lie above mask_threshold"),
        ({"pictures": 1.5}, "pictures must be a whole number"),
        ({"defective": -1}, "defective must be a whole number"),
        ({"f1": "high"}, "f1 must be a number or null"),
        ({"rule": 3}, "rule must be text"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"extra": 1}, "unknown field 'extra'"),
    ],
)
def test_wrong_field_is_named(tmp_path, change, message):
    path = tmp_path / "decision.json"
    fields = dataclasses.asdict(Decision(0.5, 0.5, 0.25, 7, 3, 1)) | change
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError, match=message) as error:
        Decision.from_json(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_field_and_whole_number_for_a_probability(tmp_path):
    path = tmp_path / "decision.json"
    numbers = {"threshold": 1, "mask_threshold": 1, "pixel_threshold": 0, "pictures": 3}
    numbers["checkpoint_step"] = 7
    path.write_text(json.dumps(numbers))
    with pytest.raises(UserError, match="'defective' is missing"):
        Decision.from_json(path)
    path.write_text(json.dumps(numbers | {"defective": 1}))
    assert Decision.from_json(path) == Decision(1.0, 1.0, 0.0, 7, 3, 1)


@pytest.mark.parametrize("text", [None, "{", "[1]", '{"threshold": 0.5'])
def test_file_that_is_no_decision_is_named(tmp_path, text):
    path = tmp_path / "decision.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match="decision.json: "):
        Decision.from_json(path)
