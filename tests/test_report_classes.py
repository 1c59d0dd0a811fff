"""The report of a network with several classes of defect, and the files it is made from."""

import re

import numpy as np
import pytest
from test_report import HISTORY, Outline, report, text_of
from test_report_plots import cells, shown

from defect_jax.data.files.masks import decode_mask
from defect_jax.data.files.record_encoding import decode_classes, encode_classes
from defect_jax.data.prepare.prepared import Split, SplitRow
from defect_jax.evaluation.result_files import ResultFolder, image_loader
from defect_jax.metrics.class_counts import CLASS_MEANINGS, ClassCounts, ClassPixels
from defect_jax.report import figures
from defect_jax.report.classes import class_facts, class_section
from defect_jax.report.page import render
from defect_jax.report.render import render as render_template
from defect_jax.report.training_plots import training_plot

NAMES = ["background", "MT_Crack", "MT_Pit", "MT_Stain"]
PIXELS = np.array(
    [[9_990, 0, 10, 0], [60, 30, 10, 0], [5, 15, 80, 0], [0, 0, 0, 0]], np.uint64
)  # nothing is true or decided as a stain
CLASSES = ClassPixels(NAMES, PIXELS)
FIGURES = {
    **{"class_miou": 0.41, "class_mpa": 0.72},
    **{"iou/background": 0.993, "pixel_accuracy/background": 0.999},
    **{"iou/MT_Crack": 0.261, "pixel_accuracy/MT_Crack": 0.3},
    **{"iou/MT_Pit": 0.667, "pixel_accuracy/MT_Pit": 0.8},
    **{"iou/MT_Stain": None, "pixel_accuracy/MT_Stain": None},
}


def section(classes, metrics):
    """The section as the page shows it."""
    return render_template("classes.html", classes=class_section(classes, metrics))


def lines_of(names, true_mask, decided_mask):
    """The lines of a card as the page shows them."""
    facts = class_facts(names, true_mask, decided_mask)
    card = {"image": "", "name": "", "below": "", "attributes": {}}
    return render_template("card.html", facts=facts, **card)


def load_classes(name):
    del name
    true_mask, decided = np.zeros((2, 60, 80), np.uint8)
    true_mask[10:15, 20:26], decided[12:16, 20:25] = 1, 2
    return np.full((60, 80, 1), 120, np.uint8), true_mask, decided


@pytest.fixture
def plain(monkeypatch):
    """The page without its plots, which take seconds."""
    monkeypatch.setattr(figures, "figures", lambda *args: "")
    return lambda **changes: render(report(**changes))


@pytest.fixture
def html(plain):
    metrics = report().metrics | FIGURES
    return plain(metrics=metrics, classes=CLASSES, load_image=load_classes)


def test_page_with_classes_is_well_formed(html):
    outline = Outline(html)
    assert outline.open == [] and len(outline.ids) == len(set(outline.ids))
    assert html.count("<table") == html.count("<caption>")
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    assert set(re.findall(r'aria-labelledby="([^"]+)"', html)) <= set(outline.ids)


def test_page_of_one_class_says_nothing_of_classes(plain):
    shown = plain()
    assert 'id="classes"' not in shown and "True class" not in shown
    assert not any(key in shown for key in CLASS_MEANINGS)
    assert class_section(None, {}) is None


def test_classes_have_a_table_in_the_words_of_metrics_json(html):
    table = re.search(r'<table class="classes">.*?</table>', html, re.DOTALL)[0]
    rows = cells(table)[1:]
    assert rows[0][:5] == ["background", "10,000", "98.0%", "0.993", "0.999"]
    assert rows[1] == ["MT_Crack", "100", "0.98%", "0.261", "0.300", "background, 60.0%"]
    assert rows[2][-1] == "MT_Crack, 15.0%"
    assert rows[3] == ["MT_Stain", "0", "0%", "not defined", "not defined", "–"]
    assert "pooled IoU 0.410, pixel accuracy 0.720" in text_of(html)


def test_matrix_holds_the_share_of_each_true_class(html):
    table = re.search(r'<table class="heat">.*?</table>', html, re.DOTALL)[0]
    rows = [[cell for cell in re.findall(r"<td.*?>(.*?)</td>", row)] for row in table.split("<tr>")]
    assert rows[3:] == [
        ["99.9%", "0%", "0.1%", "0%"],
        ["60.0%", "30.0%", "10.0%", "0%"],
        ["5.0%", "15.0%", "80.0%", "0%"],
        ["–", "–", "–", "–"],
    ]
    kinds = re.findall(r'<td class="(\w+)"', table)
    right, wrong = "right", "wrong"
    assert kinds == [
        *(right, "none", wrong, "none"),
        *(wrong, right, wrong, "none"),
        *(wrong, wrong, right, "none"),
        *["none"] * 4,
    ]
    assert 'class="right" style="--mix: 16.5%"' in table  # 30 % of the darkest, 55 %
    counts = cells(re.search(r'<table class="behind">.*?</table>', html, re.DOTALL)[0])
    assert counts[2] == ["MT_Crack", "60", "30", "10", "0"]


