"""What a stress test concludes: rates, limits, first grades, files and the page."""

import csv
import re

import numpy as np
import pytest
from scipy import stats
from test_report import Outline, load_image, text_of

from defect_jax.data.distortions.kinds import KINDS
from defect_jax.decision import DecisionRule
from defect_jax.decision.limits import (
    BEYOND,
    BROKEN,
    HOLDS,
    REFUTED,
    UNKNOWN,
    WORSE,
    JudgedGrade,
    first_at,
    limits_of,
    standing,
    stands_to,
)
from defect_jax.evaluation.stress import refuse_no_test_split
from defect_jax.evaluation.stress_files import KeptPasses, page_of, pass_name, table_text
from defect_jax.metrics.images import ImageRow
from defect_jax.metrics.stress import Rate, error_rates, got_worse, in_view
from defect_jax.report.stress_page import StressPage, render_stress
from defect_jax.report.stress_words import firsts, limit_words, summary
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import csv_text
from defect_jax.workdir import kept_split

NAMES = [str(number) for number in range(100)]
RULE = DecisionRule(0.5, 0.5, 0.5, checkpoint_step=7, pictures=9, defective=5)


def rates(misses, alarms, defective=40, good=60):
    label = np.repeat([1, 0], [defective, good])
    wrong = np.arange(100) % 100 < misses
    wrong |= (np.arange(100) >= defective) & (np.arange(100) < defective + alarms)
    return error_rates(label, label ^ wrong, NAMES)


def test_rates_are_counted_and_their_intervals_exact():
    found = rates(3, 7)
    assert [(r.count, r.of) for r in found] == [(3, 40), (7, 60)]
    for rate in found:
        exact = stats.binomtest(rate.count, rate.of).proportion_ci(0.95, "exact")
        assert (rate.low, rate.high) == pytest.approx(tuple(exact))
    none = error_rates([1], [0], ["a"]).alarms
    assert none == Rate(0, 0, None, None) and none.share is None


