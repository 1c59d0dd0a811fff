"""The verdict in words, the confusion tables and the table of every metric."""

from collections.abc import Mapping, Sequence
from html import escape

from defect_jax.decision import Decision
from defect_jax.metrics.picture import Picture
from defect_jax.metrics.summary import MEANINGS

RULES = {"best_f1": "the best F1 score (the balance of recall and precision)"}
SPLITS = {"train": "training", "val": "validation"}
KEY_FIGURES = (
    *("recall", "false_positive_rate", "image_auroc", "image_ap", "recall_at_fpr_05"),
    *("seg_recall", "seg_fpr", "seg_miou", "miou_pooled", "pixel_ap"),
)
GROUPS = {
    "images": "Pictures",
    "recall": "Decision by the score",
    "image_auroc": "Ranking of pictures, without a threshold",
    "seg_recall": "Decision by the mask, and where it marks",
    "miou_pooled": "Pixels, all pictures together",
}


def verdict(pictures: Sequence[Picture], split: str, decision: Decision, has_head: bool) -> str:
    """Misses and false alarms in large figures, and the rule that they come from."""
    tiles = [_tiles("The mask", pictures, "mask_decision")]
    if has_head:
        tiles.insert(0, _tiles("The classification head", pictures, "decision"))
    defective = sum(picture.label for picture in pictures)
    many = f"{len(pictures):,} {_split(split)} pictures"
    return (
        f"<p>{many}, {defective:,} of them defective and {len(pictures) - defective:,} good.</p>\n"
        f'<div class="verdicts">{"".join(tiles)}</div>\n{_rule(decision, has_head)}'
    )


def confusions(pictures: Sequence[Picture], has_head: bool) -> str:
    """Truth against decision, for the head and for the mask."""
    tables = [_confusion("Decision of the mask", pictures, "mask_decision")]
    if has_head:
        tables.insert(0, _confusion("Decision of the classification head", pictures, "decision"))
    return "\n".join(tables)


def metrics_table(metrics: Mapping[str, int | float | None]) -> str:
    """Every value of metrics.json with what it means."""
    rows = []
    for key in MEANINGS:
        if key in GROUPS:
            heading = f'<th colspan="3" scope="rowgroup">{GROUPS[key]}</th>'
            rows.append(f'<tr class="group">{heading}</tr>')
        rows.append(_metric_row(key, metrics))
    return _metrics_table("All figures, from metrics.json. Shares run from 0 to 1.", rows)


def key_figures(metrics: Mapping[str, int | float | None]) -> str:
    """The ten values that most readers look for."""
    rows = [_metric_row(key, metrics) for key in KEY_FIGURES]
    return _metrics_table("The figures that matter most; all others are further down.", rows)


def _metric_row(key: str, metrics: Mapping[str, int | float | None]) -> str:
    return (
        f'<tr><th scope="row"><code>{key}</code></th>'
        f'<td class="number">{number(metrics.get(key))}</td>'
        f"<td>{escape(MEANINGS[key])}</td></tr>"
    )


def _metrics_table(caption: str, rows: Sequence[str]) -> str:
    body = "\n".join(rows)
    return (
        f'<table class="metrics"><caption>{caption}</caption><thead><tr>'
        '<th scope="col">Name</th><th scope="col" class="number">Value</th>'
        f'<th scope="col">Meaning</th></tr></thead><tbody>\n{body}\n</tbody></table>'
    )


def number(value: int | float | None) -> str:
    """A figure as the page prints it.

    >>> number(1004), number(0.9361), number(0.00012), number(None)
    ('1,004', '0.936', '0.00012', 'not defined')
    """
    if value is None:
        return "not defined"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.0005 else f"{value:.2g}"


def _tiles(who: str, pictures: Sequence[Picture], decision: str) -> str:
    defective = [picture for picture in pictures if picture.label]
    good = [picture for picture in pictures if not picture.label]
    missed = sum(not getattr(picture, decision) for picture in defective)
    alarms = sum(getattr(picture, decision) for picture in good)
    return (
        f'<section class="verdict"><h3>{who}</h3><div class="tiles">'
        + _tile(missed, "miss", "misses", f"{_of(missed, len(defective))} defective", "accepted")
        + _tile(alarms, "false alarm", "false alarms", f"{_of(alarms, len(good))} good", "rejected")
        + "</div></section>"
    )


def _tile(count: int, one: str, many: str, whole: str, decided: str) -> str:
    style = "tile wrong" if count else "tile"
    return (
        f'<p class="{style}"><span class="count">{count:,}</span> '
        f'<span class="what">{one if count == 1 else many}</span> '
        f"<span>{whole} pictures {decided}</span></p>"
    )


def _split(name: str) -> str:
    return escape(SPLITS.get(name, name))


def _of(count: int, whole: int) -> str:
    return f"{count / whole:.1%} of {whole:,}" if whole else "of no"


def _rule(decision: Decision, has_head: bool) -> str:
    texts = []
    if has_head:
        texts.append(
            "The classification head rejects a picture when its score is at least "
            f"<b>{decision.threshold:.4f}</b>."
        )
    else:
        texts.append(
            "This network has no classification head: the score of a picture is the highest "
            "defect probability in its mask."
        )
    texts.append(
        "The mask rejects it when the highest defect probability in it is at least "
        f"<b>{decision.mask_threshold:.4f}</b>; it then marks the pixels of at least "
        f"<b>{decision.pixel_threshold:.4f}</b>."
    )
    if not decision.note:  # otherwise the warning tells where they come from
        rule = escape(RULES.get(decision.rule, decision.rule))
        texts.append(
            f"The thresholds are those of {rule} on {decision.pictures:,} "
            f"{_split(decision.chosen_on)} pictures, {decision.defective:,} of them defective."
        )
    return f"<p>{' '.join(texts)}</p>"


def _confusion(caption: str, pictures: Sequence[Picture], decision: str) -> str:
    rows = "\n".join(
        _confusion_row(name, [getattr(p, decision) for p in pictures if p.label == label], label)
        for label, name in ((1, "Defective"), (0, "Good"))
    )
    columns = "".join(f'<th scope="col">{name}</th>' for name in ("Rejected", "Accepted", "All"))
    return (
        f'<table class="confusion"><caption>{caption}</caption>'
        f'<thead><tr><th scope="col">Truth</th>{columns}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table>"
    )


def _confusion_row(name: str, decisions: Sequence[int], label: int) -> str:
    rejected = sum(decisions)
    accepted = len(decisions) - rejected
    misses = ' class="wrong"' if label and accepted else ""
    alarms = ' class="wrong"' if not label and rejected else ""
    return (
        f'<tr><th scope="row">{name}</th><td{alarms}>{rejected:,}</td>'
        f"<td{misses}>{accepted:,}</td><td>{len(decisions):,}</td></tr>"
    )
