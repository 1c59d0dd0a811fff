"""What has become of the images that a network was trained with: compared by content, not by name.

An image is known by the bytes of its file, so one that is renamed keeps its split, and one that is
new under a known name is not taken for what it replaced.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from defect_jax.data.prepare.folds import is_fold
from defect_jax.data.prepare.prepared import Split, SplitRow
from defect_jax.data.sources.records import listed
from defect_jax.workdir.kept_split import KeptRow


@dataclasses.dataclass(frozen=True)
class DataChanges:
    """The images of today against those of the training; ids are those of today, sorted.

    Attributes:
        known: id -> what was kept of the image, for all whose file is the same.
        new: images that the training did not have.
        replaced: images whose file is another than that of this name in training.
        removed: images of the training that are gone; ids of then.
        renamed: known images that had another id.
        remasked: known images with another mask file.
        relabelled: known images of another class, good ones that are defective now among them.
        regrouped: known images of another group.
    """

    known: Mapping[str, KeptRow]
    new: list[str]
    replaced: list[str]
    removed: list[str]
    renamed: list[str]
    remasked: list[str]
    relabelled: list[str]
    regrouped: list[str]

    @property
    def split_of(self) -> dict[str, str]:
        """Return the split in which training had each known image."""
        return {id: kept.split for id, kept in self.known.items()}

    @property
    def any(self) -> bool:
        """Return whether anything is not as it was in training."""
        return bool(self.in_words() or self.regrouped)

    def in_words(self) -> list[str]:
        """Return one phrase for each kind of change but that of groups, none where all is the
        same."""
        kinds = [
            (self.new, "added"),
            (self.removed, "removed"),
            (self.replaced, "replaced by another image of the same name"),
            (self.renamed, "renamed"),
            (self.remasked, "with another mask file"),
            (self.relabelled, "with another label"),
        ]
        return [
            f"{len(ids)} image{'s' * (len(ids) > 1)} {what} ({listed(ids, most=3)})"
            for ids, what in kinds
            if ids
        ]


def changes_since(kept: Sequence[KeptRow], now: Mapping[str, Split]) -> DataChanges:
    """Compare the images that were trained with those that there are.

    A copy of a known image beside it is new, and so is one of several equal images that were in
    different splits and have lost their names: which of them it was, nobody can tell.

    Args:
        kept: of the workdir.
        now: the splits of today, all or those that could be read: of others nothing is removed.
            Where images were in folds it is all of them.
    """
    before = {row.id: row for row in kept}
    rows = {row.id: row for split in now.values() for row in split.rows}
    known = {
        id: before[id] for id in rows.keys() & before.keys() if _same_file(before[id], rows[id])
    }
    lost = [row for row in kept if row.id not in known]
    unknown = [row for id, row in rows.items() if id not in known]
    renamed = _renamed(lost, unknown)
    known |= renamed
    found = {row.id for row in known.values()}
    strange = [row.id for row in unknown if row.id not in renamed]
    gone = {row.id: row.split for row in lost if row.id not in found}
    return DataChanges(
        known=known,
        new=sorted(set(strange) - gone.keys()),
        replaced=sorted(gone.keys() & set(strange)),
        removed=sorted(
            id for id in gone.keys() - set(strange) if gone[id] in now or is_fold(gone[id])
        ),
        renamed=sorted(renamed),
        remasked=_where(known, rows, _other_mask),
        relabelled=_where(known, rows, _other_label),
        regrouped=_where(known, rows, _other_group),
    )


def _renamed(lost: Iterable[KeptRow], unknown: Iterable[SplitRow]) -> dict[str, KeptRow]:
    """Return id of today -> what was kept, for equal files of other names, in order of names."""
    before, after = defaultdict(list), defaultdict(list)
    for kept in lost:
        before[kept.sha256].append(kept)
    for row in unknown:
        after[row.sha256].append(row.id)
    return {
        id: kept
        for sha256, ids in after.items()
        if len({kept.split for kept in before[sha256]}) == 1
        for id, kept in zip(sorted(ids), sorted(before[sha256]), strict=False)
    }


def _same_file(kept: KeptRow, row: SplitRow) -> bool:
    return kept.sha256 == row.sha256


def _other_mask(kept: KeptRow, row: SplitRow) -> bool:
    return kept.mask_sha256 not in ("", row.mask_sha256)


def _other_label(kept: KeptRow, row: SplitRow) -> bool:
    return (kept.label, kept.class_name) != (row.label, row.class_name)


def _other_group(kept: KeptRow, row: SplitRow) -> bool:
    own_names = kept.group == kept.id and row.group == row.id  # it is only renamed
    return kept.group != row.group and not own_names


def _where(
    known: Mapping[str, KeptRow],
    rows: Mapping[str, SplitRow],
    differs: Callable[[KeptRow, SplitRow], bool],
) -> list[str]:
    return sorted(id for id, kept in known.items() if differs(kept, rows[id]))
