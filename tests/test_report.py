import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from markupsafe import escape
from validation_images import options

from defect_jax.decision import DecisionRule, Promise
from defect_jax.decision import rules as decision_rules
from defect_jax.decision.ways import WAYS
from defect_jax.metrics.calibration import logit
from defect_jax.metrics.images import ImageRow, image_iou, image_metrics
from defect_jax.metrics.parts import Part
from defect_jax.metrics.slices import Slice
from defect_jax.metrics.summary import MEANINGS
from defect_jax.report import figures, gallery, slider, words
from defect_jax.report.decision_heads import decision_heads
from defect_jax.report.page import Report, render, verdict_lines, write_report
from defect_jax.report.render import render as render_template
from defect_jax.report.verdict import who_decides

DECISION = DecisionRule(0.5, 0.4, 0.3, checkpoint_step=100, pictures=50, defective=9, f1=0.9)
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
SLICES = [
    Slice("class", "crack", 3, 1 / 3, 0.1, 0.7, 0.5, 0.25),
    Slice("class", "pit", 1, 1.0, None, None, 1.0, 0.5),
    Slice("size", "smallest tenth: up to 9 px", 0, None, None, None, None, None),
]
BOUNDS = {
    "verdict_recall_low": 0.125,
    "verdict_recall_high": 0.875,
    "seg_fpr_low": None,
    "seg_fpr_high": None,
}
VOID = {"meta", "link", "img", "wbr", "br", "input"}


def image(name, label, score, mask_score, overlap_px=0, group="g"):
    true_px, predicted_px = 30 * label, 20 * int(mask_score >= DECISION.mask_threshold)
    px = (min(overlap_px, predicted_px), true_px, predicted_px)
    decisions = (int(score >= DECISION.threshold), int(predicted_px > 0))
    iou, verdict = image_iou(*px), (score, decisions[0])
    return ImageRow(name, group, label, score, mask_score, *decisions, iou, *px, *verdict)


IMAGES = [
    image("miss_a", 1, 0.2, 0.9, 10),
    image("miss_b", 1, 0.1, 0.2),
    image("miss_of_the_mask", 1, 0.8, 0.3),
    image("found", 1, 0.95, 0.9, 20),
    image("alarm", 0, 0.7, 0.1),
    image("alarm_of_the_mask", 0, 0.3, 0.6),
    *[image(f"good/{i}", 0, 0.01 * i, 0.02 * i, group=f"g{i}") for i in range(15)],
]


def load_image(name):
    del name
    image = np.full((60, 80, 1), 120, np.uint8)
    true_mask, predicted_mask = np.zeros((2, 60, 80), bool)
    true_mask[10:15, 20:26] = predicted_mask[12:16, 20:25] = True
    return image, true_mask, predicted_mask


def report(images=None, **changes):
    images = IMAGES if images is None else images
    fields = {
        "title": "bolts, step 100",
        "split": "test",
        "metrics": dict.fromkeys(MEANINGS, 0.5) | image_metrics(images) | BOUNDS,
        "decision": DECISION,
        "images": images,
        "notes": [],
        "history": HISTORY,
        "config": {"data": {"name": "folder", "size": (64, 64)}},
        "load_image": load_image,
    }
    return Report(**fields | changes)


@pytest.fixture(scope="module")
def html():
    """The whole page; the tests below change what is outside the plots, which take seconds."""
    return render(report(slices=SLICES))


@pytest.fixture
def plain(monkeypatch, html):
    monkeypatch.setattr(figures, "figures", lambda *args: "")
    return lambda *args, **changes: render(report(*args, **changes))


