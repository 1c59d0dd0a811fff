"""The confusion tables and the table of every metric."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from defect_jax.decision import DecisionRule
from defect_jax.metrics.class_counts import ACCURACY, CLASS_MEANINGS, IOU
from defect_jax.metrics.picture import Picture
from defect_jax.metrics.summary import MEANINGS
from defect_jax.report.judges import judges
from defect_jax.report.verdict import Mistakes, mistakes_of
from defect_jax.report.words import number, threshold_text

Metrics = Mapping[str, int | float | None]
NUMBER = ' class="number"'
EVERY_MEANING = {**MEANINGS, **CLASS_MEANINGS}
ELSEWHERE = ("class_", "size_", IOU, ACCURACY)  # keys that stand in tables of their own
GROUPS = {
    "images": "Pictures",
    "recall": "Decision by the score",
    "image_auroc": "Ranking of pictures, without a threshold",
    "seg_recall": "Decision by the mask, and where it marks",
    "miou_pooled": "Pixels, all pictures together",
    "parts": "Whole parts, from all their pictures",
    "either_recall": "Score and mask together",
    "ece": "Calibration of the score",
    "class_miou": "Classes of defect, pixels of all pictures together",
}


def confusions(pictures: Sequence[Picture], decision: DecisionRule, has_head: bool) -> str:
    """Truth against decision, for the head and for the mask; the slider moves the first table."""
    tables = []
    for index, judge in enumerate(judges(decision, has_head)):
        at = threshold_text(judge.threshold)
        at = f'<span data-live="threshold">{at}</span>' if index == 0 else at
        caption = f"{judge.full_name.capitalize()}, threshold {at}"
        tables.append(_confusion(caption, mistakes_of(judge, pictures), live=index == 0))
    return "\n".join(tables)


def metrics_table(metrics: Metrics) -> str:
    """Every value of metrics.json, but for those of slices and of single classes, with its interval
    and its meaning."""
    known = [key for key in MEANINGS if not _is_bound(key, MEANINGS)]
    known += [key for key in CLASS_MEANINGS if key in metrics]
    unknown = [key for key in metrics if key not in EVERY_MEANING and not _is_bound(key, metrics)]
    unknown = [key for key in unknown if not key.startswith(ELSEWHERE)]
    rows = []
    for key in known + unknown:
        if key in GROUPS:
            heading = f'<th colspan="4" scope="rowgroup">{GROUPS[key]}</th>'
            rows.append(f'<tr class="group">{heading}</tr>')
        rows.append(_metric_row(key, metrics))
    caption = "All figures, from metrics.json. Shares run from 0 to 1; intervals hold 95 %."
    columns = "".join(
        f'<th scope="col"{style}>{name}</th>'
        for name, style in (("Name", ""), ("Value", NUMBER), ("Interval", NUMBER), ("Meaning", ""))
    )
    body = "\n".join(rows)
    return (
        f'<table class="metrics"><caption>{caption}</caption><thead><tr>{columns}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table>"
    )


def _is_bound(key: str, keys: Iterable[str]) -> bool:
    """An end of another value's interval, which stands beside it and not in a row of its own."""
    return key.endswith(("_low", "_high")) and key.rpartition("_")[0] in keys


def _metric_row(key: str, metrics: Metrics) -> str:
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    interval = "" if low is None or high is None else f"{number(low)} to {number(high)}"
    return (
        f'<tr><th scope="row"><code>{escape(key)}</code></th>'
        f"<td{NUMBER}>{number(metrics.get(key))}</td><td{NUMBER}>{interval}</td>"
        f"<td>{escape(EVERY_MEANING.get(key, ''))}</td></tr>"
    )


def _confusion(caption: str, counted: Mistakes, live: bool) -> str:
    found, passed = counted.defective - counted.missed, counted.good - counted.alarms
    rows = [
        ("Defective", ("found", found, ""), ("misses", counted.missed, "wrong"), counted.defective),
        ("Good", ("alarms", counted.alarms, "wrong"), ("passed", passed, ""), counted.good),
    ]
    body = "\n".join(
        f'<tr><th scope="row">{name}</th>{_cell(*rejected, live)}{_cell(*accepted, live)}'
        f"<td>{whole:,}</td></tr>"
        for name, rejected, accepted, whole in rows
    )
    columns = "".join(f'<th scope="col">{name}</th>' for name in ("Rejected", "Accepted", "All"))
    return (
        f'<table class="confusion"><caption>{caption}</caption>'
        f'<thead><tr><th scope="col">Truth</th>{columns}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table>"
    )


def _cell(name: str, count: int, style: str, live: bool) -> str:
    """The style, that of a mistake, is there for the sheet to colour; at 0 it is left out."""
    shown = f' class="{style}"' if style and count else ""
    moves = f' data-live="{name}"' if live else ""
    return f"<td{shown}{moves}>{count:,}</td>"
