import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from defect_jax.decision import Decision
from defect_jax.metrics.picture import Picture, picture_iou, picture_metrics
from defect_jax.metrics.summary import MEANINGS
from defect_jax.report import balance_plot, gallery, overlays, page, plots, tables
from defect_jax.report.page import Report, render, write_report

DECISION = Decision(0.5, 0.4, 0.3, checkpoint_step=100, pictures=50, defective=9, f1=0.9)
BALANCE = {
    "weight_segmentation": 1.2,
    "weight_classification": 0.8,
    "gradient_norm_segmentation": 0.1,
    "gradient_norm_classification": 2.0,
    "inverse_rate_segmentation": 1.1,
    "inverse_rate_classification": 0.9,
    "gradient_cosine_classification_segmentation": -0.2,
}
LOSSES = {"loss_segmentation": 1.5, "loss_classification": 0.7}
HISTORY = [
    {"step": 10, "split": "train"} | LOSSES | BALANCE,
    {"step": 20, "split": "train", "loss_segmentation": 0.5, "loss_classification": 0.2} | BALANCE,
    {"step": 20, "split": "val", "image_ap": 0.9, "pixel_ap": None, "selection": 0.8},
]
VOID = {"meta", "link", "img", "wbr", "br", "path", "use"}


def picture(name, label, score, mask_score, overlap_px=0):
    true_px, predicted_px = 30 * label, 20 * int(mask_score >= DECISION.mask_threshold)
    px = (min(overlap_px, predicted_px), true_px, predicted_px)
    decisions = (int(score >= DECISION.threshold), int(predicted_px > 0))
    return Picture(name, "g", label, score, mask_score, *decisions, picture_iou(*px), *px)


PICTURES = [
    picture("miss_a", 1, 0.2, 0.9, 10),
    picture("miss_b", 1, 0.1, 0.2),
    picture("miss_of_the_mask", 1, 0.8, 0.3),
    picture("found", 1, 0.95, 0.9, 20),
    picture("alarm", 0, 0.7, 0.1),
    picture("alarm_of_the_mask", 0, 0.3, 0.6),
    *[picture(f"good/{i}", 0, 0.01 * i, 0.02 * i) for i in range(15)],
]


def load_picture(name):
    del name
    image = np.full((60, 80, 1), 120, np.uint8)
    true_mask, predicted_mask = np.zeros((2, 60, 80), bool)
    true_mask[10:15, 20:26] = predicted_mask[12:16, 20:25] = True
    return image, true_mask, predicted_mask


def report(pictures=None, **changes):
    pictures = PICTURES if pictures is None else pictures
    fields = {
        "title": "bolts, step 100",
        "split": "test",
        "metrics": dict.fromkeys(MEANINGS, 0.5) | picture_metrics(pictures),
        "decision": DECISION,
        "pictures": pictures,
        "notes": [],
        "history": HISTORY,
        "config": {"data": {"name": "folder", "size": (64, 64)}},
        "load_picture": load_picture,
    }
    return Report(**fields | changes)


@pytest.fixture(scope="module")
def html():
    return render(report())


