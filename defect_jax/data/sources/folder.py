"""The user's own images: `images/**` and `masks/**` with equal relative stems.

An image without a mask, or with an empty one, is a good part, unless `labels.csv` calls it
defective; those below `bad/**` are defective, and nobody has drawn their defects (`labels`). What
`ignore/**` marks in an image is not judged. Where `config.data.classes` names
classes, the values in the masks are their ids, counted from 1; otherwise there is one class, and
values above `config.data.mask_threshold` are defect. `train/ val/ test/` above or below the two fix
the splits (`folder_layout`); otherwise they are made here, about 60/20/20, by group. `groups.csv`
beside them says which images show the same part (`groups`); without it every image is a group of
its own, together with its exact copies. Where `config.data.lights` is above 1, several files are
one image (`shot_names`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from ml_collections import ConfigDict

from defect_jax.data.annotations import recognise
from defect_jax.data.files.class_masks import checked_names
from defect_jax.data.files.raw_files import RawFiles, open_data_root
from defect_jax.data.files.reading import classes_of_masks
from defect_jax.data.sources.folder_faults import file_faults, notes_of
from defect_jax.data.sources.folder_layout import (
    GROUPS_FILE,
    LABELS_FILE,
    Layout,
    find_layout,
    folders_for,
    place_of,
)
from defect_jax.data.sources.groups import (
    HEADER,
    copies,
    read_pairs,
    resolve_ids,
    straddling,
    with_copies,
)
from defect_jax.data.sources.labels import read_labels, with_labels
from defect_jax.data.sources.light_hints import lights_note
from defect_jax.data.sources.records import (
    DEFECT,
    GOOD,
    SPLITS,
    Catalogue,
    DataSet,
    Fault,
    Record,
)
from defect_jax.data.sources.splits import HOLD_OUT_SHARES, SHARES, Member, grouped_split
from defect_jax.runtime.errors import UserError

OPTIONS = ("seed", "mask_threshold", "mask_alpha", "trust_masks", "classes", "lights")
NO_VAL = "there is no val/: about a fifth of train/, by group, is used for validation"


def catalogue(raw: RawFiles, data: ConfigDict, needed: Collection[str]) -> Catalogue:
    """List the images of the wanted splits and everything that is wrong with their files."""
    names = checked_names(data.get("classes", ()))
    layout = _layout(raw, data.root, data.get("lights", 1))
    folders = folders_for(needed, layout.folders)
    found = Catalogue(
        faults=file_faults(raw, layout, folders),
        notes=notes_of(layout) + lights_note(layout),
        classes=names or (DEFECT,),
        grouped=layout.top + GROUPS_FILE in raw.names(),
        own=True,
    )
    records = _records(raw, data, layout, folders, names) + _bad_records(layout, folders)
    if layout.top + LABELS_FILE in raw.names():
        records = _with_labels(raw, layout, folders, records, names, found.faults)
    if found.grouped:
        records = _with_groups(raw, layout, folders, records, found.faults)
    if "train" in layout.folders and "val" not in layout.folders:
        found.notes += [NO_VAL] if "train" in folders else []

    def together(sets: Sequence[Sequence[Record]]) -> list[Record]:
        dealt = with_splits(with_copies(records, sets), layout.folders, data.seed)
        return [record for record in dealt if record.split in needed]

    found.together = None if "val" in layout.folders else together
    found.records = together(copies(raw, records))
    return found


def _layout(raw: RawFiles, root: str, lights: int) -> Layout:
    """Return the layout; a refusal says how to import what other programs have annotated.

    Raises:
        UserError: there is none, or images without any mask, and annotations that would be lost.
    """
    try:
        layout = find_layout(raw, root, lights)
    except UserError as error:
        advice = recognise.hint(raw, root)
        raise UserError(f"{error}; {advice}" if advice else str(error)) from None
    if not layout.masks and (advice := recognise.command(raw, root)):
        raise UserError(f"config.data.root: {root} holds images/ without masks/; {advice}")
    return layout


def _records(
    raw: RawFiles, data: ConfigDict, layout: Layout, folders: list[str], names: tuple[str, ...]
) -> list[Record]:
    """Return one record an image; the split is still its folder, the group its id."""
    keys = sorted(k for k in layout.images if k[0] in folders and k not in layout.broken)
    masks = {key: layout.masks[key][0] for key in keys if key in layout.masks}
    class_of = classes_of_masks(raw, list(masks.values()), data, names)
    records = []
    for key in keys:
        image, mask = layout.images[key][0], masks.get(key)
        id = layout.id(image)
        record = Record(
            id=id,
            image=image,
            more_lights=layout.more_lights(layout.images[key]),
            mask=mask,
            group=id,
            class_name=GOOD if mask is None else class_of[mask],
            split=key[0],
            class_id=None if names else 1,
            ignore=_ignore(layout, key),
        )
        records.append(record)
    return records


def _bad_records(layout: Layout, folders: list[str]) -> list[Record]:
    """Return one record for each image of a defective part that nobody has drawn."""
    return [
        Record(
            id=(id := layout.id(files[0])),
            image=files[0],
            more_lights=layout.more_lights(files),
            mask=None,
            group=id,
            class_name=DEFECT,
            split=key[0],
            masked=False,
        )
        for key, files in sorted(layout.bad.items())
        if key[0] in folders and key not in layout.broken
    ]


def _ignore(layout: Layout, key: tuple[str, str]) -> str | None:
    """Return the file that marks what of an image is not judged."""
    return layout.ignore[key][0] if key in layout.ignore else None


def _with_groups(
    raw: RawFiles, layout: Layout, folders: list[str], records: list[Record], faults: list[Fault]
) -> list[Record]:
    """Give each image its group from groups.csv."""
    name = layout.top + GROUPS_FILE
    where = raw.where(name)
    lines: list[Fault] = []
    pairs = read_pairs(raw, name, HEADER, lines)
    faults += lines
    groups = resolve_ids(where, pairs, layout.below(), _may_be_unread(folders), faults)
    ids = {record.id for record in records}
    if not lines:  # what those are about would be missing as well
        missing = sorted(ids - groups.keys())
        faults += [Fault(where, f"does not list {id!r}: add its line") for id in missing]
    records = [replace(record, group=groups.get(record.id, record.id)) for record in records]
    faults += straddling(where, records)
    return records


def _with_labels(
    raw: RawFiles,
    layout: Layout,
    folders: list[str],
    records: list[Record],
    classes: tuple[str, ...],
    faults: list[Fault],
) -> list[Record]:
    """Give images the labels of labels.csv."""
    name, below = layout.top + LABELS_FILE, layout.below()
    labels = read_labels(raw, name, below, classes, _may_be_unread(folders), faults)
    return with_labels(raw, records, labels, faults)


def _may_be_unread(folders: list[str]) -> Callable[[str], bool]:
    """Return whether an id may belong to a folder that is not read and need not be there."""
    unread = () if "" in folders else tuple(set(SPLITS) - set(folders))
    return lambda id: bool(unread) and not id.lower().startswith(tuple(f"{s}/" for s in folders))


def with_splits(records: list[Record], folders: Collection[str], seed: int) -> list[Record]:
    """Return the records with their splits: those that are fixed, and the others by group.

    Args:
        records: each with the split that is fixed for it as its own; "" where none is.
        folders: which splits are fixed.
        seed: of the others.
    """
    if "" in folders:
        return _split(records, SHARES, seed)
    if "val" in folders:
        return records
    train = [record for record in records if record.split == "train"]
    rest = [record for record in records if record.split != "train"]
    return _split(train, HOLD_OUT_SHARES, seed) + rest


def _split(records: list[Record], shares: Mapping[str, float], seed: int) -> list[Record]:
    members = [Member(r.id, r.group, r.class_name, r.masked) for r in records]
    splits = grouped_split(members, shares, seed)
    return [replace(record, split=splits[record.id]) for record in records]


def is_in_test_folder(id: str) -> bool:
    """Return whether the folders above an image put it into the test split.

    >>> is_in_test_folder("images/Testing/1"), is_in_test_folder("images/1")
    (True, False)
    """
    place = place_of(f"{id}.png")
    return place is not None and place.split == "test"


DATA_SET = DataSet(
    open=open_data_root,
    catalogue=catalogue,
    options=OPTIONS,
    licence="trained on your own images: what holds for them holds for the network",
    is_in_fixed_test=is_in_test_folder,
)
