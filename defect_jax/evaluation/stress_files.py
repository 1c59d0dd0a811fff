"""What a stress test leaves in a workdir: its passes, which are not made twice, and its table.

eval/stress/passes/<key>/<kind>_<grade>.csv    one pass, as predictions.csv
eval/stress/stress.csv                         one row a pass
eval/stress/stress.html                        the page
eval/stress/decision.json                      the thresholds that all of it was made with
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from defect_jax.data.distortions.kinds import Kind
from defect_jax.decision import DecisionRule
from defect_jax.decision.limits import JudgedGrade
from defect_jax.metrics.images import ImageRow, read_predictions, write_predictions
from defect_jax.metrics.stress import Rate
from defect_jax.runtime import buckets
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import csv_text
from defect_jax.runtime.paths import AnyPath, exists, is_remote

FOLDER = "stress"  # below eval/
UNDISTURBED = "undisturbed"
COLUMNS = (
    *("kind", "grade", "misses", "defective", "miss_rate", "miss_low", "miss_high", "misses_are"),
    *("false_alarms", "good", "false_alarm_rate", "false_alarm_low", "false_alarm_high"),
    *("false_alarms_are", "left_out", "missed_images", "falsely_rejected_images"),
)


def pass_name(kind: Kind, grade: float) -> str:
    """Return what the file of a pass is called.

    >>> from defect_jax.data.distortions.kinds import KINDS
    >>> pass_name(KINDS[2], 0.65)
    'lower_contrast_0.65'
    """
    return f"{kind.name.replace(' ', '_')}_{grade:g}"


class KeptPasses:
    """The passes that were made with the same weights, thresholds and images."""

    def __init__(self, top: AnyPath, made_with: Any):
        """Name the folder; nothing is read or written yet.

        Args:
            top: folder of the passes of all keys.
            made_with: what JSON can hold; another one makes all passes anew.
        """
        text = json.dumps(made_with, sort_keys=True)
        self._top, self._key = top, hashlib.sha256(text.encode()).hexdigest()[:16]

    def names(self, wanted: Iterable[str]) -> list[str]:
        """Return which of some passes are there."""
        return [name for name in wanted if exists(self._file(name))]

    def write(self, name: str, images: Sequence[ImageRow]) -> None:
        """Keep a pass, whole or not at all."""
        write_predictions(self._file(name), images)

    def read(self, name: str) -> list[ImageRow]:
        """Return the images of a pass; raises `UserError` where its file is damaged."""
        return read_predictions(self._file(name))

    def clear_others(self) -> None:
        """Remove passes of other weights, thresholds or images."""
        if is_remote(self._top):
            names = buckets.files_below(self._top)
            buckets.delete(self._top, [n for n in names if not n.startswith(f"{self._key}/")])
        elif self._top.is_dir():
            for folder in self._top.iterdir():
                if folder.name != self._key:
                    shutil.rmtree(folder, ignore_errors=True)

    def _file(self, name: str) -> AnyPath:
        return self._top / self._key / f"{name}.csv"


def table_text(
    undisturbed: JudgedGrade, kinds: Sequence[tuple[Kind, Sequence[JudgedGrade]]]
) -> str:
    """Return stress.csv."""
    rows = [_row(UNDISTURBED, None, undisturbed)]
    rows += [_row(kind.name, judged.grade, judged) for kind, grades in kinds for judged in grades]
    return csv_text([COLUMNS, *rows])


def _row(kind: str, grade: float | None, judged: JudgedGrade) -> tuple:
    misses, alarms = (_cells(rate) for rate in judged.rates)
    of_images = (rate.count for rate in judged.of_images)
    return kind, grade, *misses, judged.misses, *alarms, judged.alarms, judged.left_out, *of_images


def _cells(rate: Rate) -> tuple:
    return rate.count, rate.of, rate.share, rate.low, rate.high


def page_of(workdir: AnyPath, rule: DecisionRule) -> str:
    """Return the address of a workdir's page, from its report; empty where it has none of this
    decision."""
    folder = workdir / "eval" / FOLDER
    try:
        same = DecisionRule.from_json(folder / "decision.json") == rule
    except UserError:
        return ""
    return f"{FOLDER}/stress.html" if same and exists(folder / "stress.html") else ""
