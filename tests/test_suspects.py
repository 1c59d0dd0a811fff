"""Suspicious labels: confident learning by its definitions, kinds of faults, table and page."""

import csv

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from test_report import Outline, load_image, text_of

from defect_jax.evaluation.suspects import write_suspects
from defect_jax.metrics import suspects
from defect_jax.metrics.images import ImageRow
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


def evidence(id, label, score, **known):
    nothing = dict.fromkeys(suspects.Evidence._fields, 0) | {"given_softmin": 1.0, "masked": 1}
    of = {"id": id, "group": id, "label": label, "score": score, "mask_score": score}
    return suspects.Evidence(**nothing | of | known)


USUAL = [evidence(f"good{i}", 0, 0.05) for i in range(20)]
USUAL += [
    evidence(f"bad{i}", 1, 0.9, true_px=90, intersection_px=80, inside_highest=0.95)
    for i in range(10)
]
ODD = {
    "looks_defective": evidence("a", 0, 0.97, outside_px=70, outside_mean=0.9),
    "looks_good": evidence("b", 1, 0.02, true_px=60, inside_highest=0.03),
    "mask_misplaced": evidence(
        "c", 1, 0.95, true_px=60, inside_highest=0.02, outside_px=300, outside_mean=0.9
    ),
    "mask_incomplete": evidence(
        "d", 1, 0.95, true_px=60, intersection_px=55, inside_highest=0.97, outside_px=600,
        outside_mean=0.95,
    ),
}  # fmt: skip


def test_each_kind_of_fault_is_found_and_comes_before_what_is_usual():
    found = suspects.rank([*USUAL, *ODD.values()])
    first = {s.kind: s.id for s in found.images[:4]}
    assert first == {kind: of.id for kind, of in ODD.items()}
    assert [s.rank for s in found.images] == list(range(1, 35))
    assert np.all(np.diff([s.suspicion for s in found.images]) <= 0)
    assert found.wrong_masks == 2 and found.to_look_at == 4
    assert found.images[3].suspicion > suspects.SURE > found.images[4].suspicion
    by_kind = {s.kind: s for s in found.images[:4]}
    # 0.9 outside, 0.02 inside; 600 of 655 seen px are outside of the mask
    assert by_kind["mask_misplaced"].suspicion == pytest.approx(0.9 * 0.98)
    expected = 0.8 * 0.95 * 0.97 * 600 / 655
    assert by_kind["mask_incomplete"].suspicion == pytest.approx(expected)
    assert "score 0.97" in by_kind["looks_defective"].why
    assert "600 px" in by_kind["mask_incomplete"].why


def test_little_elsewhere_does_not_make_a_large_mask_misplaced():
    small = ODD["mask_misplaced"]._replace(true_px=6000)
    suspicion = suspects.suspicions([*USUAL, small])["mask_misplaced"]
    assert suspicion[-1] == pytest.approx(0.9 * 0.98 * 0.1)
    assert not suspicion[:-1].any()


def test_images_of_a_part_labelled_alike_are_judged_together():
    def shot(label, score, group="p"):
        return evidence("x", label, score, group=group)

    seen = suspects.seen([shot(0, 0.5), shot(0, 0.9), shot(1, 0.9), shot(0, 0.2, group="q")])
    assert seen == pytest.approx([0.75, 0.75, 0.9, 0.2])  # odds of 1 and 9: mean of the logits 3


def image_row(id, label, score, predicted_px, true_px):
    px = (0, true_px, predicted_px)
    return ImageRow(id, f"part of {id}", label, score, score, 0, 0, None, *px, score, 0)


ROWS = [image_row("=SUM(1)", 0, 0.98, 1234, 0), image_row("fine", 1, 0.9, 50, 60)]
ROWS += [image_row(f"<b>{i}</b>", 0, 0.1, 0, 0) for i in range(3)]
SUMS = {
    "softmin_weight": np.full(5, 2.0),
    "softmin_sum": np.full(5, 1.5),
    "inside_sum": np.array([0.0, 54.0, 0.0, 0.0, 0.0]),
    "inside_highest": np.array([0.0, 1.0, 0.0, 0.0, 0.0]),
    "outside_sum": np.array([1000.0, 0.0, 0.0, 0.0, 0.0]),
    "outside_px": np.array([1250, 0, 0, 0, 0]),
}


def test_table_and_page_are_written(tmp_path):
    write_suspects(tmp_path, "parts", "val", ROWS, SUMS, load_image)
    with (tmp_path / "suspects.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["rank"] for line in lines] == ["1", "2", "3", "4", "5"]
    assert sorted(line["label"] for line in lines) == sorted(str(row.label) for row in ROWS)
    first = lines[0]
    assert (first["kind"], float(first["outside_mean"])) == ("looks_defective", 0.8)
    assert not first["id"].startswith("=")  # no formula for a spreadsheet
    fine = next(line for line in lines if line["id"] == "fine")
    assert float(fine["inside_mean"]) == 0.9 and float(fine["given_softmin"]) == 0.75
    html = (tmp_path / "suspects.html").read_text()
    outline = Outline(html)
    assert outline.open == [] and len(outline.ids) == len(set(outline.ids))
    assert "marked good, but looks defective: score 0.98, 1,234 px marked" in text_of(html)
    assert "of 5 images are worth a look" in text_of(html) and "validation images" in text_of(html)
    assert "<b>0</b>" not in html
