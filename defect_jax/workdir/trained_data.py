"""The data set of a workdir with the split that its network was trained with."""

import csv
import dataclasses
from collections import defaultdict
from collections.abc import Collection, Sequence

from ml_collections import ConfigDict

from defect_jax.data.prepare.all_there_is import prepare_all_there_is, split_of_older_version
from defect_jax.data.prepare.folds import OUT_OF_FOLD, folds_of, in_splits
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.data.prepare.set_folder import cache_folder
from defect_jax.data.sources.records import SPLITS, listed
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import kept_split
from defect_jax.workdir.data_changes import DataChanges, changes_since
from defect_jax.workdir.kept_split import KeptRow


def data_to_judge_on(config: ConfigDict, workdir: AnyPath, needed: Collection[str]) -> Prepared:
    """Return splits as they were when the network was trained, of the images that are left of them.

    Images that training did not have are in none of them. The notes say on which state of the data
    the network is judged; where it is not that of training, it is printed as well.

    Args:
        config: of the workdir.
        workdir: of a trained network.
        needed: the splits to return; `OUT_OF_FOLD`: all folds.

    Raises:
        UserError: how the network was trained is not known, or too little is left of a split.
    """
    trained_on = config.data_info.fingerprint
    stored = SPLITS if config.data.folds else needed  # of which any may hold images of a fold
    now, unseen = prepare_all_there_is(config.data, stored, trained_on)
    kept = kept_split.read(workdir)
    if kept is None:
        kept = _of_older_version(workdir, config, trained_on, now)
    changes = changes_since(kept, now.splits)
    needed = _named(kept, needed)
    judged = in_splits(now, changes.split_of, needed)
    for split in judged.splits:
        _refuse_remains(workdir, split, kept, judged, changes.in_words() + unseen)
    straddling = [] if judged.info.leaking else _straddling(now, changes, needed)
    notes = _notes(changes, trained_on, straddling) + unseen
    for note in notes if changes.any or straddling else unseen:
        say(f"{config.data.name}: {note}")
    info = dataclasses.replace(
        judged.info,
        leaking=judged.info.leaking or bool(straddling),
        notes=[*judged.info.notes, *notes],
    )
    return dataclasses.replace(judged, info=info)


def data_to_go_on_with(config: ConfigDict, workdir: AnyPath, trained_on: str) -> Prepared:
    """Return the data of a run that has saved something, with the split that it began with.

    Args:
        config: as asked for now.
        workdir: of the run, with a config.json.
        trained_on: the fingerprint that stands there.

    Raises:
        UserError: images, masks or labels are not as they were when it began.
    """
    now = prepare(config.data, trained_on=trained_on)
    kept = kept_split.read(workdir)
    if kept is None:
        kept = _of_older_version(workdir, config, trained_on, now)
    changes = changes_since(kept, now.splits)
    if changes.in_words():
        raise UserError(
            f"{workdir}: the data changed since this run began: {'; '.join(changes.in_words())}: "
            "undo that to go on, or choose another --workdir to train anew"
        )
    if changes.regrouped:
        say(f"{config.data.name}: {_regrouped(changes)}; the run goes on with the split it has")
    folds = folds_of({row.split for row in kept})
    return in_splits(now, changes.split_of, [*folds, "test"] if folds else SPLITS)


def _named(kept: Sequence[KeptRow], needed: Collection[str]) -> list[str]:
    """Return the splits that are needed, with each fold where all of them are."""
    folds = folds_of({row.split for row in kept}) if OUT_OF_FOLD in needed else []
    return [*folds, *(split for split in SPLITS if split in needed)]


def _of_older_version(
    workdir: AnyPath, config: ConfigDict, trained_on: str, now: Prepared
) -> list[KeptRow]:
    """Return how an older version split the data that it trained on; it kept that with them alone.

    Raises:
        UserError: what it prepared is gone, or the data are not the same any more.
    """
    kept = _rows_of_older_version(config, trained_on)
    if kept is None:
        raise UserError(
            f"{workdir}: holds no split.csv: an earlier version trained it, which split the data "
            f"otherwise, and what it had prepared is not in {cache_folder(config.data)}, so which "
            "images the network has learnt is not known: name the --config.data.data_dir that has "
            "it, or train anew"
        )
    if now.info.fingerprint != trained_on:
        words = changes_since(kept, now.splits).in_words() or ["masks or ids"]
        raise UserError(
            f"{workdir}: an earlier version trained it, and the data changed since: "
            f"{'; '.join(words)}: undo that, or train anew"
        )
    return kept


def _rows_of_older_version(config: ConfigDict, trained_on: str) -> list[KeptRow] | None:
    try:
        lines = split_of_older_version(config.data, trained_on)
        return None if lines is None else kept_split.kept_rows(lines)
    except (OSError, csv.Error, LookupError, TypeError, ValueError):  # as good as gone
        return None


def _refuse_remains(
    workdir: AnyPath,
    split: str,
    kept: Sequence[KeptRow],
    judged: Prepared,
    words: list[str],
) -> None:
    """Refuse to judge a network on what is left of a split, where that says nothing of the split.

    Args:
        words: what changed.

    Raises:
        UserError: naming it.
    """
    before = [row.label for row in kept if row.split == split]
    left = [row.label for row in judged.splits[split].rows]
    lost = len(before) - len(left)
    if not before or 2 * lost > len(before):
        reason = f"{lost} of its {len(before)} images are gone" if before else "it had no image"
    elif 0 in before and 0 not in left:
        reason = "none of its good images is left"
    elif 1 in before and 1 not in left:
        reason = "none of its defective images is left"
    else:
        return
    raise UserError(
        f"{workdir}: the {split} split that the network was trained with can be judged no more: "
        f"{'; '.join([reason, *words])}: bring the images back, or name the "
        "--config.data.root that has them; for other images there is --mode=predict"
    )


def _straddling(now: Prepared, changes: DataChanges, needed: Collection[str]) -> list[str]:
    """Return the groups of today with images in a needed split and in another one."""
    places = defaultdict(set)
    for split in now.splits.values():
        for row in split.rows:
            if row.id in changes.known:
                places[row.group].add(changes.known[row.id].split)
    return sorted(
        group for group, splits in places.items() if len(splits) > 1 and splits & set(needed)
    )


def _notes(changes: DataChanges, trained_on: str, straddling: list[str]) -> list[str]:
    words = changes.in_words()
    state = f"(fingerprint {trained_on[:12]})"
    notes = [f"judged on the data of training {state}"]
    if words:
        notes = [
            f"the data changed since training {state}: {'; '.join(words)}. Every image of training "
            "counts in the split that it had there; what was added or replaced is not counted"
        ]
    if changes.regrouped:
        notes.append(f"{_regrouped(changes)}; the split is still that of training")
    if straddling:
        notes.append(
            f"leaking: by their groups of today, {len(straddling)} parts are on both sides of the "
            f"split that the network was trained with: {listed(straddling, most=3)}; train anew"
        )
    return notes


def _regrouped(changes: DataChanges) -> str:
    ids = changes.regrouped
    return f"{len(ids)} images are in other groups than in training ({listed(ids, most=3)})"