def test_images_of_one_part_are_no_witnesses_each():
    label, group = [0] * 40, [str(n // 10) for n in range(40)]
    wrong = [0] * 30 + [1] * 10
    together, alone = (error_rates(label, wrong, g).alarms for g in (group, NAMES[:40]))
    assert together.share == alone.share == 0.25
    assert together.low < alone.low and together.high > alone.high


def image(number, label=1, rejected=1, group=None, true_px=9):
    row = ImageRow(
        f"i{number}", group or f"g{number}", label, 0.9, 0.9, 1, 1, 0.5, 5, true_px, 9, 0.9, 1
    )
    return row._replace(rejected=rejected)


@pytest.mark.parametrize(
    ("before", "now", "label", "worse"),
    [
        ([1] * 4, [0] * 4, 1, True),  # 1/16
        ([1] * 3, [0] * 3, 1, False),  # 1/8
        ([1] * 9 + [0], [0] * 9 + [1], 1, True),  # nine up, one down: 11/1024
        ([1] * 7 + [0] * 2, [0] * 7 + [1] * 2, 1, True),  # 46/512
        ([1] * 7 + [0] * 3, [0] * 7 + [1] * 3, 1, False),  # 176/1024
        ([0] * 8, [1] * 8, 0, True),
        ([1] * 8, [0] * 8, 0, False),  # fewer false alarms
        ([1] * 8, [1] * 8, 1, False),
    ],
)
def test_worse_is_the_sign_test_over_parts(before, now, label, worse):
    then = [image(n, label, rejected) for n, rejected in enumerate(before)]
    after = [image(n, label, rejected) for n, rejected in enumerate(now)]
    assert got_worse(then, after, label) is worse
    assert got_worse(then, after, 1 - label) is False
    changed = [(a != b, (a != b) and (b != label)) for a, b in zip(before, now, strict=True)]
    trials, up = map(sum, zip(*changed, strict=True))
    if trials:
        exact = stats.binomtest(up, trials, alternative="greater").pvalue
        assert bool(exact <= 0.1) is worse
    one_part = [[row._replace(group="g") for row in rows] for rows in (then, after)]
    assert got_worse(*one_part, label) is False


def test_an_image_is_left_out_where_most_of_its_defect_left_the_frame():
    before = [
        image(0, true_px=40),
        image(1, true_px=40),
        image(2, 0, true_px=0),
        image(3, true_px=0),
    ]
    now = [row._replace(true_px=px) for row, px in zip(before, (10, 9, 0, 0), strict=True)]
    assert [row.id for row in in_view(before, now)] == ["i0", "i2", "i3"]


@pytest.mark.parametrize(
    ("rule", "options", "undisturbed", "expected"),
    [
        ("best_f1", {}, rates(2, 6), ("high", "high")),
        ("least_cost", {}, rates(2, 6), ("high", "high")),
        ("guaranteed_miss_rate", {"miss_rate": 0.1}, rates(4, 6), (0.1, "high")),
        ("guaranteed_miss_rate", {"miss_rate": 0.1}, rates(5, 6), ("high", "high")),
        ("target_recall", {"recall": 0.95}, rates(2, 6), (0.05, "high")),
        ("target_false_positive_rate", {"false_positive_rate": 0.1}, rates(2, 6), ("high", 0.1)),
    ],
)
def test_limits_are_what_the_rule_names_or_what_the_images_leave_possible(
    rule, options, undisturbed, expected
):
    made = DecisionRule(0.5, 0.5, 0.5, 1, 9, 5, rule=rule, options=options)
    found = limits_of(made, undisturbed)
    for limit, rate, wanted in zip(found, undisturbed, expected, strict=True):
        assert limit.rate == pytest.approx(rate.high if wanted == "high" else wanted)
    kept = [limit.kept for limit in found]
    assert kept == [not (rule == "guaranteed_miss_rate" and expected[0] == "high"), True]
    noted = DecisionRule(0.5, 0.5, 0.5, 1, 9, 5, rule=rule, options=options, note="could not")
    assert [limit.named for limit in limits_of(noted, undisturbed)] == [None, None]


@pytest.mark.parametrize(
    ("misses", "worse", "expected"),
    [
        (4, False, HOLDS),
        (4, True, WORSE),
        (5, False, BROKEN),
        (9, True, BROKEN),
        (10, True, REFUTED),
    ],
)
def test_a_rate_holds_is_worse_broken_or_refuted(misses, worse, expected):
    """Of 40: Clopper and Pearson's lower end is 0.108 at 9 misses and above 0.12 at 10."""
    made = DecisionRule(
        0.5, 0.5, 0.5, 1, 9, 5, rule="guaranteed_miss_rate", options={"miss_rate": 0.12}
    )
    limit = limits_of(made, rates(1, 1)).misses
    assert standing(rates(misses, 0).misses, limit, worse) == expected


def test_where_nothing_was_counted_nothing_is_known():
    nothing = rates(2, 0, defective=100, good=0)
    limits = limits_of(RULE, nothing)
    assert standing(nothing.alarms, limits.alarms, False) == UNKNOWN
    words = limit_words("alarms", "images", nothing.alarms, limits.alarms)
    assert words == "No image is good: nothing is known of false alarms."


def graded(kind, misses, alarms, **changes):
    none = rates(0, 0)
    return [
        JudgedGrade(grade, none, none, m, a, 0)._replace(**changes)
        for grade, m, a in zip(kind.grades, misses, alarms, strict=True)
    ]


H, W, B, R = HOLDS, WORSE, BROKEN, REFUTED


@pytest.mark.parametrize(
    ("misses", "alarms", "stood", "first_misses", "first_alarms"),
    [
        ([H] * 5, [H] * 5, 4, [None] * 3, [None] * 3),
        ([H, H, B, H, R], [H] * 5, 1, [2, 2, 4], [None] * 3),
        ([H] * 5, [W, H, W, B, B], None, [None] * 3, [0, 3, None]),
        ([H, H, H, W, R], [H, H, R, R, R], 1, [3, 4, 4], [2, 2, 2]),
    ],
)
def test_the_first_grade_of_each_is_found(misses, alarms, stood, first_misses, first_alarms):
    kind = KINDS[0]
    grades = graded(kind, misses, alarms)
    at = [None if place is None else kind.grades[place] for place in (stood,)]
    assert [stands_to(grades)] == at
    for field, expected in (("misses", first_misses), ("alarms", first_alarms)):
        found = [first_at(grades, field, *of) for of in ((W, B, R), BEYOND, (R,))]
        assert found == [None if p is None else kind.grades[p] for p in expected]
        words = ["–" if p is None else kind.in_words(kind.grades[p]) for p in expected]
        assert firsts(kind, grades, field) == words


KIND_ROWS = [
    (KINDS[0], graded(KINDS[0], [H] * 5, [H, W, W, B, R])),
    (KINDS[1], graded(KINDS[1], [H] * 5, [H] * 5)),
    (KINDS[4], graded(KINDS[4], [H, B, B, B, R], [H, H, B, B, B], left_out=2)),
    *[(kind, graded(kind, [H] * 5, [H] * 5)) for kind in KINDS[7:]],
]


def test_it_is_said_in_words():
    assert summary(KIND_ROWS) == [
        "Stands every grade of darker (to ×0.3), shift (to 32 px), rotation (to 15°) and "
        "scale (to ×1.3), as far as 40 defective and 60 good ones tell.",
        "Worse from: brighter ×1.2 (false alarms).",
        "Broken from: brighter ×1.5 (false alarms); blur 1 px (misses).",
    ]
    assert len(summary(KIND_ROWS[1:2])) == 1


def page(**changes):
    none = rates(2, 6)
    fields = {
        "title": "tiles <b>, step 7",
        "things": "images",
        "images": 100,
        "undisturbed": JudgedGrade(0.0, none, none, HOLDS, HOLDS, 0),
        "limits": limits_of(RULE, none),
        "kinds": KIND_ROWS[:3],
        "sample": lambda kind, grade: ("odd<name>", *load_image("a")[:2]),
        "written": "2026-01-01 12:00",
    }
    return StressPage(**fields | changes)


@pytest.fixture(scope="module")
def html():
    return render_stress(page())


def test_the_page_is_well_formed_and_loads_nothing(html):
    outline = Outline(html)
    assert outline.open == [] and len(outline.ids) == len(set(outline.ids))
    assert outline.images_without_text == 0 and "http:" not in html and "https:" not in html
    assert all(re.match("data:|#", address) for address in outline.addresses)
    used = {address[1:] for address in outline.addresses if address.startswith("#")}
    assert used <= set(outline.ids)
    assert html.count("<table") == html.count("<caption>")
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    assert "<b>" not in html.replace("&lt;b&gt;", "") and "odd<name>" not in html


def test_the_page_shows_every_grade_with_its_verdict(html):
    text = " ".join(text_of(html).split())
    assert "100 test images, at the fixed thresholds of decision.json: 40 defective and 60" in text
    for sentence in summary(KIND_ROWS[:3]):
        assert sentence in text
    assert "Without a disturbance 2 of 40 defective images are missed (5.0 %)." in text
    cells = re.findall(r'<td class="(\w+)"><strong>', html)
    assert cells == [H, W, W, B, R] + [H] * 5 + [H, B, B, B, R]
    assert "misses refuted; false alarms broken" in text and text.count("2 left out") == 5
    assert html.count('class="card"') == 15 and "images:" not in text
    parts = page(
        things="parts",
        kinds=[(KINDS[0], graded(KINDS[0], [H] * 5, [H] * 5, of_images=rates(3, 9)))],
    )
    text = " ".join(text_of(render_stress(parts)).split())
    assert "Stands every grade of brighter (to ×2), as far as 40 defective and 60" in text
    assert "images: 3 (7.5 %) / 9 (15.0 %)" in text


def test_the_table_has_a_row_a_grade(tmp_path):
    none = JudgedGrade(0.0, rates(2, 6), rates(3, 9), HOLDS, HOLDS, 0)
    lines = list(csv.DictReader(table_text(none, KIND_ROWS).splitlines()))
    assert len(lines) == 1 + 5 * len(KIND_ROWS)
    first = lines[0]
    assert (first["kind"], first["grade"], first["misses"], first["good"]) == (
        "undisturbed",
        "",
        "2",
        "60",
    )
    assert (first["missed_images"], first["falsely_rejected_images"]) == ("3", "9")
    assert float(first["miss_rate"]) == 0.05
    blur = [line for line in lines if line["kind"] == "blur"]
    assert [line["misses_are"] for line in blur] == [H, B, B, B, R]
    assert [float(line["grade"]) for line in blur] == list(KINDS[4].grades)


def test_passes_are_kept_for_what_they_were_made_with(tmp_path):
    kept = KeptPasses(tmp_path / "passes", {"weights": "a"})
    rows = [image(0), image(1, 0, 0)]
    name = pass_name(KINDS[2], 0.9)
    assert kept.names([name]) == []
    kept.clear_others()
    kept.write(name, rows)
    assert kept.names([name, "blur_1"]) == [name] and kept.read(name) == rows
    other = KeptPasses(tmp_path / "passes", {"weights": "b"})
    assert other.names([name]) == []
    other.clear_others()
    assert kept.names([name]) == [] and list((tmp_path / "passes").iterdir()) == []
    other.write(name, rows)
    (file,) = (tmp_path / "passes").rglob("*.csv")
    file.write_text(file.read_text()[:-20])
    with pytest.raises(UserError, match="lower_contrast_0.9.csv, line 3"):
        other.read(name)


def test_a_report_links_to_the_stress_test_of_its_own_decision_alone(tmp_path):
    assert page_of(tmp_path, RULE) == ""
    folder = tmp_path / "eval/stress"
    RULE.to_json(folder / "decision.json")
    assert page_of(tmp_path, RULE) == ""
    (folder / "stress.html").write_text("")
    assert page_of(tmp_path, RULE) == "stress/stress.html"
    assert page_of(tmp_path, DecisionRule(0.6, 0.5, 0.5, 7, 9, 5)) == ""


def test_a_run_on_folds_without_a_test_split_is_refused(tmp_path):
    rows = [kept_split.KeptRow(f"fold_{n}", f"a{n}", f"a{n}", "good", 0, "", "") for n in (0, 1)]
    (tmp_path / "split.csv").write_text(csv_text([kept_split.KeptRow._fields, *rows]))
    with pytest.raises(UserError, match="--mode=stress needs a test split, and this run on folds"):
        refuse_no_test_split(tmp_path)
    rows.append(rows[0]._replace(split="test", id="b", group="b"))
    (tmp_path / "split.csv").write_text(csv_text([kept_split.KeptRow._fields, *rows]))
    refuse_no_test_split(tmp_path)
