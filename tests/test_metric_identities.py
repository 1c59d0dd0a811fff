"""What must hold between metrics of images and of pixels, from the masks on."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from pixel_references import pixel_cases
from sklearn import metrics as sk

from defect_jax.metrics.counts import PixelCounts, image_counts
from defect_jax.metrics.images import ImageRow, image_iou, image_metrics

NAMES = ("intersection_px", "true_px", "predicted_px")
OF_DEFECTIVE = ("seg_recall", "seg_recall_hit", "seg_recall_iou_10", "seg_recall_iou_30")
counted = jax.jit(image_counts)
pooled = jax.jit(PixelCounts.update)


def rows(case):
    """The masks as rows of predictions.csv."""
    px = counted(case["decided"], case["mask"], case["valid"])
    return [row(*counts) for counts in zip(*(px[name].tolist() for name in NAMES), strict=True)]


def row(intersection_px, true_px, predicted_px, score=0.5, mask_score=0.5):
    px = intersection_px, true_px, predicted_px
    decisions = (int(score >= 0.5), int(predicted_px > 0))
    scores = score, mask_score
    iou, verdict = image_iou(*px), (score, decisions[0])
    return ImageRow("i", "g", int(true_px > 0), *scores, *decisions, iou, *px, *verdict)


def pooled_iou(case):
    counts = pooled(PixelCounts.empty(), case["decided"], case["mask"], case["valid"])
    return counts.compute()["miou_pooled"]


@given(pixel_cases())
def test_image_counts_and_seg_miou_equal_sets_of_pixels(case):
    planes = zip(case["decided"], case["mask"], case["valid"], strict=True)
    sets = [[set(np.flatnonzero(plane & valid)) for plane in pair] for *pair, valid in planes]
    ours = [tuple(getattr(image, name) for name in NAMES) for image in rows(case)]
    assert ours == [(len(d & t), len(t), len(d)) for d, t in sets]
    overlaps = [len(d & t) / len(d | t) for d, t in sets if d | t]
    expected = pytest.approx(np.mean(overlaps), abs=1e-12) if overlaps else None
    assert image_metrics(rows(case))["seg_miou"] == expected


@given(pixel_cases())
def test_pooled_iou_is_the_mean_of_image_ious_weighed_by_their_unions(case):
    images = rows(case)
    union_px = [p.true_px + p.predicted_px - p.intersection_px for p in images]
    weighed = sum(u / sum(union_px) * p.iou for u, p in zip(union_px, images, strict=True) if u)
    assert pooled_iou(case) == (pytest.approx(weighed, abs=1e-12) if any(union_px) else None)


@given(pixel_cases(), st.integers(1, 50))
def test_true_negatives_change_nothing_and_a_false_alarm_adds_a_zero(case, negatives):
    images = rows(case)
    before, after = (image_metrics(p) for p in (images, images + [row(0, 0, 0)] * negatives))
    for name in ("seg_miou", *OF_DEFECTIVE):
        assert after[name] == before[name], name
    terms = sum(image.iou is not None for image in images)
    alarmed = image_metrics([*images, row(0, 0, 1)])["seg_miou"]
    assert alarmed == pytest.approx((before["seg_miou"] or 0.0) * terms / (terms + 1), abs=1e-12)
    empty = {name: np.zeros_like(case[name]) for name in ("decided", "mask")}
    longer = {
        name: np.concatenate([case[name], (case | empty)[name]]) for name in (*empty, "valid")
    }
    assert pooled_iou(longer) == pooled_iou(case)
    assert pooled_iou(case | empty) is None
    assert image_metrics(rows(case | empty))["seg_miou"] is None


def test_eight_devices_count_the_pixels_of_images_as_one():
    rng = np.random.default_rng(0)
    planes = [rng.random((8, 9, 7)) < share for share in (0.3, 0.2, 0.9)]
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharded = counted(*jax.device_put(planes, NamedSharding(mesh, P("data"))))
    decided, mask, valid = planes
    both = decided & mask, mask, decided
    for name, plane in zip(NAMES, both, strict=True):
        np.testing.assert_array_equal(sharded[name], (plane & valid).sum((1, 2)))


def test_every_ranking_of_images_is_of_its_own_score():
    """Two scores in 2 % steps, so that many images tie, and 5 % is no step of the curve."""
    rng = np.random.default_rng(0)
    label = rng.random(150) < 0.3
    scores = [(rng.random(150) * 0.7 + 0.3 * label * rng.random(150)).round(2) for _ in range(2)]
    columns = zip(label, *np.transpose(scores).T.tolist(), strict=True)
    ours = image_metrics([row(0, int(true), 0, *both) for true, *both in columns])
    rate, recall, _ = sk.roc_curve(label, scores[0], drop_intermediate=False)
    precision, recalled, _ = sk.precision_recall_curve(label, scores[0])
    expected = {
        "image_ap": sk.average_precision_score(label, scores[0]),
        "image_auroc": sk.roc_auc_score(label, scores[0]),
        "image_ap_trapezoid": sk.auc(recalled, precision),
        "mask_image_ap": sk.average_precision_score(label, scores[1]),
        "mask_image_auroc": sk.roc_auc_score(label, scores[1]),
        "recall_at_fpr_05": recall[rate <= 0.05].max(),
        "fpr_at_recall_95": rate[recall >= 0.95].min(),
    }
    assert len(set(expected.values())) == len(expected)  # else one could stand for another
    assert {name: ours[name] for name in expected} == pytest.approx(expected, abs=1e-12)
