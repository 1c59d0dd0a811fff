"""Suspicious labels: confident learning by its definitions, kinds of faults, table and page."""


import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from defect_jax.metrics.label_quality import class_thresholds, doubt, estimate_wrong


def flipped(seed, flip=0.1, images=4000):
    """Labels of which some are wrong, and scores that follow the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.random(images) < 0.3
    wrong = rng.random(images) < flip
    probability = np.where(truth, rng.beta(6, 2, images), rng.beta(1.5, 9, images))
    return (truth ^ wrong).astype(int), probability, wrong


def test_the_confident_joint_is_that_of_its_definition():
    """Northcutt et al. 2021, equations 1 to 3, image by image."""
    label, probability, _ = flipped(0, images=300)
    p = np.stack([1 - probability, probability], axis=1)
    limit = [p[label == j, j].mean() for j in (0, 1)]
    assert class_thresholds(label, probability) == pytest.approx(limit)
    joint = np.zeros((2, 2))
    for given, of in zip(label, p, strict=True):
        sure = [j for j in (0, 1) if of[j] >= limit[j]]
        if sure:
            joint[given, max(sure, key=lambda j: of[j])] += 1
    calibrated = joint / joint.sum(axis=1, keepdims=True) * np.bincount(label)[:, None]
    found = estimate_wrong(label, probability)
    assert found == pytest.approx((calibrated[0, 1], calibrated[1, 0]))


def test_the_number_of_wrong_labels_is_found():
    label, probability, wrong = flipped(1)
    found = estimate_wrong(label, probability)
    assert found.good == pytest.approx((wrong & (label == 0)).sum(), rel=0.25)
    assert found.defective == pytest.approx((wrong & (label == 1)).sum(), rel=0.25)
    assert estimate_wrong(*flipped(1, flip=0.0)[:2]).total < 0.02 * len(label)


def test_doubt_ranks_wrong_labels_first_also_where_the_network_is_rarely_sure():
    label, probability, wrong = flipped(2)
    assert roc_auc_score(wrong, doubt(label, probability)) > 0.95
    faint = probability**3  # defects at 0.4
    assert roc_auc_score(wrong, doubt(label, faint)) > 0.95
    assert roc_auc_score(wrong, np.abs(label - faint)) < roc_auc_score(wrong, doubt(label, faint))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_is_ranked_by_score(label):
    probability = np.linspace(0.0, 1.0, 11)
    found = doubt([label] * 11, probability)
    assert np.all(np.diff(found if label == 0 else -found) > 0)