def test_a_class_of_which_nothing_is_right_stands_out():
    nothing = ClassPixels(NAMES[:2], np.array([[5, 0], [4, 0]], np.uint64))
    assert 'class="right" style="--mix: 0.0%">0%' in section(nothing, {})


def test_largest_mistakes_are_said_in_words(html):
    text = text_of(html)
    assert "Marked least: MT_Crack. 60.0% of its pixels are not marked as any defect." in text
    assert "Confused most: MT_Pit. 15.0% of its pixels are taken for MT_Crack." in text
    assert "Of the good surface, 0.1% is marked, most of it as MT_Pit." in text


def test_without_mistakes_none_is_named():
    perfect = ClassPixels(NAMES, np.diag([90, 5, 5, 0]).astype(np.uint64))
    text = text_of(section(perfect, FIGURES))
    assert "Marked least" not in text and "Confused most" not in text
    assert "No pixel of one class of defect is taken" in text and "No good surface" in text
    empty = ClassPixels(NAMES, np.diag([90, 0, 0, 0]).astype(np.uint64))
    assert "Marked least" not in section(empty, {})


def test_means_are_among_all_figures_and_single_classes_are_not(html):
    table = re.search(r'<table class="metrics">.*?</table>', html, re.DOTALL)[0]
    for key, meaning in CLASS_MEANINGS.items():
        assert f"<code>{key}</code>" in table and meaning in table
    assert "Classes of defect, pixels of all images together" in table
    assert "iou/" not in table and "pixel_accuracy/" not in table


def test_cards_name_the_true_and_the_decided_class(html):
    assert "<dt>True class</dt><dd>MT_Crack</dd>" in html
    assert '<dt>Decided</dt><dd class="wrong">MT_Pit</dd>' in html
    assert html.count('class="outline true"') == html.count('class="card"')


def test_several_classes_in_one_mask_come_with_their_shares():
    mask = np.array([[0, 1, 2, 2, 2]], np.uint8)
    lines = lines_of(NAMES, mask, mask)
    assert lines.count("<dd>MT_Pit 75.0%, MT_Crack 25.0%</dd>") == 2
    assert "<dd>none</dd>" in lines_of(NAMES, mask, mask * 0)
    assert class_facts((), mask, mask) == []
    many = np.arange(6, dtype=np.uint8)[None]
    assert ", 2 more</dd>" in lines_of([f"c{i}" for i in range(6)], many, many)


def test_names_of_classes_are_escaped():
    mask = np.array([[0, 1, 2]], np.uint8)
    nasty = ClassPixels(["background", "<b>", "&"], PIXELS[:3, :3])
    shown = section(nasty, {}) + lines_of(nasty.names, mask, mask)
    assert "&lt;b&gt;" in shown and "<b><b>" not in shown and "<b></th>" not in shown


def test_validation_of_classes_has_a_panel_of_its_own():
    line = {"step": 20, "split": "val", "class_miou": 0.4, "iou/MT_Pit": 0.3, "selection": 0.5}
    svg, numbers = training_plot([*HISTORY, line])
    assert "Classes, validation" in svg and "class miou" in svg and "chooses the checkpoint" in svg
    header = [row for row in cells(shown(numbers)) if row[0] == "Step"]
    assert header[-1] == ["Step", "class miou", "iou/MT Pit"]
    assert "class miou" not in training_plot(HISTORY)[0]


def test_classes_are_written_beside_the_masks_and_read_again(tmp_path):
    ids = np.array([[0, 2, 1], [0, 0, 3]], np.uint8)
    record = {"image": encode_classes(ids), "mask": encode_classes(ids[::-1])}
    split = Split([record], [SplitRow("cast/shot_2", "part_1", "pit", 1, 2, 3, 3)])
    with ResultFolder(tmp_path / "test") as results:
        results.mask_of(split, NAMES[1:])(0, ids)
    files = [tmp_path / "test" / kind / "cast" / "shot_2.png" for kind in ("masks", "classes")]
    marked, classes = (file.read_bytes() for file in files)
    np.testing.assert_array_equal(decode_classes(marked), (ids > 0) * 255)
    np.testing.assert_array_equal(decode_classes(classes), ids)
    _, truth, decided = image_loader(split, tmp_path / "test", NAMES[1:])("cast/shot_2")
    np.testing.assert_array_equal(truth, ids[::-1])
    np.testing.assert_array_equal(decided, ids)
    _, truth, decided = image_loader(split, tmp_path / "test")("cast/shot_2")
    assert truth.dtype == decided.dtype == bool and decode_mask(marked, 0).sum() == 3


def test_one_class_writes_no_folder_of_classes(tmp_path):
    split = Split([], [SplitRow("a", "a", "pit", 1, 2, 2, 3)])
    with ResultFolder(tmp_path / "test") as results:
        results.mask_of(split)(0, np.eye(2, dtype=np.uint8))
    assert [path.name for path in (tmp_path / "test").iterdir()] == ["masks"]


def test_empty_counts_make_a_section_too():
    counts = ClassCounts.empty(3)
    assert "not defined" in section(
        ClassPixels(NAMES, counts.confusion()), counts.compute(NAMES[1:])
    )
