"""No name, note or file of the user adds markup to a page: it only ever becomes text."""

import dataclasses
import hashlib
from html.parser import HTMLParser

import numpy as np
import pytest
from test_report import DECISION, IMAGES, report
from test_report_classes import PIXELS, load_classes
from test_report_compare import DIFFERENCES, ROWS, comparison

from defect_jax.data.files.raw_files import open_root
from defect_jax.data.files.record_encoding import encode_mask
from defect_jax.deploy.gallery import PAGE, write_page
from defect_jax.metrics.class_counts import ClassPixels
from defect_jax.report import figures
from defect_jax.report.compare_page import render_comparison
from defect_jax.report.page import render

HOSTILE = """{}"'><script>alert(1)</script>&amp;{{{{ 7 * 7 }}}}$title<b onload=x>"""
HARMLESS = "{}tame/name"  # with one slash too, behind which a card may break the line


class Content(HTMLParser):
    """The elements of a page with the names of their attributes, and all text and values."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, [name for name, _ in attributes]))
        self.texts += [value for _, value in attributes if value]

    def handle_endtag(self, tag):
        self.elements.append((f"/{tag}", []))

    def handle_data(self, data):
        self.texts.append(data)


def report_page(text, folder):
    del folder
    names = ["background", *(text.format(kind) for kind in ("class0", "class1", "class2"))]
    images = [IMAGES[0]._replace(id=text.format("id"), group=text.format("group"))]
    return render(
        report(
            [*images, *IMAGES[2:6]],
            title=text.format("title"),
            split=text.format("split"),
            notes=[text.format("note"), text.format("leak")],
            config={text.format("field"): {"root": text.format("value")}},
            metrics=report().metrics | {text.format("metric"): 0.5},
            decision=dataclasses.replace(
                DECISION,
                rule=text.format("rule"),
                chosen_on=text.format("chosen"),
                why=text.format("why"),
            ),
            classes=ClassPixels(names, PIXELS),
            load_image=load_classes,
        )
    )


def compare_page(text, folder):
    del folder
    row = ROWS[1]._replace(id=text.format("id"), group=text.format("group"))
    return render_comparison(
        comparison(
            title=text.format("title"),
            split=text.format("split"),
            names=[text.format("model0"), text.format("model1")],
            differences=[DIFFERENCES[0]._replace(key=text.format("metric"))],
            rows=[row],
            warnings=[text.format("note")],
        )
    )


def prediction_page(text, folder):
    id = text.format("id")
    for path in (folder / "in" / f"{id}.png", folder / "out" / "masks" / f"{id}.png"):
        path.parent.mkdir(parents=True)
        path.write_bytes(encode_mask(np.ones((8, 8), bool)))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    line = {
        "id": id,
        "file": f"{id}.png",
        "sha256": sha256,
        "probability": 0.5,
        "score": 0.5,
        "mask_score": 0.5,
    }
    line |= {"decision": 1, "mask_decision": 1, "predicted_px": 64, "rejected": 1}
    line["files"] = {"classes": ""}  # several, so that the page names them
    box = {"box_px": [0, 0, 8, 8], "area_px": 64, "class": text.format("class"), "score": 0.5}
    line["regions"] = [box]
    fault = {"id": "bad", "file": "bad", "fault": text.format("fault")}
    rule = dataclasses.replace(DECISION, note=text.format("note"))
    write_page(folder / "out", open_root(str(folder / "in"), "--input"), [line, fault], rule)
    return (folder / "out" / PAGE).read_text("utf-8")


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        (report_page, "id title split note leak field value metric rule chosen why class0 class2"),
        (compare_page, "id title split note group metric model0 model1"),
        (prediction_page, "id note fault class"),
    ],
)
def test_hostile_text_is_shown_as_it_is_and_adds_no_markup(page, fields, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "figures", lambda *args: [])
    hostile = Content(page(HOSTILE, tmp_path / "hostile"))
    harmless = Content(page(HARMLESS, tmp_path / "harmless"))
    assert hostile.elements == harmless.elements
    shown = "".join(hostile.texts).replace("\\\\", "\\").replace('\\"', '"')  # JSON of the config
    for field in fields.split():
        assert HOSTILE.format(field) in shown, field
