"""gallery.html: what was rejected, with outline and heat, and what could not be read; one file."""

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
from markupsafe import Markup

from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import decode_image
from defect_jax.data.files.masks import decode_mask
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.record_encoding import decode_classes
from defect_jax.decision import DecisionRule
from defect_jax.decision.parts import UNDECIDED_PART
from defect_jax.decision.ways import WAYS, probability_threshold
from defect_jax.deploy.batch_look import look_in_words
from defect_jax.deploy.drawings import heat_layer
from defect_jax.deploy.kept_lines import Line
from defect_jax.deploy.parts import PartRow
from defect_jax.report.cards import Fact, card
from defect_jax.report.outlines import frame
from defect_jax.report.render import breakable, render_page
from defect_jax.report.thumbnails import share_out
from defect_jax.report.words import score_text
from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import visible

PAGE = "gallery.html"
STYLES = ("page.css", "tables.css", "controls.css", "gallery.css")
HEAT = "heatmaps"
MOST_IMAGES = 120  # of each section; overlays/ has all of them
MOST_FAULTS = 200
MOST_PARTS = 200  # parts.csv has all of them


class Section(NamedTuple):
    """Images below a heading."""

    heading: str
    order: str  # what comes first, in words
    lines: list[Line]


def write_page(
    folder: Path,
    raw: RawFiles,
    lines: Sequence[Line],
    rule: DecisionRule,
    parts: Sequence[PartRow] = (),
    warnings: Sequence[str] = (),
) -> None:
    """Write the page, whole or not at all.

    Args:
        folder: with masks/, whose outlines are drawn, and heatmaps/, where there are any.
        raw: where the images come from.
        lines: of predictions.jsonl.
        parts: of parts.csv, where parts are known.
        warnings: on all images together, see `batch_look`.
    """
    decided = [line for line in lines if "fault" not in line]
    rejected = [line for line in decided if _is_rejected(line)]
    accepted = [line for line in decided if not _is_rejected(line)]
    sections = [
        Section("Rejected", "most probable first", _most_probable_first(rejected)),
        Section("Accepted", "least sure first", _most_probable_first(accepted)),
    ]
    shown = [line for section in sections for line in section.lines[:MOST_IMAGES]]

    def show(index: int, longer_side_px: int, limit: int) -> Markup:
        return _card(folder, raw, shown[index], f"p{index}", longer_side_px, limit)

    telling = [bool(line["rejected"]) for line in shown]
    cards = zip((line["id"] for line in shown), share_out(telling, 0, show), strict=True)
    many = "image" if len(decided) == 1 else "images"
    html = render_page(
        "predictions.html",
        f"{len(decided):,} {many}, {len(rejected):,} rejected",
        ("viewer.js", "heat.js"),
        STYLES,
        rule=rule,
        warnings=[rule.note] * (rule.note != "") + [w[:1].upper() + w[1:] + "." for w in warnings],
        way=WAYS[rule.decides].words,
        probability_threshold=probability_threshold(rule),
        faults=[visible(line["fault"]) for line in lines if "fault" in line],
        most_faults=MOST_FAULTS,
        counts=_counts(decided, len(lines)),
        parts=_worst_first(parts),
        part_threshold=(rule.part or UNDECIDED_PART).threshold,
        most_parts=MOST_PARTS,
        sections=sections,
        most_images=MOST_IMAGES,
        cards=dict(cards),
        heat=any(HEAT in line["files"] for line in shown),
        known=any(line.get("unlike") is not None for line in shown),
    )
    atomic_files.write_text(folder / PAGE, html)


def _is_rejected(line: Line) -> bool:
    return bool(line["rejected"])


def _most_probable_first(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (line["probability"], line["mask_score"]), reverse=True)


def _worst_first(parts: Sequence[PartRow]) -> list[PartRow]:
    """Return parts without a decision, then those that either way rejects, then the others."""

    def place(part: PartRow) -> tuple:
        if part.score is None:
            return (0, 0.0)
        return (1 if part.decision or part.sequential_decision else 2, -part.score)

    return sorted(parts, key=place)


def _counts(decided: Sequence[Line], files: int) -> dict[str, int]:
    unlike = [line.get("is_unlike") for line in decided]
    return {
        "images": files,
        "decided": len(decided),
        "rejected": sum(line["rejected"] for line in decided),
        "rejected by the score": sum(line["decision"] for line in decided),
        "rejected by the mask": sum(line["mask_decision"] for line in decided),
        "rejected by both": sum(line["decision"] and line["mask_decision"] for line in decided),
        **({"unlike the training images": sum(unlike)} if None not in unlike else {}),
        "could not be used": files - len(decided),
    }


def _original(raw: RawFiles, line: Line) -> Shaped[np.ndarray, "h w c"] | None:
    """Return the image; None where it has gone, or has changed since."""
    with contextlib.suppress(OSError, MemoryError, BadImage):  # the last: a shot of several pages
        data = raw.read(line["file"])
        if hashlib.sha256(data).hexdigest() == line["sha256"]:
            return decode_image(data)
    return None


def _card(
    folder: Path, raw: RawFiles, line: Line, name: str, longer_side_px: int, limit: int
) -> Markup:
    image, heat = _original(raw, line), b""

    def written(kind: str, suffix: str) -> bytes:
        return (folder / kind / f"{line['id']}{suffix}").read_bytes()

    try:
        if image is None:  # its overlay has the heat already
            image = decode_image(written("overlays", ".jpg"))
        elif HEAT in line["files"]:
            heat = heat_layer(decode_classes(written(HEAT, ".png")))
        marked = decode_mask(written("masks", ".png"), 0)
    except OSError as error:
        what = f"{error.filename} has gone meanwhile: start the same command again"
        raise UserError(f"--output: {what}") from error
    words = "with the outline of its defects" if marked.any() else "without an outline"
    alt = f"Image {line['id']}, {words}"
    svg = frame(name, alt, image, [("predicted", marked)], longer_side_px, limit, heat)
    return card(svg, breakable(line["id"]), _facts(line))


def _facts(line: Line) -> list[Fact]:
    regions = line["regions"]
    facts = [
        Fact("Verdict", "rejected" if line["rejected"] else "accepted", line["probability"]),
        Fact("Score", ("rejected " * line["decision"]) + score_text(line["score"])),
        Fact("Mask", ("rejected " * line["mask_decision"]) + score_text(line["mask_score"])),
        Fact("Marked", f"{line['predicted_px']:,} px"),
    ]
    if regions:
        surest = regions[0]
        name = f"{surest['class']}, " if "classes" in line["files"] else ""
        facts += [
            Fact("Regions", f"{len(regions):,}"),
            Fact("Surest one", f"{name}{surest['area_px']:,} px", surest["score"]),
        ]
    if line.get("unlike") is not None:
        words, style = ("yes", "wrong") if line["is_unlike"] else ("no", "")
        facts += [
            Fact("Unlike training", f"{words}, {line['unlike'] * 100:.1f} %", style=style),
            Fact("Look", look_in_words(line)),
        ]
    return facts
