"""What `--mode=check` prints of a data set besides its faults: counts, notes, groups to propose."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from defect_jax.data.prepare.check import Inspection
from defect_jax.data.prepare.grouping import proposed_groups
from defect_jax.data.sources.folder_layout import GROUPS_FILE
from defect_jax.data.sources.groups import HEADER
from defect_jax.data.sources.records import SPLITS, Catalogue
from defect_jax.runtime.atomic_files import write_text
from defect_jax.runtime.errors import UserError

MOST_LINES = 60  # of groups.csv that are printed


def remarks(name: str, inspected: Inspection) -> Iterator[str]:
    """Yield what to print, line by line; the notes are those that training prints."""
    if inspected.found is not None:
        notes = inspected.info.notes if inspected.info else inspected.found.notes
        yield from (f"{name}: {line}" for line in count_lines(inspected.found) + notes)
        if inspected.found.own and inspected.alike.pairs:
            yield from _proposal(inspected)


def count_lines(found: Catalogue) -> list[str]:
    """Count images, and those with and without a mask, by split and label."""
    images, masks = Counter(), Counter()
    for record in found.records:
        images[record.split, record.class_name] += 1
        masks[record.split, record.class_name] += record.mask is not None
    return [
        f"{split}, {label}: {count} images, {masks[split, label]} with a mask, "
        f"{count - masks[split, label]} without"
        for (split, label), count in sorted(
            images.items(), key=lambda one: (SPLITS.index(one[0][0]), one[0][1])
        )
    ]


def _proposal(inspected: Inspection) -> Iterator[str]:
    """Yield the lines of groups.csv that join near-duplicates, bare, to be copied."""
    members = defaultdict(list)
    for id, group in _groups(inspected).items():
        members[group].append(id)
    before = {record.id: record.group for record in inspected.found.records}
    joined = {group: ids for group, ids in members.items() if len({before[id] for id in ids}) > 1}
    yield (
        f"{GROUPS_FILE} might join near-duplicates into {len(joined)} groups, if they show one "
        "part each. It lists every image, and --output=DIR writes it there:"
    )
    lines = _csv_lines([id, group] for group, ids in joined.items() for id in ids)
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"and {len(lines) - MOST_LINES} lines more"


def write_proposal(inspected: Inspection, folder: Path) -> Path:
    """Write groups.csv with a line for every image, near-duplicates joined.

    Raises:
        UserError: it is there already, or cannot be written.
    """
    path = folder / GROUPS_FILE
    lines = _csv_lines([HEADER, *_groups(inspected).items()])
    if path.exists():
        raise UserError(f"--output: {path} is there already: name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise UserError(f"--output: {path} cannot be written ({error.strerror})") from error
    return path


def _groups(inspected: Inspection) -> dict[str, str]:
    return proposed_groups(inspected.found.records, inspected.stored, inspected.alike)


def _csv_lines(rows: Iterable[Sequence[str]]) -> list[str]:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().splitlines()