class Outline(HTMLParser):
    """Collects tags, ids and addresses, and checks that what is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.headings = [], [], [], []
        self.images_without_text = 0
        self.feed(text)
        self.close()

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        self.headings += [int(tag[1])] if re.fullmatch(r"h\d", tag) else []
        described = given.get("alt") or given.get("aria-label") or given.get("aria-hidden")
        self.images_without_text += tag in ("img", "svg") and not described
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, tag


def text_of(html):
    return re.sub(r"<[^>]+>", "", html)


def data_of(html):
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


def section_ids(html, name):
    """Images of a section that are shown without a script."""
    section = re.search(rf'data-section="{name}">(.*?)</section>', html, re.DOTALL)[1]
    return re.findall(r'<span class="id">(.*?)</span>', section.replace("<wbr>", ""))


def facts_of(html, name):
    """What the card of an image says: term -> attributes and text."""
    cards = re.findall(r'<figure class="card".*?</figure>', html, re.DOTALL)
    (card,) = (c for c in cards if f'class="id">{name}</span>' in c.replace("<wbr>", ""))
    facts = re.findall(r"<dt>(.*?)</dt><dd(.*?)>(.*?)</dd>", card)
    return {term: (attributes.strip(), text_of(text)) for term, attributes, text in facts}


RIGHT, WRONG = 'class="found"', 'class="wrong"'
LIVE = " data-verdict"  # the slider moves it


def test_page_is_well_formed_and_accessible(html):
    outline = Outline(html)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.images_without_text == 0
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    assert html.count("<table") == html.count("<caption>") >= 12
    assert html.count("<figure") == html.count("<figcaption")
    assert 'lang="en"' in html and 'name="viewport"' in html and "prefers-color-scheme" in html
    assert '<label for="slider">' in html and 'aria-live="polite"' in html


def test_page_loads_nothing_from_anywhere(html):
    assert "http:" not in html and "https:" not in html and "@import" not in html
    assert all(re.match("data:|#", address) for address in Outline(html).addresses)
    assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_policy_lets_the_page_s_own_script_run_and_no_other(html):
    policy = re.search(r'Content-Security-Policy"\s*content="([^"]*)"', html)[1]
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert len(script) == 1 and html.count("<script") == 2  # the other one is data
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "innerHTML" not in script[0] and " style=" not in script[0]


def test_every_reference_inside_the_page_has_its_target(html):
    outline = Outline(html)
    used = set(re.findall(r'url\(#([^)"]+)\)', html)) | set(re.findall(r'href="#([^"]+)"', html))
    used |= set(re.findall(r'(?:aria-labelledby|for)="([^"]+)"', html))
    used |= set(re.findall(r'getElementById\("([^"]+)"\)', html))
    assert used and used <= set(outline.ids)


def test_verdict_counts_and_says_where_the_thresholds_come_from(html):
    text = text_of(html)
    assert "21 test images, 4 of them defective and 17 good." in text
    assert "Of 4 defective images 2 were rejected and 2 missed; of 17 good ones 1 were" in text
    assert "4 defective parts were judged: had none been missed, up to 52.7\u00a0% still" in text
    assert "decision.rule=guaranteed_miss_rate would promise one" in text
    assert "2 misses 50.0% of 4 defective images accepted 95 % interval: 12.5% to 87.5%" in text
    assert "1 false alarm 5.9% of 17 good images rejected" in text
    assert "The score of an image decides: an image is rejected when its probability" in text
    assert "of a defect is at least 0.5000" in text and "at least 0.4000" in text
    assert "best F1 score" in text and "on 50 validation images, 9 of them defective" in text
    assert '<p class="warning" role' not in html and "of 2 parts" not in text


def rule_text(decided):
    heads = decision_heads(decided, has_head=True)
    values = {"decision": decided, "has_head": True, "heads": heads, "way": "the score of an image"}
    return text_of(render_template("rule.html", **values))


@pytest.mark.parametrize("rule", decision_rules.RULES)
def test_every_rule_has_words_with_its_options(rule):
    text = rule_text(dataclasses.replace(DECISION, rule=rule, options=options(rule=rule)))
    assert "{" not in text and rule not in text
    wanted = {"target_recall": "at least 0.95", "least_cost": "a miss costs 100"}
    assert wanted.get(rule, "The thresholds are those of the ") in text


def test_promise_and_minimum_area_are_said():
    promise = Promise(miss_rate=0.1, confidence=0.9, parts=60, misses=2, compared=3)
    text = rule_text(dataclasses.replace(DECISION, promise=promise, min_area_px=1200))
    assert "with 0.9 confidence, shared among the 3 checkpoints" in text
    assert "at most 0.1 of defective parts like these are missed" in text
    assert "60 defective parts, of which the threshold lets 2 pass" in text
    assert "and it marks at least 1,200 of them" in text


def test_verdict_on_parts_where_they_have_several_images(plain):
    parts = [
        Part("a", 1, 6, 0.2, 0, 1, 3),
        Part("b", 0, 4, 0.1, 0, 0, 4),
        Part("c", 0, 2, 0, 1, 0, 2),
    ]
    bounds = {"part_recall_low": 0.0, "part_recall_high": 0.75}
    text = text_of(
        plain(parts=parts, metrics=report().metrics | bounds, written="2026-01-02 03:04")
    )
    assert "of 3 parts; judged on 2026-01-02 03:04" in text
    assert "Of 1 defective parts 0 were rejected and 1 missed; of 2 good ones 1 were" in text
    assert "1 miss 100.0% of 1 defective parts accepted 95 % interval: 25.0% to 100.0%" in text
    assert "1 false alarm 50.0% of 2 good parts rejected" in text
    assert "a part takes 3.0 of its 4.0 images on average: missed parts 0 of 1" in text


def confusions(html):
    tables = re.findall(r'<table class="confusion">.*?</table>', html, re.DOTALL)
    return [[int(cell) for cell in re.findall(r">(\d+)</td>", table)] for table in tables]


def test_confusion_tables(html):
    assert confusions(html) == [[2, 2, 4, 1, 16, 17], [2, 2, 4, 1, 16, 17]]
    head, mask = re.findall(r'<table class="confusion">.*?</table>', html, re.DOTALL)
    assert head.count("data-live") == 5 and "data-live" not in mask


def test_every_metric_is_shown_with_its_meaning_and_interval(html):
    for key, meaning in MEANINGS.items():
        assert f"<code>{key}</code>" in html and escape(meaning) in html
    assert "<code>verdict_recall_low</code>" not in html
    row = re.search(r"<code>verdict_recall</code>.*?</tr>", html, re.DOTALL)[0]
    assert "0.125 to 0.875" in row
    assert " to " not in re.search(r"<code>seg_fpr</code>.*?</tr>", html, re.DOTALL)[0]


def test_metrics_without_a_value_or_a_meaning_are_shown(plain):
    odd = {
        "aupro": None,
        "image_ap": 0.98765,
        "leaking": 1,
        "odd<key>": 0.25,
        "class_pit_recall": 1.0,
    }
    shown = plain(metrics=report().metrics | odd)
    assert "not defined" in shown and "0.988" in shown
    assert "class_pit_recall" not in shown
    assert "<code>leaking</code>" in shown and "<code>odd&lt;key&gt;</code>" in shown


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"notes": ["Leaking: config.data.split is 'random'"]}, "split is &#39;random&#39;"),
        (
            {"decision": DecisionRule(0.5, 0.4, 0.3, 1, 9, 0, note="No defect in val.")},
            "No defect in",
        ),
        ({"split": "val"}, "chosen on these very images"),
    ],
)
def test_what_spoils_the_figures_is_a_warning_on_top(plain, changes, text):
    shown = plain(**changes)
    warning = re.search(r'<p class="warning".*?</p>', shown, re.DOTALL)
    assert text in warning.group() and "<strong>Warning.</strong>" in warning.group()
    assert warning.start() < shown.index('id="verdict"')
    assert "These figures cannot be trusted" in shown and "still could be" not in shown


def test_other_notes_are_listed_without_alarm(plain):
    shown = plain(notes=["4 images left out: a, b, c, d"])
    assert "<li>4 images left out: a, b, c, d</li>" in shown
    assert '<p class="warning"' not in shown


def test_text_of_the_user_is_escaped(plain):
    nasty = 'a"><script>alert(1)</script>&$title'
    images = [*IMAGES[:5], IMAGES[0]._replace(id=nasty)]
    config = {"data": {"root": nasty}}
    shown = plain(images, title=nasty, notes=[nasty, "leak " + nasty], config=config)
    assert shown.count("<script") == 2 and "&amp;$title" in shown
    assert Outline(shown).open == []


def test_network_without_head_is_said_and_its_mask_is_moved(plain):
    images = [p._replace(score=p.mask_score, decision=p.mask_decision) for p in by_mask()]
    shown = plain(images, decision=dataclasses.replace(DECISION, decides="mask"))
    assert "no classification head" in shown and "The mask of an image decides" in shown
    assert "By the score" not in shown and "By the mask" not in shown
    assert shown.count('<table class="confusion">') == 1
    assert data_of(shown)["score"] == [p.probability for p in images]
    assert data_of(shown)["thresholds"][data_of(shown)["decided"]] == 0.5
    assert len(re.findall(r"data-section=\"[\w-]+\"", shown)) == 3


def by_mask():
    """The images as the mask decides on them."""
    return [
        p._replace(probability=p.mask_score * 0.5 / 0.4, rejected=p.mask_decision)
        if p.mask_score < 0.4
        else p._replace(probability=0.5 + p.mask_score / 2, rejected=p.mask_decision)
        for p in IMAGES
    ]


# Who decides


def test_the_verdict_is_that_of_the_mask_where_it_decides(plain):
    why = "it makes the fewest mistakes on parts held out (score 0.300, mask 0.100)"
    decided = dataclasses.replace(DECISION, decides="mask", why=why)
    shown = plain(by_mask(), decision=decided)
    assert f"The mask of an image decides: {why}." in text_of(shown)
    assert section_ids(shown, "misses") == ["miss_b", "miss_of_the_mask"]
    assert section_ids(shown, "alarms") == ["alarm_of_the_mask"]
    assert "alarm" in section_ids(shown, "rest")
    alarm = facts_of(shown, "alarm")
    assert alarm["Verdict"] == (RIGHT + LIVE, "accepted 0.125") and "Mask" not in alarm
    assert alarm["Score"] == (WRONG, "false alarm 0.700")
    assert "By the score of an image alone" in shown and "By the mask" not in shown
    assert confusions(shown) == [[2, 2, 4, 1, 16, 17], [2, 2, 4, 1, 16, 17]]
    lines = verdict_lines(report(by_mask(), decision=decided))
    assert lines[0].startswith("The verdict, by the mask of an image: missed 2 of 4 defective")
    assert lines[1].startswith("By the score of an image alone: missed 2 of 4") and not lines[2:]


def test_either_has_both_beside_it(plain):
    rejected = [max(p.decision, p.mask_decision) for p in IMAGES]
    images = [
        p._replace(rejected=r, probability=r * 0.9) for p, r in zip(IMAGES, rejected, strict=True)
    ]
    decided = dataclasses.replace(
        DECISION, decides="either", why="config.decision.decides names it"
    )
    shown = plain(images, decision=decided)
    assert "The score of an image or its mask decides: config.decision.decides" in text_of(shown)
    assert section_ids(shown, "misses") == ["miss_b"]
    assert section_ids(shown, "alarms") == ["alarm", "alarm_of_the_mask"]
    alarm, miss = (facts_of(shown, name) for name in ("alarm", "miss_a"))
    verdict, score, mask = (alarm[term] for term in ("Verdict", "Score", "Mask"))
    assert verdict == (WRONG + LIVE, "false alarm 0.900") and score == (WRONG, "false alarm 0.700")
    assert mask == (RIGHT, "accepted 0.100") and miss["Verdict"] == (RIGHT + LIVE, "rejected 0.900")
    assert miss["Score"] == (WRONG, "missed 0.200") and miss["Mask"] == (RIGHT, "rejected 0.900")
    assert confusions(shown) == [[3, 1, 4, 2, 15, 17], *[[2, 2, 4, 1, 16, 17]] * 2]
    lines = verdict_lines(report(images, decision=decided))
    assert [line.partition(":")[0] for line in lines] == [
        "The verdict, by the score of an image or its mask",
        "By the score of an image alone",
        "By the mask of an image alone",
    ]


@pytest.mark.parametrize("decides", WAYS)
def test_a_terminal_is_told_the_verdict_first_with_its_interval(decides):
    decided = dataclasses.replace(DECISION, decides=decides)
    first, *others = verdict_lines(report(decision=decided))
    assert first == (
        f"The verdict, by {WAYS[decides].words}: missed 2 of 4 defective images "
        "(95 % interval 12.5% to 87.5%), rejected 1 of 17 good images"
    )
    assert len(others) == {"score": 1, "mask": 1, "either": 2, "logistic": 2}[decides]
    assert who_decides(decided) == []  # a rule that does not say why


# The slider


def test_script_gets_every_image_exactly_as_it_is(html):
    data = data_of(html)
    assert data["label"] == [p.label for p in IMAGES]
    assert data["score"] == [p.probability for p in IMAGES]
    assert data["decision"] == [p.rejected for p in IMAGES]
    assert data["thresholds"][data["decided"]] == DECISION.threshold
    assert f'max="{len(data["thresholds"]) - 1}"' in html
    assert f'value="{data["decided"]}"' in html
    assert len(data["texts"]) == len(data["thresholds"])


def test_slider_runs_from_rejecting_all_to_rejecting_nothing_evenly_in_the_logit():
    scores = [1e-6, 0.2, 0.5, 1 - 1e-6]
    found = slider.positions(scores, 0.3)
    assert found == sorted(set(found)) and found[0] == 1e-6 and 0.3 in found
    assert found[-1] > max(scores) and found[-1] - max(scores) < 1e-12
    steps = np.diff(logit([value for value in found[:-1] if value != 0.3]))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)
    assert slider.positions([0.5, 0.5], 0.5) == [0.5, np.nextafter(0.5, 1)]
    assert slider.positions([0.1, 1.0], 2.0)[-2:] == [np.nextafter(1.0, 2), 2.0]


def test_numbers_never_round_to_certainty(plain):
    assert words.number(0.00001) == "1e-05" and words.number(0.0) == "0.000"
    sure = {"score": 1 - 1e-7, "probability": 1 - 1e-7}
    shown = plain([IMAGES[0]._replace(score=1e-6, probability=1e-6), IMAGES[4]._replace(**sure)])
    assert "&lt; 0.001" in shown and "&gt; 0.999" in shown


# The gallery


def test_gallery_shows_the_worst_first_and_every_image_once(plain):
    loaded = []

    def load(name):
        loaded.append(name)
        return load_image(name)

    shown = plain(load_image=load)
    assert section_ids(shown, "misses") == ["miss_b", "miss_a"]
    assert section_ids(shown, "alarms") == ["alarm"]
    rest = section_ids(shown, "rest")  # nearest to 0.5 first
    assert rest[:4] == ["alarm_of_the_mask", "miss_of_the_mask", "good/14", "good/13"]
    alarm, miss = (facts_of(shown, f"{kind}_of_the_mask") for kind in ("alarm", "miss"))
    assert alarm == {
        "Truth": ("", "good"),
        "Verdict": (RIGHT + LIVE, "accepted 0.300"),
        "Mask": (WRONG, "false alarm 0.600"),
        "Marked": ("", "20 px"),
        "Overlap (IoU)": ("", "0.00"),
    }
    assert miss["Verdict"] == (RIGHT + LIVE, "rejected 0.800")
    assert miss["Mask"] == (WRONG, "missed 0.300")
    ids = re.findall(r'<span class="id">(.*?)</span>', shown.replace("<wbr>", ""))
    assert sorted(ids) == sorted(loaded) == sorted(p.id for p in IMAGES)
    assert shown.count('class="card"') == shown.count("data:image/jpeg") == len(IMAGES)


def test_a_card_says_when_a_mark_is_too_small_to_reject(plain):
    small = IMAGES[1]._replace(mask_score=0.99)
    shown = plain([small, IMAGES[-1]], decision=dataclasses.replace(DECISION, min_area_px=18))
    assert "<dd>fewer than the 18 px it takes</dd>" in shown and "<dd>0 px</dd>" in shown


def test_first_cards_are_shown_and_the_others_kept_in_the_store(plain):
    images = [image(f"m{i:02}", 1, i / 100, 0.9, 9) for i in range(30)] + IMAGES[-2:]
    shown = plain(images)
    assert "Missed: <span data-total>30</span> of 30 defective images" in shown
    assert ">12 of 30, lowest probability first.<" in shown
    assert section_ids(shown, "misses") == [f"m{i:02}" for i in range(12)]
    store = shown[shown.index('<div id="store" hidden>') :]
    assert re.findall(r'<span class="id">(.*?)</span>', store) == [f"m{i}" for i in range(12, 30)]
    assert shown.count(">None.<") == 1


def test_sections_hold_every_image_exactly_once():
    rng = np.random.default_rng(0)
    numbers = zip(rng.integers(0, 2, 200).tolist(), *rng.random((2, 200)).tolist(), strict=True)
    images = [image(f"p{i}", *of) for i, of in enumerate(numbers)]
    found = gallery.sections(images, decision_heads(DECISION, has_head=True))
    assert sorted(row for section in found for row in section.rows) == list(range(200))
    missed = [p for p in images if p.label and not p.rejected]
    assert len(found[0].rows) == len(missed)
    right = [p for p in images if p.label == p.rejected]
    assert len(found[-1].rows) == len(right)


@pytest.mark.parametrize("label", [0, 1])
def test_one_kind_of_image_still_makes_a_page(label):
    shown = render(report([p for p in IMAGES if p.label == label], history=[]))
    assert Outline(shown).open == []
    assert ("No precision–recall curve" in shown) == (label == 0)


def test_page_is_written_whole_and_the_same_each_time(tmp_path, plain):
    write_report(tmp_path / "eval" / "report.html", report())
    first = (tmp_path / "eval" / "report.html").read_bytes()
    write_report(tmp_path / "eval" / "report.html", report())
    assert (tmp_path / "eval" / "report.html").read_bytes() == first
    assert len(list((tmp_path / "eval").iterdir())) == 1
