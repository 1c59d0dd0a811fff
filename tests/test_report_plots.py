from xml.etree import ElementTree

import numpy as np
import pytest
from test_report import DECISION, HISTORY, IMAGES, SLICES

from defect_jax.decision import DecisionRule
from defect_jax.report import curve_plots, score_plots, slice_plot, tables, training_plots
from defect_jax.report.decision_heads import decision_heads
from defect_jax.report.render import ENVIRONMENT

HEADS = decision_heads(DECISION, has_head=True)


@pytest.fixture(scope="module")
def curves():
    return curve_plots.scored(IMAGES, HEADS)


def shown(numbers):
    """The tables behind a plot as the page shows them."""
    number_table = ENVIRONMENT.get_template("tables.html").module.number_table
    return "".join(map(number_table, numbers))


def cells(table):
    """The rows of a page's tables as text."""
    rows = ElementTree.fromstring(f"<div>{table}</div>").iter("tr")
    return [[cell.text for cell in row] for row in rows]


def test_plots_are_svg_in_the_colours_of_the_page(curves):
    made = [
        curve_plots.precision_recall_plot(curves),
        curve_plots.roc_plot(curves),
        score_plots.score_plot(IMAGES, "mask_score", 0.4),
        score_plots.reliability_plot(IMAGES, 2.0),
        slice_plot.slice_plot(SLICES, "class"),
        training_plots.training_plot(HISTORY),
        training_plots.balance_plot(HISTORY),
    ]
    ids = []
    for svg, numbers in made:
        table = shown(numbers)
        root = ElementTree.fromstring(svg)
        assert root.tag == "svg" and "viewBox" in root.attrib and "width" not in root.attrib
        assert "var(--ink)" in svg and "#0000" not in svg and "font-family" not in svg
        assert table.startswith("<table") and len(cells(table)) <= 4 * 27
        ids += [node.attrib["id"] for node in root.iter() if "id" in node.attrib]
    assert len(ids) == len(set(ids))
    svgs = [svg for svg, _ in made]
    assert "Probability, AP" in svgs[0] and "Mask, AUROC" in svgs[1]
    assert "Good images (17)" in svgs[2] and "Defective images (4)" in svgs[2]
    assert "without its temperature of 2.00, ECE" in svgs[3] and "n = 3" in svgs[4]
    assert "loss segmentation" in svgs[5] and "image ap" in svgs[5] and "pixel ap" not in svgs[5]
    assert all(title in svgs[6] for _, title, _ in training_plots.PANELS)
    assert svgs[6].count(">segmentation<") == svgs[6].count(">classification<") == 1


def test_numbers_behind_the_curves(curves):
    rows = cells(shown(curve_plots.precision_recall_plot(curves)[1]))
    in_use = [row for row in rows if "(in use)" in row[0]]
    # At 0.5 the head rejects 0.7, 0.8 and 0.95, of which the last two are defective.
    assert in_use[0][:3] == ["0.5000 (in use)", "0.500", "0.667"]
    assert in_use[1][:3] == ["0.4000 (in use)", "0.500", "0.667"]  # 0.9, 0.9 and 0.6
    rows = cells(shown(curve_plots.roc_plot(curves)[1]))
    in_use = [row for row in rows if "(in use)" in row[0]]
    assert in_use[0][:3] == ["0.5000 (in use)", "0.059", "0.500"]
    assert float(in_use[0][3]) <= 0.5 <= float(in_use[0][4])
    assert rows[1][:3] == ["0.9500", "0.000", "0.250"]


def test_numbers_behind_the_other_plots():
    rows = cells(shown(score_plots.score_plot(IMAGES, "score", 0.5)[1]))[1:]
    assert sum(int(row[1]) for row in rows) == 17 and sum(int(row[2]) for row in rows) == 4
    assert rows[0] == ["0.00 to 0.05", "5", "0"]
    rows = cells(shown(score_plots.reliability_plot(IMAGES, 1.0)[1]))
    assert sum(int(row[1]) for row in rows[1:]) == len(IMAGES)
    assert cells(shown(slice_plot.slice_plot(SLICES, "class")[1]))[1] == [
        *("crack", "3", "0.333", "0.100", "0.700", "0.500", "0.250")
    ]
    rows = cells(shown(training_plots.training_plot(HISTORY)[1]))
    assert rows[:3] == [
        ["Step", "loss segmentation", "loss classification"],
        ["10", "1.500", "0.700"],
        ["20", "0.500", "0.200"],
    ]


def test_long_runs_are_sampled_and_keep_both_ends():
    history = [{"step": i, "split": "train", "loss": 1 / (i + 1)} for i in range(1000)]
    rows = cells(shown(training_plots.training_plot(history)[1]))[1:]
    assert len(rows) == tables.MOST_ROWS
    assert rows[0] == ["0", "1.000"] and rows[-1] == ["999", "0.001"]


def test_a_run_of_one_task_has_no_balance_to_show():
    one = [{name: value for name, value in HISTORY[0].items() if "classification" not in name}]
    assert training_plots.balance_plot(one) == training_plots.balance_plot([]) == ("", [])


def test_plots_without_anything_to_show():
    good = [p for p in IMAGES if not p.label]
    curves = curve_plots.scored(good, HEADS)
    assert curve_plots.precision_recall_plot(curves) == curve_plots.roc_plot(curves) == ("", [])
    assert training_plots.training_plot([]) == ("", [])
    assert training_plots.training_plot([{"step": 1, "split": "val", "image_ap": None}])[0] == ""
    assert "svg" in score_plots.score_plot(good, "score", 0.5)[0]
    assert slice_plot.slice_plot([], "class") == slice_plot.slice_plot(SLICES, "size") == ("", [])
    assert "svg" in score_plots.reliability_plot(good, 1.0)[0]


def test_threshold_above_every_score_has_no_point_on_the_curve():
    far = DecisionRule(1.0, 1.0, 1.0, 1, 1, 1)
    curves = curve_plots.scored(IMAGES, decision_heads(far, has_head=True))
    assert "at its threshold" not in curve_plots.precision_recall_plot(curves)[0]
    line = curve_plots._roc(curves[0])
    assert (line.x[line.at], line.y[line.at]) == (0, 0)
    assert np.isinf(line.threshold[line.at])


def test_names_of_the_user_are_escaped_behind_the_plots():
    nasty = SLICES[0]._replace(name="<script>")
    svg, numbers = slice_plot.slice_plot([nasty], "class")
    table = shown(numbers)
    assert "<script" not in svg + table and "&lt;script&gt;" in table
