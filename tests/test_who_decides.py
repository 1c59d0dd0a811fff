"""The one verdict: what each way rejects, who decides, and what the program makes of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import special
from validation_images import images, options

from defect_jax.decision import Combination, DecisionRule
from defect_jax.decision.apply import IN_PROGRAMS, ON_HOST, Marked, decide
from defect_jax.decision.choose import choose
from defect_jax.decision.held_out import FOLDS, held_out
from defect_jax.decision.record import REJECTS_NOTHING, WAYS_TO_DECIDE
from defect_jax.decision.ways import WAYS, probability_threshold, verdict, verdict_threshold
from defect_jax.decision.who_decides import FEWEST_PARTS
from defect_jax.deploy.onnx import to_onnx
from defect_jax.metrics.calibration import logit_jax
from defect_jax.runtime.errors import UserError

THRESHOLD = st.sampled_from([0.0, 0.25, 0.5, 0.875, 1.0, REJECTS_NOTHING])
SCORES = arrays.arrays(np.float32, 12, elements=st.integers(0, 16).map(lambda n: n / 16))
RULE = DecisionRule(
    *(0.6, 0.3, 0.3, 1, 9, 5), min_area_px=4, logistic=Combination(-1.0, 2.0, 0.5, 0.4)
)


def rule(**changes):
    return dataclasses.replace(RULE, **changes)


def test_the_names_in_files_are_the_ways():
    assert tuple(WAYS) == WAYS_TO_DECIDE


@given(SCORES, SCORES, arrays.arrays(bool, 12), THRESHOLD, THRESHOLD)
def test_each_way_rejects_what_its_name_says(score, mask_score, large, head, mask):
    made = rule(threshold=head, mask_threshold=mask)
    by_mask = (mask_score >= mask) & large
    both = special.expit(-1.0 + 2.0 * _logit(score) + 0.5 * _logit(mask_score))
    expected = {
        "score": score >= head,
        "mask": by_mask,
        "either": (score >= head) | by_mask,
        "logistic": both >= 0.4,
    }
    for name, rejected in expected.items():
        way = dataclasses.replace(made, decides=name)
        found = verdict(score.astype(float), mask_score.astype(float), by_mask, way)
        assert found.rejected.tolist() == rejected.tolist()
        # One logit ranks images as the way decides, but where scores are as good as 0 or 1.
        at = _logit(np.array(verdict_threshold(way))) if verdict_threshold(way) <= 1 else np.inf
        assert (found.logit[~rejected] <= at).all()
        assert name == "score" or (found.logit[~rejected] < at).all()
        assert (found.logit[rejected] >= at - 1e-12).all()


def _logit(score):
    return special.logit(np.clip(score.astype(float), 2.0**-24, 1 - 2.0**-24))


@pytest.mark.parametrize("name", WAYS)
def test_programs_decide_as_numpy_does(name):
    rng = np.random.default_rng(0)
    classes = (rng.random((50, 4, 4)) < 0.4).astype(np.uint8)
    scores = rng.random((2, 50)).astype(np.float32)
    made = rule(decides=name, temperature=1.7)
    marked = Marked(scores[0], classes.sum((1, 2)).astype(np.int32), classes)
    host = decide(marked, scores[1], made, ON_HOST)
    program = jax.jit(lambda m, label: decide(m, label, made, IN_PROGRAMS))
    device = program(jax.tree.map(jnp.asarray, marked), scores[1])
    for one, two in zip(host, device, strict=True):
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(two, float), atol=2e-6)
    rejected = np.asarray(host.rejected)
    assert 0 < rejected.sum() < 50
    assert (rejected == (np.asarray(host.probability) >= probability_threshold(made))).all()


@pytest.mark.parametrize("name", WAYS)
def test_onnx_decides_as_numpy_does(name):
    rng = np.random.default_rng(0)
    scores = {each: rng.random(40, np.float32) for each in ("score", "mask_score")}
    mask_rejected = (scores["mask_score"] >= 0.3) & (rng.random(40) < 0.5)
    made = rule(decides=name)

    def program(score, mask_score, marked):
        return verdict(score, mask_score, marked > 0.5, made, logit_jax)

    given_arrays = scores | {"marked": mask_rejected.astype(np.float32)}
    shapes = {
        each: jax.ShapeDtypeStruct(array.shape, array.dtype) for each, array in given_arrays.items()
    }
    model = to_onnx(program, shapes, ("rejected", "verdict_logit")).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rejected, logits = session.run(None, given_arrays)
    expected = verdict(*scores.values(), mask_rejected, made)
    assert rejected.tolist() == expected.rejected.tolist()
    np.testing.assert_allclose(logits, expected.logit, atol=2e-6)


def noisy(rng, label, sure):
    """Scores that part the kinds with so many standard deviations."""
    return special.expit(sure * (2 * label - 1) + rng.normal(size=label.size))


@pytest.mark.parametrize(
    ("head", "mask", "decides"),
    [(0.1, 2.5, "mask"), (2.5, 0.1, "score"), (1.0, None, "score")],
)
def test_the_better_one_decides_and_the_score_where_none_is_clearly_better(head, mask, decides):
    rng = np.random.default_rng(1)
    label = np.arange(80) % 2
    score = noisy(rng, label, head)
    mask_score = noisy(rng, label, mask) if mask else score + 0.01 * rng.random(80)  # as good
    made = choose(images(label, score, np.minimum(mask_score, 1.0)), 0.5, options(), 7)
    assert made.decides == decides
    assert made.mistakes.keys() == WAYS.keys() and f"{made.mistakes['mask']:.3f}" in made.why
    if decides == "mask":
        assert made.mistakes["mask"] == min(made.mistakes.values())


def test_mistakes_are_those_of_parts_that_the_thresholds_were_not_chosen_on():
    """Scores of noise promise much on their own images and nothing on others."""
    rng = np.random.default_rng(2)
    label = np.arange(40) % 2
    asked = options(rule="least_cost", defect_rate=0.5, miss_cost=1.0)
    given_images = images(label, rng.random(40), rng.random(40))
    made = choose(given_images, 0.5, asked, 7)
    rejected = given_images.score >= made.threshold
    own = (1 - rejected[label == 1].mean() + rejected[label == 0].mean()) / 2
    assert own < 0.42 < min(made.mistakes.values())


def test_with_few_parts_the_simplest_decides_and_says_how_few():
    rng = np.random.default_rng(0)
    label = np.repeat([1, 0], [2 * (FEWEST_PARTS - 1), 40])
    group = np.arange(label.size) // 2  # two images of each part
    given_images = images(label, rng.random(label.size), noisy(rng, label, 3.0), group)
    made = choose(given_images, 0.5, options(), 7)
    assert (made.decides, made.mistakes) == ("score", {})
    assert f"only {FEWEST_PARTS - 1} defective and 20 good parts" in made.why


def test_whoever_is_named_decides():
    label = np.arange(8) % 2
    given_images = images(label, label * 0.5 + 0.2, label * 0.4 + 0.3)
    for name in WAYS:
        assert choose(given_images, 0.5, options(decides=name), 7).decides == name
    without_head = images(label, label * 0.5 + 0.2)
    assert choose(without_head, 0.5, options(), 7).decides == "mask"
    with pytest.raises(UserError, match="decides=logistic: score and mask cannot be combined"):
        choose(without_head, 0.5, options(decides="logistic"), 7)


def test_under_a_promise_nothing_else_is_chosen():
    label = np.arange(100) % 2
    given_images = images(label, np.linspace(0, 1, 100), label * 0.5 + 0.2)
    made = choose(given_images, 0.5, options(rule="guaranteed_miss_rate"), 7)
    assert made.decides == "score" and made.promise and "promise" in made.why


def test_a_temperature_must_help_on_parts_held_out():
    rng = np.random.default_rng(0)
    label = (rng.random(400) < 0.5).astype(int)
    logits = 2.0 * (2 * label - 1) + 2.0 * rng.normal(size=400)  # log odds: a logistic truth
    sure = choose(images(label, special.expit(4.0 * logits), rng.random(400)), 0.5, options(), 7)
    assert sure.temperature == pytest.approx(4.0, rel=0.3) and sure.ece_after < sure.ece_before
    few = images(label[:12], special.expit(logits[:12]), rng.random(12))
    assert choose(few, 0.5, options(decides="score"), 7).temperature == 1.0


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=1), st.integers(0, 3))
def test_every_image_is_held_out_once_with_its_whole_part(rows, seed):
    label, group = (np.array(column) for column in zip(*rows, strict=True))
    folds = list(held_out(label, group, seed))
    assert np.sum(folds, axis=0).tolist() == [1] * len(rows) and len(folds) <= FOLDS
    for name in np.unique(group):
        assert sum(fold[group == name].any() for fold in folds) == 1
    defective = [len(set(group[fold & (label == 1)])) for fold in folds]
    if len(folds) == FOLDS:
        assert max(defective) - min(defective) <= 1
