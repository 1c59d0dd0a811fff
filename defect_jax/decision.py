"""The decision rule: thresholds chosen from validation data alone, kept in decision.json.

The head rejects a picture when `score >= threshold`. The mask rejects it when
`mask_score >= mask_threshold`, mask_score being the highest defect probability of its pixels; only
then are the pixels with `probability >= pixel_threshold` decided defective. The pixel threshold
never lies above the mask's, so a picture that the mask rejects always shows where.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from defect_jax import atomic
from defect_jax.errors import UserError
from defect_jax.metrics import ranking

FALLBACK_THRESHOLD = 0.5
PROBABILITIES = ("threshold", "mask_threshold", "pixel_threshold")


@dataclasses.dataclass(frozen=True)
class Decision:
    """Thresholds and how they were chosen.

    Attributes:
      threshold: of the classification head's score.
      mask_threshold: of the highest probability of the mask.
      pixel_threshold: of each pixel, at most `mask_threshold`.
      checkpoint_step: of the network that was looked at; another one needs another decision.
      pictures: number of pictures that the thresholds were chosen on.
      defective: how many of them are defective.
      temperature: that the score's logit is divided by before it becomes a probability.
      rule: how the thresholds were chosen.
      chosen_on: the split they were chosen on.
      f1: of the head at its threshold on that split; None where the rule could not be applied.
      mask_f1: the same of the mask.
      note: what the reader must know, empty when the rule was applied as it stands.
    """

    threshold: float
    mask_threshold: float
    pixel_threshold: float
    checkpoint_step: int
    pictures: int
    defective: int
    temperature: float = 1.0
    rule: str = "best_f1"
    chosen_on: str = "val"
    f1: float | None = None
    mask_f1: float | None = None
    note: str = ""

    def to_json(self, path: Path | str) -> None:
        """Writes decision.json, whole or not at all."""
        text = json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False)
        atomic.write_text(path, text + "\n")

    @classmethod
    def from_json(cls, path: Path | str) -> "Decision":
        """Reads decision.json; a `UserError` names the field that is missing or wrong."""
        try:
            fields = json.loads(Path(path).read_text("utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{path}: is not JSON: {error}") from error
        return cls(**_checked(path, fields))


def choose(
    labels: ranking.Values,
    scores: ranking.Values,
    mask_scores: ranking.Values,
    pixel_threshold: float | None,
    checkpoint_step: int,
) -> Decision:
    """Chooses both picture thresholds for the best F1 on validation pictures.

    Each lies midway between two neighbouring scores; of equal F1 the higher recall wins. Without
    defective or without good pictures F1 has no useful optimum: then both thresholds are 0.5 and
    `note` says so.

    Args:
      labels: 1 = defective, one a validation picture.
      scores: of the classification head, float32; the mask's where there is no head.
      mask_scores: the highest probability of each mask.
      pixel_threshold: `PixelHistogram.best_f1_threshold` of the same pictures; lowered to the
        mask's threshold where it lies above. None, when no pixel is defective, becomes that too.
      checkpoint_step: of the network that made the scores.

    >>> scores, mask_scores = [0.1, 0.3, 0.7, 0.9], [0.0, 0.6, 0.5, 0.9]
    >>> decision = choose([0, 0, 1, 1], scores, mask_scores, 0.4, checkpoint_step=100)
    >>> decision.threshold, decision.mask_threshold, decision.pixel_threshold, decision.mask_f1
    (0.5, 0.25, 0.25, 0.8)
    """
    labels = np.asarray(labels)
    pictures, defective = labels.size, int(labels.sum())
    threshold, f1 = _best_f1(labels, scores)
    mask_threshold, mask_f1 = _best_f1(labels, mask_scores)
    if pixel_threshold is None:
        pixel_threshold = mask_threshold
    return Decision(
        threshold=threshold,
        mask_threshold=mask_threshold,
        pixel_threshold=min(float(pixel_threshold), mask_threshold),
        checkpoint_step=checkpoint_step,
        pictures=pictures,
        defective=defective,
        f1=f1,
        mask_f1=mask_f1,
        note=_note(pictures, defective),
    )


def _best_f1(labels: np.ndarray, scores: ranking.Values) -> tuple[float, float | None]:
    if not 0 < labels.sum() < labels.size:
        return FALLBACK_THRESHOLD, None
    threshold = ranking.best_f1_threshold(labels, scores)
    rounded = np.float32(threshold)
    if float(rounded) < threshold:  # the next float32 parts float32 scores alike, on devices too
        rounded = np.nextafter(rounded, np.float32(1))
    rejected = np.asarray(scores) >= rounded
    return float(rounded), float(2 * labels[rejected].sum() / (rejected.sum() + labels.sum()))


def _note(pictures: int, defective: int) -> str:
    if 0 < defective < pictures:
        return ""
    missing = "no defective" if defective == 0 else "no good"
    return (
        f"The validation split has {missing} picture, so no threshold could be chosen: "
        f"{FALLBACK_THRESHOLD} is only a placeholder."
    )


def _checked(path: Path | str, fields: Any) -> dict[str, Any]:
    """The fields of decision.json with their types, ready for `Decision`."""
    if not isinstance(fields, dict):
        raise UserError(f"{path}: must hold one JSON object")
    known = {field.name: field for field in dataclasses.fields(Decision)}
    for name in fields:
        if name not in known:
            raise UserError(f"{path}: unknown field {name!r}")
    for name, field in known.items():
        if name in fields:
            fields[name] = _typed(path, name, fields[name], field.type)
        elif field.default is dataclasses.MISSING:
            raise UserError(f"{path}: field {name!r} is missing; evaluate the workdir again")
    for name in PROBABILITIES:
        if not 0.0 <= fields[name] <= 1.0:
            raise UserError(f"{path}: {name} must lie between 0 and 1, not {fields[name]}")
    if fields["pixel_threshold"] > fields["mask_threshold"]:
        raise UserError(f"{path}: pixel_threshold must not lie above mask_threshold")
    if fields.get("temperature", 1.0) <= 0:
        raise UserError(f"{path}: temperature must be above 0, not {fields['temperature']}")
    return fields


def _typed(path: Path | str, name: str, value: Any, kind: Any) -> Any:
    if value is None and kind == float | None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (float, float | None) and number and math.isfinite(value):
        return float(value)
    if kind is int and number and isinstance(value, int) and value >= 0:
        return value
    if kind is str and isinstance(value, str):
        return value
    words = {float: "a number", int: "a whole number", str: "text"}.get(kind, "a number or null")
    raise UserError(f"{path}: {name} must be {words}, not {json.dumps(value)}")
