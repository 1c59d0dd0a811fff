"""gallery.html: what was rejected, with its outline, and what could not be read; one file."""

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from defect_jax import atomic
from defect_jax.data.images import decode_image, decode_mask
from defect_jax.data.raw_files import RawFiles
from defect_jax.decision import DecisionRule
from defect_jax.report import budget
from defect_jax.report.cards import breakable
from defect_jax.report.document import FILES, document, warnings
from defect_jax.report.frames import frame
from defect_jax.report.words import score_text

PAGE = "gallery.html"
MOST_PICTURES = 120  # of each section; all others lie in overlays/
MOST_FAULTS = 200

Line = Mapping[str, Any]  # of predictions.jsonl


def write_page(folder: Path, raw: RawFiles, lines: Sequence[Line], rule: DecisionRule) -> None:
    """Writes the page, whole or not at all.

    Args:
        folder: with masks/, whose outlines are drawn.
        raw: where the pictures come from.
        lines: of predictions.jsonl.
    """
    pictures = [line for line in lines if "fault" not in line]
    rejected = [p for p in pictures if p["decision"] or p["mask_decision"]]
    accepted = [p for p in pictures if not (p["decision"] or p["mask_decision"])]
    sections = [
        ("Rejected", "most probable first", sorted(rejected, key=_probability, reverse=True)),
        ("Accepted", "least sure first", sorted(accepted, key=_probability, reverse=True)),
    ]
    shown = [picture for _, _, chosen in sections for picture in chosen[:MOST_PICTURES]]
    show = partial(_card, folder, raw, shown)
    telling = [bool(picture["decision"]) for picture in shown]
    cards = dict(zip((p["id"] for p in shown), budget.share_out(telling, 0, show), strict=True))
    body = Template(FILES.joinpath("prediction.html").read_text("utf-8")).substitute(
        faults=(warnings([rule.note]) if rule.note else "")
        + _faults([line["fault"] for line in lines if "fault" in line]),
        counts=_counts(pictures, len(lines)),
        rule=escape(_rule(rule)),
        sections="\n".join(_section(*section, cards) for section in sections),
    )
    styles = ("page.css", "tables.css", "controls.css", "gallery.css")
    title = f"{len(pictures):,} {_pictures(len(pictures))}, {len(rejected):,} rejected"
    atomic.write_text(folder / PAGE, document(title, body, ("viewer.js",), styles))


def _probability(picture: Line) -> tuple[float, float]:
    return picture["probability"], picture["mask_score"]


def _counts(pictures: Sequence[Line], files: int) -> str:
    rows = {
        "pictures": files,
        "decided": len(pictures),
        "rejected by the score": sum(p["decision"] for p in pictures),
        "rejected by the mask": sum(p["mask_decision"] for p in pictures),
        "rejected by both": sum(p["decision"] and p["mask_decision"] for p in pictures),
        "could not be used": files - len(pictures),
    }
    cells = (f"<tr><th>{name}</th><td>{count:,}</td></tr>" for name, count in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _rule(rule: DecisionRule) -> str:
    return (
        f"A picture is rejected by its score from {rule.threshold:.4f} on, and by its mask when a "
        f"pixel reaches {rule.mask_threshold:.4f} and at least {rule.min_area_px} px reach "
        f"{rule.pixel_threshold:.4f}"
        + ("." if rule.note else f"; chosen on the {rule.chosen_on} split ({rule.rule}).")
    )


def _pictures(count: int) -> str:
    return "picture" if count == 1 else "pictures"


def _faults(faults: Sequence[str]) -> str:
    if not faults:
        return ""
    more = len(faults) - MOST_FAULTS
    listed = [*faults[:MOST_FAULTS], *([f"and {more:,} more, see predictions.jsonl"] * (more > 0))]
    items = "".join(f"<li>{escape(fault)}</li>" for fault in listed)
    return warnings([f"{len(faults):,} files could not be used."]) + f"<ul>{items}</ul>"


def _section(heading: str, order: str, chosen: Sequence[Line], cards: Mapping[str, str]) -> str:
    shown = [cards[picture["id"]] for picture in chosen[:MOST_PICTURES]]
    of = f"All, {order}." if len(shown) == len(chosen) else f"{len(shown)} of them, {order}."
    return (
        f"<h2>{heading}: {len(chosen):,}</h2>\n<p>{of if chosen else 'None.'}</p>\n"
        f'<div class="cards">{"".join(shown)}</div>'
    )


def _card(
    folder: Path, raw: RawFiles, shown: Sequence[Line], index: int, side_px: int, limit: int
) -> str:
    picture = shown[index]
    image = decode_image(raw.read(picture["file"]))
    marked = decode_mask((folder / f"masks/{picture['id']}.png").read_bytes(), 0)
    words = "with the outline of its defects" if marked.any() else "without an outline"
    svg = frame(
        f"p{index}",
        f"Picture {picture['id']}, {words}",
        image,
        [("predicted", marked)],
        side_px,
        limit,
    )
    facts = {
        "Probability": score_text(picture["probability"]),
        "Score": ("rejected " if picture["decision"] else "") + score_text(picture["score"]),
        "Mask": ("rejected " if picture["mask_decision"] else "")
        + score_text(picture["mask_score"]),
        "Marked": f"{picture['predicted_px']:,} px",
    }
    lines = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in facts.items())
    return (
        f'<figure class="card">{svg}<figcaption><span class="id">{breakable(picture["id"])}</span>'
        f"<dl>{lines}</dl></figcaption></figure>\n"
    )
