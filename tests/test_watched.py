"""The page of a run that goes on: the same images, spread over what is hard and what is easy."""

import re

import numpy as np

from defect_jax.data.prepare.prepared import SplitRow
from defect_jax.report.progress_page import Watched, progress_page
from defect_jax.training.watched import chosen_rows

OF = {"group": "", "class_name": "", "height": 20, "width": 30}


def test_images_are_spread_from_the_smallest_defect_to_the_largest():
    sizes = [*range(100, 0, -1), *[0] * 50]
    rows = [SplitRow(str(i), label=int(px > 0), defect_px=px, **OF) for i, px in enumerate(sizes)]
    chosen = [rows[row].defect_px for row in chosen_rows(rows)]
    assert chosen[0] == 1 and chosen[7] == 100 and chosen[8:] == [0] * 4
    assert np.ptp(np.diff(chosen[:8])) <= 1
    assert chosen_rows(rows[:2]) == [1, 0] and chosen_rows([]) == []


def watched(name, label, decided):
    mask = np.zeros((20, 30), bool)
    mask[5:9, 5:9] = label
    marked = np.zeros_like(mask)
    marked[5:9, 5:7] = decided
    return Watched(name, label, 0.25, np.full((20, 30, 1), 99, np.uint8), mask, marked)


def test_the_page_loads_itself_anew_until_the_last_step():
    history = [
        {"step": 2, "split": "train", "loss": 1.0},
        {"step": 4, "split": "val", "image_ap": 0.5},
    ]
    images = [watched("a/bad <1>", 1, True), watched("good", 0, False)]
    page = progress_page("set, in training", 4, 8, history, images)
    assert "Step 4 of 8" in page and '<meta http-equiv="refresh"' in page
    assert page.count('<figure class="card"') == 2 and "&lt;1&gt;" in page and "<1>" not in page
    assert re.findall(r"<dt>Overlap \(IoU\)</dt><dd>([^<]+)</dd>", page) == ["0.50", "both empty"]
    assert "<strong>Training</strong>" in page and "Balance of the tasks" not in page
    last = progress_page("set, in training", 8, 8, history, images)
    assert "refresh" not in last and "the report is eval/report.html" in last
