"""Confusion of several classes of defects against scikit-learn, on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn import metrics as sk

from defect_jax.data.prepare.prepared import Split, SplitRow
from defect_jax.decision import DecisionRule
from defect_jax.evaluation.evaluator import Scores
from defect_jax.evaluation.result_tables import class_metrics, to_images, to_metrics, to_parts
from defect_jax.metrics.class_counts import ACCURACY, IOU, ClassCounts, class_reasons
from defect_jax.metrics.counts import PixelCounts, Uint64Counter
from defect_jax.metrics.histogram import PixelHistogram
from defect_jax.metrics.regions import region_weights

NAMES = ["crack", "pit", "stain"]
SIDE = len(NAMES) + 1
update = jax.jit(ClassCounts.update)


def planes(seed, images=8, shown=SIDE):
    """Decided and true classes of the same surface, of `shown` classes, and what is no padding."""
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, shown, (images, 6, 5)).astype(np.uint8)
    other = rng.integers(0, shown, mask.shape).astype(np.uint8)
    decided = np.where(rng.random(mask.shape) < 0.6, mask, other)
    return decided, mask, rng.random(mask.shape) < 0.8


def counted(*batches):
    counts = ClassCounts.empty(len(NAMES))
    for batch in batches:
        counts = update(counts, *batch)
    return counts


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, SIDE))
def test_metrics_equal_sklearn(seed, shown):
    decided, mask, valid = batch = planes(seed, shown=shown)
    counts, flat = counted(batch), (mask[valid], decided[valid])
    labels = list(range(SIDE))
    matrix = sk.confusion_matrix(*flat, labels=labels)
    np.testing.assert_array_equal(counts.confusion(), matrix)
    iou = sk.jaccard_score(*flat, labels=labels, average=None, zero_division=0.0)
    accuracy = sk.recall_score(*flat, labels=labels, average=None, zero_division=np.nan)
    ours = counts.compute(NAMES)
    there = np.union1d(*flat)
    for label, name in enumerate(["background", *NAMES]):
        want = pytest.approx(iou[label], abs=1e-12) if label in there else None
        assert ours[f"{IOU}{name}"] == want
        want = None if np.isnan(accuracy[label]) else pytest.approx(accuracy[label], abs=1e-12)
        assert ours[f"{ACCURACY}{name}"] == want
    assert ours["class_miou"] == pytest.approx(iou[there].mean(), abs=1e-12)
    assert ours["class_mpa"] == pytest.approx(np.nanmean(accuracy), abs=1e-12)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=4), st.randoms())
def test_merging_equals_one_pass_in_any_order(seeds, random):
    batches = [planes(seed) for seed in seeds]
    whole = counted(*batches).confusion()
    merged = counted(batches[0]).merge(counted(*batches[1:]))
    np.testing.assert_array_equal(merged.confusion(), whole)
    random.shuffle(batches)
    np.testing.assert_array_equal(counted(*batches).confusion(), whole)
    joined = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    np.testing.assert_array_equal(counted(joined).confusion(), whole)


def test_eight_devices_give_the_same_bits_as_one():
    batch = planes(3)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    empty = jax.device_put(ClassCounts.empty(len(NAMES)), NamedSharding(mesh, P()))
    sharded = jax.device_put(batch, NamedSharding(mesh, P("data")))
    np.testing.assert_array_equal(update(empty, *sharded).confusion(), counted(batch).confusion())
    program = update.lower(empty, *sharded).compile().as_text()
    assert "all-gather" not in program  # no device ever holds the images of another


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_classes_taken_together_are_the_defect_of_a_binary_mask(seed):
    decided, mask, valid = batch = planes(seed)
    confusion = counted(batch).confusion()
    binary = [jnp.asarray(plane > 0) for plane in (decided, mask, valid)]
    tn, fp, fn, tp = PixelCounts.empty().update(*binary).confusion.to_numpy().tolist()
    assert [confusion[0, 0], confusion[0, 1:].sum()] == [tn, fp]
    assert [confusion[1:, 0].sum(), confusion[1:, 1:].sum()] == [fn, tp]


def test_one_class_is_the_binary_pair_of_metrics():
    decided, mask, valid = planes(1, shown=2)
    ours = update(ClassCounts.empty(1), decided, mask, valid).compute(["defect"])
    binary = [jnp.asarray(plane > 0) for plane in (decided, mask, valid)]
    want = PixelCounts.empty().update(*binary).compute()
    assert ours["iou/defect"] == want["miou_pooled"]
    assert (ours["class_miou"], ours["class_mpa"]) == (want["miou"], want["mpa"])


def test_a_class_that_is_decided_and_never_true_counts_in_the_overlap_alone():
    mask, decided = np.zeros((2, 1, 1, 4), np.uint8)
    mask[..., :2], decided[..., :2], decided[..., 3] = 1, 1, 2
    ours = counted((decided, mask, np.ones(mask.shape, bool))).compute(NAMES)
    assert (ours["iou/pit"], ours["pixel_accuracy/pit"]) == (0.0, None)
    assert ours["class_miou"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert ours["class_mpa"] == pytest.approx((0.5 + 1.0) / 2)
    assert ours["iou/stain"] is ours["pixel_accuracy/stain"] is None
    assert [line.partition(" ")[0] for line in class_reasons(ours)] == [
        *("pixel_accuracy/pit", "iou/stain", "pixel_accuracy/stain")
    ]


def test_nothing_seen_is_undefined_and_names_must_fit():
    empty = ClassCounts.empty(len(NAMES))
    assert set(empty.compute(NAMES).values()) == {None}
    assert class_reasons({"class_miou": None}) == ["class_miou is null: the split has no pixel"]
    with pytest.raises(ValueError, match="3 classes of defects, but names"):
        empty.compute(NAMES[:2])


def test_a_number_that_is_no_class_is_not_counted_for_another():
    mask = np.array([[[4, 0, 255, 1]]], np.uint8)
    decided = np.array([[[0, 7, 0, 1]]], np.uint8)
    confusion = counted((decided, mask, np.ones(mask.shape, bool))).confusion()
    assert confusion[1, 1] == confusion.sum() == 1


def test_more_pixels_than_32_bits_hold():
    many = Uint64Counter.zeros(4).add(jnp.array([2**32 - 1, 0, 2**31, 2**31], jnp.uint32))
    counts = ClassCounts(pixels=many)
    for _ in range(8):
        counts = counts.merge(counts)
    assert counts.confusion()[0, 0] == (2**32 - 1) << 8
    ours = counts.compute(["defect"])
    assert ours["pixel_accuracy/defect"] == 0.5 and ours["pixel_accuracy/background"] == 1.0


# metrics.json


def scores_of(decided, mask):
    """What a pass over two images gives: the same pixels, as defects and by class."""
    valid = np.ones(mask.shape, bool)
    marked, defect = decided > 0, mask > 0
    weights, regions = zip(*map(region_weights, defect), strict=True)
    probability = np.where(marked, 0.9, 0.1).astype(np.float32)
    planes = map(jnp.asarray, (probability, defect, valid, np.stack(weights), np.array(regions)))
    pairs = map(jnp.asarray, (marked, defect, valid))
    score = probability.max((1, 2))
    images = {"score": score, "mask_score": score, "true_px": defect.sum((1, 2))}
    images |= {"intersection_px": (marked & defect).sum((1, 2))}
    images |= {"predicted_px": marked.sum((1, 2)), "unsure_px": np.zeros(len(mask), int)}
    return Scores(
        images,
        PixelHistogram.empty().update(*planes),
        PixelCounts.empty().update(*pairs),
        counted((decided, mask, valid)),
    )


def test_metrics_of_classes_are_added_and_change_no_other(capsys):
    mask, decided = np.zeros((2, 2, 2, 4), np.uint8)
    mask[0, 0], decided[0, 0] = 1, (1, 1, 2, 0)
    rows = [SplitRow("a", "a", "crack", 1, 2, 4, 4), SplitRow("b", "b", "good", 0, 2, 4, 0)]
    split, scores = Split([], rows), scores_of(decided, mask)
    decision = DecisionRule(0.5, 0.5, 0.5, checkpoint_step=1, pictures=2, defective=1)
    images = to_images(split, scores, decision)
    given = split, [(images, decision)], to_parts(images, decision), []
    binary = to_metrics(*given, scores._replace(classes=None), False)
    several = to_metrics(*given, scores, False, NAMES)
    assert {key: several[key] for key in binary} == binary
    added = {key: several[key] for key in several if key not in binary}
    assert added == scores.classes.compute(NAMES) and added["pixel_accuracy/crack"] == 0.5
    assert "iou/stain is null: no pixel is stain" in "".join(capsys.readouterr())


def test_classes_that_are_not_the_defects_are_refused():
    mask, decided = np.zeros((2, 2, 2, 4), np.uint8)
    mask[0, 0] = len(NAMES) + 1  # a defect, but no class that there is
    with pytest.raises(ValueError, match="but defect or not"):
        class_metrics(scores_of(decided, mask), NAMES)
