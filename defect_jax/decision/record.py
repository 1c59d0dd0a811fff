"""decision.json: what was decided on the validation split, and how.

One of four ways decides (`ways`); the others are kept beside it. The head rejects an image when
`score >= threshold`. The mask rejects it when `mask_score >= mask_threshold`, mask_score being the
highest defect probability of its pixels, and at least `min_area_px` of them have
`probability >= pixel_threshold`; these are then decided defective. The pixel threshold is never
above the mask's, so an image that the mask rejects always shows where.
"""

import dataclasses
import json
from typing import Any

from defect_jax.decision.typed_record import typed_record
from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import read_json
from defect_jax.runtime.paths import AnyPath, as_path

REJECTS_NOTHING = 2.0  # a threshold that no probability reaches
MOST = 2**31 - 1  # of what programs count in 32 bits
SMALLEST_TEMPERATURE = 1e-6  # a logit divided by less could be infinite
WAYS_OF_SHOTS = ("max", "mean", "noisy_or")  # `shots.SHOTS`, which imports metrics
SEQUENTIAL_TESTS = ("empirical", "wald")  # `choose.SEQUENTIAL`, which imports metrics
NO_EVIDENCE_ACCEPTS = -1e9  # a bound that no evidence goes below
WAYS_TO_DECIDE = ("score", "mask", "either", "logistic")  # `ways.WAYS`
THRESHOLDS = ("threshold", "mask_threshold", "pixel_threshold")


@dataclasses.dataclass(frozen=True)
class Promise:
    """With `confidence`, at most `miss_rate` of defective parts are missed from now on.

    Attributes:
      miss_rate, confidence: as asked for.
      parts: defective parts that it was made from.
      misses: how many of them it lets pass.
      compared: choices made on the same parts before, among which the confidence was shared.
    """

    miss_rate: float
    confidence: float
    parts: int
    misses: int
    compared: int


