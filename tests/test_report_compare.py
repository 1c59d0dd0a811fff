import re

import numpy as np
import pytest
from test_report import Outline, load_image, text_of

from defect_jax.report import compare_page
from defect_jax.report.compare_page import (
    ComparedImage,
    Comparison,
    DifferenceRow,
    disagreements,
    render_comparison,
    write_comparison,
)

ROWS = [
    ComparedImage("both_find", "a", 1, [0.9, 0.92], [1, 1], [1, 1], [0.5, 0.52]),
    ComparedImage("only_first", "b", 1, [0.9, 0.3], [1, 0], [1, 0], [0.5, 0.0]),
    ComparedImage("only_second", "c", 1, [0.2, 0.7], [0, 1], [0, 1], [0.0, 0.9]),
    ComparedImage("only_second_too", "d", 1, [0.4, 0.6], [0, 1], [1, 1], [0.3, 0.3]),
    ComparedImage("better_mask", "e", 1, [0.9, 0.9], [1, 1], [1, 1], [0.1, 0.8]),
    ComparedImage("alarm_of_second", "f", 0, [0.1, 0.8], [0, 1], [0, 0], [None, None]),
    ComparedImage("mark_of_second", "g", 0, [0.1, 0.1], [0, 0], [0, 1], [None, 0.0]),
    ComparedImage("both_pass", "h", 0, [0.1, 0.15], [0, 0], [0, 0], [None, None]),
]
DIFFERENCES = [
    DifferenceRow("recall", [0.6, 0.8], [0.2], [0.05], [0.35]),
    DifferenceRow("image_ap", [0.8, 0.7], [-0.1], [-0.2], [-0.05]),
    DifferenceRow("seg_miou", [0.4, 0.45], [0.05], [-0.05], [0.15]),
    DifferenceRow("odd<key>", [0.5, None], [None], [None], [None]),
]


def load(name):
    image, true_mask, predicted_mask = load_image(name)
    return image, true_mask, [predicted_mask, ~true_mask & predicted_mask]


def comparison(**changes):
    fields = {
        "title": "old against new",
        "split": "test",
        "names": ["old", "new"],
        "differences": DIFFERENCES,
        "rows": ROWS,
        "warnings": [],
        "load_image": load,
    }
    return Comparison(**fields | changes)


@pytest.fixture(scope="module")
def html():
    return render_comparison(comparison())


def test_page_is_well_formed_and_loads_nothing(html):
    outline = Outline(html)
    assert outline.open == [] and len(outline.ids) == len(set(outline.ids))
    assert outline.images_without_text == 0 and "http:" not in html and "https:" not in html
    assert all(re.match("data:|#", address) for address in outline.addresses)
    used = {address[1:] for address in outline.addresses if address.startswith("#")}
    assert used <= set(outline.ids)
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))


def test_differences_that_are_told_apart_are_said_in_words(html):
    text = text_of(html)
    assert "+0.200 (+0.050 to +0.350), higher" in text
    assert "−0.100 (−0.200 to −0.050), lower" in text
    assert "+0.050 (−0.050 to +0.150)" in text and "+0.150), " not in text
    assert "new less old" in text and "not defined" in text and "odd&lt;key&gt;" in html


def test_who_finds_what_the_other_misses(html):
    tables = re.findall(r'<table class="confusion">.*?</table>', html, re.DOTALL)
    cells = [re.findall(r"<td>(.*?)</td>", table) for table in tables]
    assert cells == [["–", "1", "2", "–"], ["–", "1", "0", "–"]]
    assert "All models reject 2 of 5 defective images, none does 0." in html
    assert "All models accept 2 of 3 good images, none does 0." in html


def test_other_decisions_come_first_and_agreement_is_left_out(html):
    order = ["only_second", "alarm_of_second", "only_first", "only_second_too"]
    order += ["mark_of_second", "better_mask"]
    assert [row.id for row in disagreements(ROWS)] == order
    assert re.findall(r"<h3>(.*?)</h3>", html) == order
    assert "6 of 8 images are decided differently" in html and "The first" not in html


def test_each_image_is_embedded_once_and_shown_for_every_model(html):
    assert html.count("data:image/jpeg") == 6 and html.count('class="card"') == 12
    assert html.count('<use href="#r0"/>') == 1
    assert html.count('class="outline true"') == 12  # both masks are compared with the same truth


def test_rows_are_limited_and_the_page_stays_below_15_mb():
    noise = np.random.default_rng(0).integers(0, 256, (480, 480, 3), np.uint8)
    mask = noise[..., 0] < 3
    rows = [ROWS[1]._replace(id=f"p{i}") for i in range(100)]
    html = render_comparison(comparison(rows=rows, load_image=lambda _: (noise, mask, [mask] * 2)))
    assert html.count("data:image/jpeg") == compare_page.MOST_ROWS
    assert "The first 60 are shown." in html
    assert 7e6 < len(html.encode()) < 15e6


def test_names_of_the_user_are_escaped(tmp_path):
    nasty = 'a"><script>'
    rows = [ROWS[1]._replace(id=nasty, group=nasty)]
    path = tmp_path / "compare.html"
    write_comparison(path, comparison(names=[nasty, "b"], rows=rows, warnings=[nasty], title=nasty))
    html = path.read_text("utf-8")
    assert html.count("<script") == 1 and Outline(html).open == []
    assert "<strong>Warning.</strong> a&#34;&gt;&lt;script&gt;" in html


@pytest.mark.parametrize("names", [["a", "a"], ["a"]])
def test_models_need_names_of_their_own(names):
    with pytest.raises(ValueError, match="names of their own"):
        comparison(names=names)