class Outline(HTMLParser):
    """Collects tags, ids and addresses, and checks that what is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.headings = [], [], [], []
        self.images_without_text = 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        self.headings += [int(tag[1])] if re.fullmatch(r"h\d", tag) else []
        self.images_without_text += tag == "img" and not given.get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, tag


def test_page_is_well_formed_and_accessible(html):
    outline = Outline(html)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.images_without_text == 0
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    assert html.count("<table") == html.count("<caption>") == 4
    assert 'lang="en"' in html and 'name="viewport"' in html and "prefers-color-scheme" in html


def test_page_loads_nothing_from_anywhere(html):
    assert "http://" not in html and "https://" not in html and "@import" not in html
    assert "<script" not in html and "default-src 'none'" in html
    assert all(re.match("data:|#", address) for address in Outline(html).addresses)
    assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_every_reference_inside_the_page_has_its_target(html):
    outline = Outline(html)
    used = set(re.findall(r'url\(#([^)"]+)\)', html)) | set(re.findall(r'href="#([^"]+)"', html))
    used |= set(re.findall(r'aria-labelledby="([^"]+)"', html))
    assert used and used <= set(outline.ids)


def test_verdict_counts_and_says_where_the_thresholds_come_from(html):
    text = re.sub(r"<[^>]+>", "", html)
    assert "21 test pictures, 4 of them defective and 17 good." in text
    assert "2 misses 50.0% of 4 defective pictures accepted" in text
    assert "1 false alarm 5.9% of 17 good pictures rejected" in text
    assert "score is at least 0.5000" in text and "at least 0.4000" in text
    assert "best F1 score" in text and "on 50 validation pictures, 9 of them defective" in text
    assert "Warning" not in text


def test_confusion_tables(html):
    head, mask = re.findall(r'<table class="confusion">.*?</table>', html, re.DOTALL)
    cells = [[int(cell) for cell in re.findall(r">(\d+)</td>", t)] for t in (head, mask)]
    assert cells == [[2, 2, 4, 1, 16, 17], [2, 2, 4, 1, 16, 17]]


def test_every_metric_is_shown_with_its_meaning(html):
    for key, meaning in MEANINGS.items():
        assert f"<code>{key}</code>" in html and page.escape(meaning) in html
    metrics = report().metrics | {"aupro": None, "image_ap": 0.98765}
    shown = render(report(metrics=metrics))
    assert "not defined" in shown and "0.988" in shown


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"notes": ["Leaking: config.data.split is 'random'"]}, "split is &#x27;random&#x27;"),
        ({"decision": Decision(0.5, 0.4, 0.3, 1, 9, 0, note="No defect in val.")}, "No defect in"),
        ({"split": "val"}, "chosen on these very pictures"),
    ],
)
def test_what_spoils_the_figures_is_a_warning_on_top(changes, text):
    shown = render(report(**changes))
    warning = re.search(r'<p class="warning".*?</p>', shown, re.DOTALL)
    assert text in warning.group() and "<strong>Warning.</strong>" in warning.group()
    assert warning.start() < shown.index('id="verdict"')


def test_other_notes_are_listed_without_alarm():
    shown = render(report(notes=["4 pictures left out: a, b, c, d"]))
    assert "<li>4 pictures left out: a, b, c, d</li>" in shown
    assert '<p class="warning"' not in shown


def test_text_of_the_user_is_escaped():
    nasty = '"><script>alert(1)</script>&$title'
    pictures = [*PICTURES[:5], PICTURES[0]._replace(id=nasty)]
    config = {"data": {"root": nasty}}
    shown = render(report(pictures, title=nasty, notes=[nasty, "leak " + nasty], config=config))
    assert "<script" not in shown and "&amp;$title" in shown
    assert Outline(shown).open == []


def test_network_without_head_is_said():
    pictures = [p._replace(score=p.mask_score, decision=p.mask_decision) for p in PICTURES]
    shown = render(report(pictures))
    assert "no classification head" in shown and "Missed by the mask" in shown
    assert "the head" not in shown and "Head" not in shown
    assert shown.count('<table class="confusion">') == 1


def test_gallery_shows_the_worst_first_and_each_picture_once():
    loaded = []

    def load(name):
        loaded.append(name)
        return load_picture(name)

    shown = render(report(load_picture=load))
    mistakes = ["miss_b", "miss_a", "miss_of_the_mask", "alarm", "alarm_of_the_mask"]
    assert loaded[:5] == mistakes and len(loaded) == len(set(loaded))
    assert loaded[5:9] == ["good/14", "good/13", "good/12", "good/11"]  # nearest to 0.5
    assert shown.count('class="card"') == len(loaded) == 5 + gallery.PICTURES_A_SECTION
    assert "1 of them is shown further up. The others, lowest mask score first." in shown


def test_gallery_is_limited_and_says_so():
    pictures = [picture(f"m{i}", 1, i / 100, 0.9, 9) for i in range(30)] + PICTURES[-2:]
    shown = render(report(pictures))
    assert "Missed by the head: 30 of 30 defective pictures" in shown
    assert "The first 12 of 30, lowest score first." in shown
    assert "No miss of the mask in 30 defective pictures." in shown
    assert "No false alarm of the head in 2 good pictures." in shown


@pytest.mark.parametrize("label", [0, 1])
def test_one_kind_of_picture_still_makes_a_page(label):
    shown = render(report([p for p in PICTURES if p.label == label], history=[]))
    assert Outline(shown).open == []
    assert ("No precision–recall curve" in shown) == (label == 0)


def test_page_is_written_whole_and_the_same_each_time(tmp_path):
    write_report(tmp_path / "eval" / "report.html", report())
    first = (tmp_path / "eval" / "report.html").read_bytes()
    write_report(tmp_path / "eval" / "report.html", report())
    assert (tmp_path / "eval" / "report.html").read_bytes() == first
    assert len(list((tmp_path / "eval").iterdir())) == 1


def test_page_of_the_noisiest_pictures_stays_below_15_mb():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (500, 500, 3), np.uint8)
    mask = rng.random((500, 500)) < 0.01
    jpeg = overlays.overlay_jpeg(noise, mask, ~mask)
    assert len(jpeg) <= overlays.LARGEST_JPEG_BYTES
    sections = 5
    assert sections * gallery.PICTURES_A_SECTION * overlays.LARGEST_JPEG_BYTES * 4 / 3 < 14e6


# Overlays


def decoded(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def near(image, colour):
    return np.abs(image - np.array(colour)).sum(axis=-1) < 120


@pytest.mark.parametrize(
    ("shape", "size"),
    [((960, 480, 3), (480, 240)), ((30, 40, 1), (90, 120)), ((1, 2000, 1), (1, 480))],
)
def test_overlay_fits_the_page_and_keeps_the_aspect(shape, size):
    image = np.zeros(shape, np.uint8)
    empty = np.zeros(shape[:2], bool)
    assert decoded(overlays.overlay_jpeg(image, empty, empty)).shape == (*size, 3)


@pytest.mark.parametrize(
    ("which", "colour", "other"),
    [
        (0, overlays.TRUE_COLOUR, overlays.PREDICTED_COLOUR),
        (1, overlays.PREDICTED_COLOUR, overlays.TRUE_COLOUR),
    ],
)
@pytest.mark.parametrize("side_px", [1, 40])
def test_outline_surrounds_the_defect_without_hiding_it(which, colour, other, side_px):
    image = np.full((960, 960, 3), 128, np.uint8)
    masks = np.zeros((2, 960, 960), bool)
    masks[which, 400 : 400 + side_px, 500 : 500 + side_px] = True
    drawn = decoded(overlays.overlay_jpeg(image, *masks))
    rows, columns = np.nonzero(near(drawn, colour))
    assert rows.min() < 200 <= 200 + side_px / 2 < rows.max() + 1
    assert columns.min() < 250 <= 250 + side_px / 2 < columns.max() + 1
    assert max(np.ptp(rows), np.ptp(columns)) < side_px / 2 + 14
    assert not near(drawn, other).any()
    if side_px > 1:
        np.testing.assert_allclose(drawn[206:214, 256:264], 128, atol=8)


def test_both_outlines_show_where_they_coincide():
    mask = np.zeros((400, 400), bool)
    mask[100:300, 100:300] = True
    drawn = decoded(overlays.overlay_jpeg(np.full((400, 400, 1), 90, np.uint8), mask, mask))
    assert near(drawn, overlays.TRUE_COLOUR).sum() > 300
    assert near(drawn, overlays.PREDICTED_COLOUR).sum() > 300


def test_dark_16_bit_picture_becomes_visible():
    image = np.linspace(1000, 1300, 64 * 64).reshape(64, 64, 1).astype(np.uint16)
    empty = np.zeros((64, 64), bool)
    drawn = decoded(overlays.overlay_jpeg(image, empty, empty))
    assert drawn.min() < 10 and drawn.max() > 245
    assert overlays.to_8_bit(np.full((4, 4, 1), 700, np.uint16)).max() == 0


# Plots


def test_plots_are_svg_in_the_colours_of_the_page():
    svgs = [
        plots.precision_recall_plot(PICTURES, DECISION, has_head=True),
        plots.score_plot(PICTURES, "mask_score", 0.4),
        plots.training_plot(HISTORY),
        balance_plot.balance_plot(HISTORY),
    ]
    for svg in svgs:
        root = ElementTree.fromstring(svg)
        assert root.tag == "svg" and "viewBox" in root.attrib and "width" not in root.attrib
        assert "var(--ink)" in svg and "#0000" not in svg and "font-family" not in svg
    assert "Head, AP" in svgs[0] and "Mask, AP" in svgs[0]
    assert "Good pictures (17)" in svgs[1] and "Defective pictures (4)" in svgs[1]
    assert "loss segmentation" in svgs[2] and "image ap" in svgs[2] and "pixel ap" not in svgs[2]
    assert all(title in svgs[3] for _, title, _ in balance_plot.PANELS)
    assert svgs[3].count(">segmentation<") == svgs[3].count(">classification<") == 1


def test_a_run_of_one_task_has_no_balance_to_show():
    one = [{name: value for name, value in HISTORY[0].items() if "classification" not in name}]
    assert balance_plot.balance_plot(one) == "" and balance_plot.balance_plot([]) == ""
    assert "Balance of the tasks" in render(report(PICTURES, history=HISTORY))
    assert "Balance of the tasks" not in render(report(PICTURES, history=one))


def test_plots_without_anything_to_show():
    good = [p for p in PICTURES if not p.label]
    assert plots.precision_recall_plot(good, DECISION, has_head=True) == ""
    assert plots.training_plot([]) == ""
    assert plots.training_plot([{"step": 1, "split": "val", "image_ap": None}]) == ""
    assert "svg" in plots.score_plot(good, "score", 0.5)


def test_threshold_above_every_score_has_no_point_on_the_curve():
    far = Decision(1.0, 1.0, 1.0, 1, 1, 1)
    assert "at its threshold" not in plots.precision_recall_plot(PICTURES, far, has_head=True)


def test_numbers_never_round_to_certainty():
    assert tables.number(0.00001) == "1e-05" and tables.number(0.0) == "0.000"
    shown = render(report([PICTURES[0]._replace(score=1e-6), PICTURES[4]._replace(score=1 - 1e-7)]))
    assert "< 0.001" in shown.replace("&lt;", "<") and "> 0.999" in shown
