"""Comparison of workdirs: differences by hand, and what is no comparison."""

import numpy as np
import pytest

from defect_jax.evaluation.compare import _csv, _difference_row, _names, _refuse_other_images
from defect_jax.metrics.images import ImageRow, image_metrics
from defect_jax.runtime.errors import UserError


def table(scores, threshold=0.5):
    """Ten parts of two images, every second part defective; masks mark nothing."""
    return [
        ImageRow(
            f"{index:02}",
            f"g{index // 2}",
            index // 2 % 2,
            float(score),
            0.1,
            int(score >= threshold),
            0,
            0.0 if index // 2 % 2 else None,
            0,
            index // 2 % 2 * 9,
            0,
            float(score),
            int(score >= threshold),
        )  # fmt: skip
        for index, score in enumerate(scores)
    ]


def test_values_are_those_of_metrics_json_and_differences_are_paired():
    generator = np.random.default_rng(0)
    label = np.arange(20) // 2 % 2
    first = table(np.clip(0.3 + 0.2 * label + 0.3 * generator.random(20), 0, 1))
    second = table([min(p.score + 0.1 * p.label, 1.0) for p in first])
    for key in ("image_ap", "image_auroc", "recall", "false_positive_rate", "seg_recall"):
        row = _difference_row(key, [first, second, first])
        want = [image_metrics(rows)[key] for rows in (first, second, first)]
        assert row.values == pytest.approx(want, abs=1e-12)
        assert row.difference == pytest.approx([want[1] - want[0], 0.0])
        assert row.low[0] <= row.difference[0] <= row.high[0]
        assert (row.low[1], row.high[1]) == (0.0, 0.0)  # the same model, whatever parts are drawn
    assert _difference_row("image_auroc", [first, second]).difference[0] > 0


def test_a_metric_that_one_model_does_not_define_has_no_difference():
    nothing = table([0.1] * 20)  # rejects nothing: no precision
    row = _difference_row("precision", [nothing, table([0.9] * 20)])
    assert row.values == [None, 0.5] and row.difference == row.low == row.high == [None]


def test_names_are_as_short_as_they_can_be(tmp_path):
    assert _names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert _names([tmp_path / "x" / "run", tmp_path / "y" / "run"]) == ["x/run", "y/run"]
    with pytest.raises(UserError, match="twice"):
        _names([tmp_path, tmp_path])


def test_other_images_are_no_comparison():
    first = table([0.5] * 20)
    with pytest.raises(UserError, match="a and b saw other images, for example 19"):
        _refuse_other_images("a", first, "b", first[:-1])
    changed = [*first[:3], first[3]._replace(true_px=7), *first[4:]]
    with pytest.raises(UserError, match="do not agree on the true_px of 03"):
        _refuse_other_images("a", first, "b", changed)
    _refuse_other_images("a", first, "b", list(first))


def test_cells_of_the_differences_are_texts_where_they_look_like_formulas():
    rows = [_difference_row("recall", [table([0.9] * 20)] * 2)]
    text = _csv(["=run", "+run"], rows)
    assert text.splitlines()[1].startswith("recall,'=run,1.0,")
    assert text.splitlines()[2].startswith("recall,'+run,1.0,0.0,")
