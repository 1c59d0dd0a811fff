"""What a prediction before this one left: its lines, of which none is believed that is not whole.

The folder may have been cut off, edited, or sent by somebody else. A line that is not what this
program writes counts as not there, and its image is decided on again.
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Thresholds
from defect_jax.decision.look import Look
from defect_jax.decision.ways import rejects, verdict
from defect_jax.deploy.regions import Region

Line = dict[str, Any]  # of predictions.jsonl
MOST_SETTINGS_BYTES = 1 << 20
MOST_REGIONS = 1000  # of a line: a mask of noise has a million
SHA256 = re.compile("[0-9a-f]{64}")


class Prediction(NamedTuple):
    """A row of predictions.csv."""

    id: str  # path below the data root, without suffix
    probability: float  # of a defect, by what decides, calibrated
    score: float  # of the classification head, as it is; without one, the mask's
    mask_score: float  # highest probability of a pixel
    decision: int  # 1 = rejected by the score
    mask_decision: int  # 1 = rejected by the mask
    predicted_px: int
    height: int
    width: int
    rejected: int  # 1 = rejected by what decides: the verdict
    unlike: float | None = None  # share of validation parts that look as strange; None: not known
    is_unlike: int | None = None  # 1 = that is at most the rate asked for


def described(regions: Sequence[Region]) -> list[dict[str, Any]]:
    """Return what a line says of an image's regions; the surest, where they are very many.

    >>> described([Region((3, 2, 1, 4), 4, "pit", 0.875)])
    [{'box_px': [3, 2, 1, 4], 'area_px': 4, 'class': 'pit', 'score': 0.875}]
    """
    return [
        {
            "box_px": list(region.box_px),
            "area_px": region.area_px,
            "class": region.class_name,
            "score": region.score,
        }
        for region in regions[:MOST_REGIONS]
    ]


def read_settings(path: Path) -> Mapping[str, Any]:
    """Return what the results in a folder follow from.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is no JSON object of a size that can be meant.
    """
    settings = _loaded(_regular(path, MOST_SETTINGS_BYTES))
    if not isinstance(settings, dict):
        raise ValueError(f"{path.name} is not what a prediction writes")
    return settings


def read_lines(path: Path) -> list[Line]:
    """Return the whole lines of a run before.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        texts = _regular(path).split(b"\n")
    except (FileNotFoundError, ValueError):
        return []
    return [line for line in map(_parsed, texts) if line is not None]


def follows(line: Line, rule: DecisionRule) -> bool:
    """Return whether the decision of a line is what the rule makes of its own scores."""
    by_score, marks = bool(rejects(line["score"], rule.threshold)), line["predicted_px"] > 0
    may_mark = bool(rejects(line["mask_score"], Thresholds.of(rule).mask))
    decided = verdict(line["score"], line["mask_score"], np.bool_(marks), rule)
    probability = float(special.expit(decided.logit / rule.temperature))
    kept = line["decision"], line["mask_decision"], line["rejected"]
    return (
        kept == (int(by_score), int(marks), int(decided.rejected))
        and may_mark >= marks
        and math.isclose(line["probability"], probability, abs_tol=1e-6)
        and line["predicted_px"] <= line["height"] * line["width"]
        and _are_of_the_mask(line)
    )


def looks_alike(line: Line, rate: float | None) -> bool:
    """Return whether a line calls its image unlike as this rate does.

    Args:
        rate: None where nothing is known of the training images.

    >>> line = {"unlike": 0.03, "is_unlike": 1, "look": {}}
    >>> looks_alike(line, 0.05), looks_alike(line, 0.02), looks_alike(line, None)
    (True, False, False)
    """
    unlike, is_unlike, look = (line.get(name) for name in LOOKS)
    if rate is None:
        return unlike is is_unlike is look is None
    return None not in (unlike, look) and is_unlike == int(unlike <= rate)


def _are_of_the_mask(line: Line) -> bool:
    """Return whether the regions of a line lie in the image, and cover its mask to its score."""
    regions, highest = line["regions"], line["mask_score"] if line["mask_decision"] else None
    boxes = [region["box_px"] for region in regions]
    area_px = sum(region["area_px"] for region in regions)
    return (
        all(x + w <= line["width"] and y + h <= line["height"] for x, y, w, h in boxes)
        and (area_px == line["predicted_px"] or len(regions) == MOST_REGIONS)
        and area_px <= line["predicted_px"]
        and max((region["score"] for region in regions), default=None) == highest
    )


def _regular(path: Path, most_bytes: int | None = None) -> bytes:
    """Return the bytes of a regular file: a pipe would wait for ever, a device never ends."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > (most_bytes or math.inf):
            raise ValueError(f"{path.name} is not what a prediction writes")
        return file.read()


def _loaded(text: bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is none, or so deep or so long that it cannot be ours.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _parsed(text: bytes) -> Line | None:
    try:
        line = _loaded(text)
    except ValueError:
        return None
    if not isinstance(line, dict):
        return None
    fields = FAULT if "fault" in line else DECISION
    needed = fields.keys() - OPTIONAL - ({"sha256"} if "fault" in line else set())
    if not needed <= line.keys() <= fields.keys():
        return None
    return line if all(fields[name](line[name]) for name in line) else None


def _is_text(value: Any) -> bool:
    """Return whether it can be written again: half a pair of surrogates cannot."""
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:
        return False


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None


def _is_share(value: Any) -> bool:
    # The sum over classes may be a hair above 1. Comparing nan with anything is False.
    return type(value) in (int, float) and -0.01 <= value <= 1.01


def _is_yes_or_no(value: Any) -> bool:
    return type(value) is int and value in (0, 1)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _are_hashes(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_hash, value.values()))


def _are_regions(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST_REGIONS and all(map(_is_region, value))


def _is_region(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != REGION.keys():
        return False
    if not all(fits(value[name]) for name, fits in REGION.items()):
        return False
    *_, width, height = value["box_px"]
    return 0 < value["area_px"] <= width * height


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_count, value))


def _or_null(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _is_look(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and list(value) == list(Look._fields)
        and all(type(change) in (int, float) and math.isfinite(change) for change in value.values())
    )


REGION = {"box_px": _is_box, "area_px": _is_count, "class": _is_text, "score": _is_share}
FIELDS: dict[str, Callable[[Any], bool]] = {"id": _is_text, "file": _is_text, "sha256": _is_hash}
FIELDS["ignored_sha256"] = _is_hash  # of the file that says what is not judged
LOOKS = ("unlike", "is_unlike", "look")  # null where nothing is known of the training images
OPTIONAL = {"ignored_sha256", *LOOKS}
FAULT = FIELDS | {"fault": _is_text}  # without hash where the file could not even be read
DECISION = (
    FIELDS
    | {"files": _are_hashes, "regions": _are_regions}
    | dict.fromkeys(("probability", "score", "mask_score"), _is_share)
    | dict.fromkeys(("decision", "mask_decision", "rejected"), _is_yes_or_no)
    | dict.fromkeys(("predicted_px", "height", "width"), _is_count)
    | {"unlike": _or_null(_is_share), "is_unlike": _or_null(_is_yes_or_no)}
    | {"look": _or_null(_is_look)}
)