@dataclasses.dataclass(frozen=True)
class PartDecision:
    """A part is rejected when its shots together score at least `threshold`.

    Attributes:
      shots: how the scores of the shots become one: max, mean or noisy_or.
      threshold: of that score.
      parts, defective: that it was chosen on.
    """

    shots: str
    threshold: float
    parts: int
    defective: int


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Of n shots: slope · (mean logit - centre) · effective shots, see `evidence`.

    Attributes:
      centre: logit that speaks for neither kind of part.
      slope: evidence of one shot for each logit above it; 0 where nothing is known.
    """

    centre: float
    slope: float


@dataclasses.dataclass(frozen=True)
class SequentialTest:
    """Shots one by one: reject from `upper`, accept up to `lower`, otherwise look again.

    The score is that of the shots so far, taken together as in `PartDecision`, or their evidence
    where there is one; after the last shot the threshold of `PartDecision` decides.

    Attributes:
      upper, lower: of that score; a `lower` below any score never accepts early.
      expected_shots: used by it, mean over the validation parts.
      shots: that these parts have, mean.
      correlation: that their shots seldom exceed; None in decisions older than the field.
      effective_shots: independent ones that `shots` are worth with that correlation.
      evidence: of Wald's test; None where the score of the part is compared.
    """

    upper: float
    lower: float
    expected_shots: float
    shots: float
    correlation: float | None = None
    effective_shots: float | None = None
    evidence: Evidence | None = None


@dataclasses.dataclass(frozen=True)
class Combination:
    """Rejects when expit(intercept + head · logit(score) + mask · logit(mask_score)) is high.

    Attributes:
      intercept, head, mask: fitted by logistic regression.
      threshold: of the result.
    """

    intercept: float
    head: float
    mask: float
    threshold: float


@dataclasses.dataclass(frozen=True)
class DecisionRule:
    """Thresholds and how they were chosen.

    Attributes:
      threshold: of the classification head's score.
      mask_threshold: of the highest probability of the mask.
      pixel_threshold: of each pixel, at most `mask_threshold`.
      checkpoint_step: of the network that was evaluated; another one needs another decision.
      pictures: number of images that the thresholds were chosen on.
      defective: how many of them are defective.
      min_area_px: pixels that the mask must mark to reject.
      temperature: that the logit of the verdict's score is divided by to become a probability.
      ece_before, ece_after: expected calibration error of that score without and with it.
      rule: how the thresholds were chosen.
      prune: `config.model.prune` of that network; another one needs another decision.
      options: of the rule, `config.decision`; other options need another decision.
      chosen_on: the split they were chosen on.
      f1: of the head at its threshold on that split; None where the rule could not be applied.
      mask_f1: the same of the mask.
      promise, mask_promise, part_promise: of the head's threshold, of the mask's, of the part's;
        each holds by itself. None for rules without a promise.
      part, sequential: how parts are decided; None where the rule could not be applied.
      logistic: head and mask in one score; None where there is no head, or no valid way.
      decides: whose decision is the verdict: score, mask, either or logistic, see `ways`.
      why: it is that one, in a few words.
      mistakes: of each way on validation parts held out, where that was measured: what the rule
        would have small.
      note: what the reader must know, empty when the rule was applied as it stands.
    """

    threshold: float
    mask_threshold: float
    pixel_threshold: float
    checkpoint_step: int
    pictures: int
    defective: int
    min_area_px: int = 1
    temperature: float = 1.0
    ece_before: float | None = None
    ece_after: float | None = None
    rule: str = "best_f1"
    options: dict = dataclasses.field(default_factory=dict)
    prune: int = 0
    chosen_on: str = "val"
    f1: float | None = None
    mask_f1: float | None = None
    promise: Promise | None = None
    mask_promise: Promise | None = None
    part_promise: Promise | None = None
    part: PartDecision | None = None
    sequential: SequentialTest | None = None
    logistic: Combination | None = None
    decides: str = "score"
    why: str = ""
    mistakes: dict = dataclasses.field(default_factory=dict)
    note: str = ""

    def to_json(self, path: AnyPath | str) -> None:
        """Write decision.json, whole or not at all."""
        text = json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False)
        atomic_files.write_text(path, text + "\n")

    @classmethod
    def from_json(cls, path: AnyPath | str) -> "DecisionRule":
        """Read decision.json; a `UserError` names the field that is missing or wrong."""
        try:
            fields = read_json(as_path(path))
        except FileNotFoundError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        return cls.from_fields(path, fields)

    @classmethod
    def from_fields(cls, path: AnyPath | str, fields: Any) -> "DecisionRule":
        """Return the decision of what JSON holds; `path` is named where a field is missing or
        wrong."""
        decision = typed_record(path, cls, fields)
        _check_ranges(path, decision)
        return decision


def _check_ranges(path: AnyPath | str, decision: DecisionRule) -> None:
    for name in THRESHOLDS:
        _check_threshold(path, name, getattr(decision, name))
    if decision.pixel_threshold > decision.mask_threshold:
        raise UserError(f"{path}: pixel_threshold must not be above mask_threshold")
    if decision.temperature <= 0:
        raise UserError(f"{path}: temperature must be above 0, not {decision.temperature}")
    _check_within(path, "temperature", decision.temperature, SMALLEST_TEMPERATURE, 1e6)
    for name in ("checkpoint_step", "pictures", "defective"):
        _check_within(path, name, getattr(decision, name), 0, MOST)
    _check_within(path, "min_area_px", decision.min_area_px, 0, MOST)
    if decision.decides not in WAYS_TO_DECIDE:
        known = ", ".join(WAYS_TO_DECIDE)
        raise UserError(f"{path}: decides must be one of {known}, not {decision.decides[:100]!r}")
    if decision.decides == "logistic" and decision.logistic is None:
        raise UserError(f"{path}: decides is logistic, and the field 'logistic' is missing")
    for name, value in decision.mistakes.items():
        if name not in WAYS_TO_DECIDE or not _is_option(value) or isinstance(value, str | None):
            raise UserError(f"{path}: mistakes must be a number for each way to decide")
    if not all(_is_option(value) for value in decision.options.values()):
        raise UserError(f"{path}: options must be numbers, texts or null")
    if part := decision.part:
        _check_threshold(path, "part.threshold", part.threshold)
        if part.shots not in WAYS_OF_SHOTS:
            known = ", ".join(WAYS_OF_SHOTS)
            raise UserError(f"{path}: part.shots must be one of {known}, not {part.shots[:100]!r}")
    if test := decision.sequential:
        _check_test(path, test)
    if logistic := decision.logistic:
        _check_threshold(path, "logistic.threshold", logistic.threshold)
        for name in ("intercept", "head", "mask"):
            _check_within(path, f"logistic.{name}", getattr(logistic, name), -1e6, 1e6)


def _check_test(path: AnyPath | str, test: SequentialTest) -> None:
    if test.correlation is not None:
        _check_within(path, "sequential.correlation", test.correlation, 0.0, 1.0)
    if test.evidence is None:
        _check_threshold(path, "sequential.upper", test.upper)
        _check_within(path, "sequential.lower", test.lower, -1.0, REJECTS_NOTHING)
        return
    if test.correlation is None:
        raise UserError(f"{path}: sequential.correlation is missing, which its evidence needs")
    _check_within(path, "sequential.upper", test.upper, 0.0, 1e9)
    _check_within(path, "sequential.lower", test.lower, NO_EVIDENCE_ACCEPTS, test.upper)
    _check_within(path, "sequential.evidence.centre", test.evidence.centre, -1e6, 1e6)
    _check_within(path, "sequential.evidence.slope", test.evidence.slope, 0.0, 1e6)


def _check_threshold(path: AnyPath | str, name: str, threshold: float) -> None:
    if not 0.0 <= threshold <= 1.0 and threshold != REJECTS_NOTHING:
        raise UserError(f"{path}: {name} must be between 0 and 1, not {threshold}")


def _check_within(
    path: AnyPath | str, name: str, value: int | float, lowest: int | float, highest: int | float
) -> None:
    if not lowest <= value <= highest:
        raise UserError(f"{path}: {name} must be from {lowest:g} to {highest:g}, not {value}")


def _is_option(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
