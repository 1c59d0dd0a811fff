"""A data set as it would be prepared, each image read from the raw files when it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.prepare.check import Inspection
from defect_jax.data.prepare.examine import examine, example, split_row
from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.data.sources.records import SPLITS, Record


@dataclass(frozen=True)
class RawExamples:
    """The elements of a split, see `prepared.Split`, each made when it is asked for."""

    raw: RawFiles
    data: ConfigDict
    classes: int
    records: Sequence[Record]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return example(examine(self.raw, self.data, self.classes, self.records[row]))


def unprepared(data: ConfigDict, inspected: Inspection) -> Prepared:
    """Return what `prepare` would, of the images without faults, and write nothing."""
    splits = {}
    for split in SPLITS:
        inside = [one for one in inspected.stored if one[0].split == split]
        records = [record for record, _ in inside]
        examples = RawExamples(inspected.raw, data, len(inspected.found.classes), records)
        splits[split] = Split(examples, [split_row(record, facts) for record, facts in inside])
    return Prepared(Path(), splits, inspected.info)
