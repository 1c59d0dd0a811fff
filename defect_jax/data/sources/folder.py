"""The user's own images: `images/**` and `masks/**` with equal relative stems.

An image without a mask, or with an empty one, is a good part. Where `config.data.classes` names
classes, the values in the masks are their ids, counted from 1; otherwise there is one class, and
values above `config.data.mask_threshold` are defect. `train/ val/ test/` above the two fix the
splits; otherwise they are made here, about 60/20/20, by group. `groups.csv` beside them
says which images show the same part; without it every image is a group of its own.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ml_collections import ConfigDict

from defect_jax.data.files.class_masks import checked_names
from defect_jax.data.files.file_kinds import SUFFIXES
from defect_jax.data.files.raw_files import RawFiles, open_data_root, top_folder
from defect_jax.data.files.reading import empty_masks, main_classes
from defect_jax.data.sources.records import (
    DEFECT,
    GOOD,
    SPLITS,
    Catalogue,
    DataSet,
    Fault,
    Record,
    listed,
)
from defect_jax.data.sources.splits import HOLD_OUT_SHARES, SHARES, Member, grouped_split
from defect_jax.runtime.errors import UserError

OPTIONS = ("seed", "mask_threshold", "mask_alpha", "trust_masks", "classes")
FILE = re.compile(r"(?:(train|val|test)/)?(images|masks)/(.+)")
GROUPS_FILE = "groups.csv"
HEADER = ["id", "group"]


@dataclass
class Layout:
    """Which files there are, below the leading folder `top`.

    `images` and `masks` map a folder (`""`, or a split's name) and a stem below it to file names.
    """

    top: str
    images: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    masks: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    strange: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    outside: list[str] = field(default_factory=list)

    @property
    def folders(self) -> set[str]:
        """Return folders that hold images: `{""}` or names of splits."""
        return {folder for folder, _ in self.images}


def catalogue(raw: RawFiles, data: ConfigDict, needed: Collection[str]) -> Catalogue:
    """List the images of the wanted splits and everything that is wrong with their files."""
    names = checked_names(data.get("classes", ()))
    layout = _layout(raw, data.root)
    folders = _folders_for(needed, layout.folders)
    found = Catalogue(faults=_file_faults(raw, layout, folders), classes=names or (DEFECT,))
    if layout.outside:
        found.notes.append(
            f"ignored {len(layout.outside)} files outside images/ and masks/: "
            f"{listed(layout.outside)}"
        )
    records = _records(raw, data, layout, folders, names)
    records = _with_groups(raw, layout, folders, records, found.faults)
    records = _with_splits(records, layout.folders, data.seed, found)
    found.records = [record for record in records if record.split in needed]
    return found


def _layout(raw: RawFiles, root: str) -> Layout:
    files = [name for name in raw.names() if name.lower().endswith(SUFFIXES)]
    layout = Layout(top_folder(files, ("images", "masks", *SPLITS), root))
    for name in raw.names():
        below = name.removeprefix(layout.top)
        match = FILE.fullmatch(below) if name.startswith(layout.top) else None
        if not match:
            layout.outside += [] if below == GROUPS_FILE else [name]
            continue
        folder, kind, rest = match[1] or "", match[2], match[3]
        if rest.lower().endswith(SUFFIXES):
            place = layout.images if kind == "images" else layout.masks
            place[folder, rest.rpartition(".")[0]].append(name)
        else:
            layout.strange[folder].append(name)
    if not layout.images:
        raise UserError(
            f"config.data.root: {root} holds no images/ with {' '.join(SUFFIXES)} files"
        )
    if "" in layout.folders and len(layout.folders) > 1:
        fixed = ", ".join(f"{folder}/" for folder in sorted(layout.folders - {""}))
        raise UserError(
            f"config.data.root: {root} holds images/ beside {fixed}: keep one of the two"
        )
    return layout


def _folders_for(needed: Collection[str], folders: set[str]) -> list[str]:
    """Return the folders that have to be read to fill the wanted splits."""
    if "" in folders:
        return [""]
    wanted = set(needed)
    if "val" in wanted and "val" not in folders:
        wanted |= {"train"}  # a part of it becomes val
    return [split for split in SPLITS if split in wanted]


def _file_faults(raw: RawFiles, layout: Layout, folders: list[str]) -> list[Fault]:
    faults = []
    for folder in folders:
        for name in layout.strange[folder]:
            what = f"is not an image ({' '.join(SUFFIXES)}): move it elsewhere"
            faults.append(Fault(raw.where(name), what))
    for files in (layout.images, layout.masks):
        for (folder, _), names in files.items():
            if folder in folders and len(names) > 1:
                others = ", ".join(name.rpartition("/")[2] for name in names[1:])
                what = f"has the same id as {others}: keep one, or rename"
                faults.append(Fault(raw.where(names[0]), what))
    for (folder, stem), names in layout.masks.items():
        if folder in folders and (folder, stem) not in layout.images:
            what = f"is a mask without an image: there is no {_id(folder, stem)}.*"
            faults.append(Fault(raw.where(names[0]), what))
    return faults


def _id(folder: str, stem: str) -> str:
    return f"{folder}/images/{stem}" if folder else f"images/{stem}"


def _records(
    raw: RawFiles, data: ConfigDict, layout: Layout, folders: list[str], names: tuple[str, ...]
) -> list[Record]:
    """Return one record an image; the split is still its folder, the group its id."""
    keys = sorted(key for key in layout.images if key[0] in folders)
    masks = {key: layout.masks[key][0] for key in keys if key in layout.masks}
    class_of = _classes_of(raw, list(masks.values()), data, names)
    class_id = None if names else 1
    records = []
    for folder, stem in keys:
        id, mask = _id(folder, stem), masks.get((folder, stem))
        class_name = GOOD if mask is None else class_of[mask]
        record = Record(
            id=id,
            image=layout.images[folder, stem][0],
            mask=mask,
            group=id,
            class_name=class_name,
            split=folder,
            class_id=class_id,
        )
        records.append(record)
    return records


def _classes_of(
    raw: RawFiles, masks: list[str], data: ConfigDict, names: tuple[str, ...]
) -> dict[str, str]:
    """Return the class of the image of each mask."""
    if names:
        return main_classes(raw, masks, data, names)
    empty = empty_masks(raw, masks, data)
    return {mask: GOOD if mask in empty else DEFECT for mask in masks}


def _with_groups(
    raw: RawFiles, layout: Layout, folders: list[str], records: list[Record], faults: list[Fault]
) -> list[Record]:
    """Give each image its group from groups.csv, if there is one."""
    name = layout.top + GROUPS_FILE
    if name not in raw.names():
        return records
    where = raw.where(name)
    groups = read_groups(raw, name, faults)
    ids = {record.id for record in records}
    unread = tuple(f"{split}/" for split in SPLITS if "" not in folders and split not in folders)
    for id in groups:
        if id not in ids and not id.startswith(unread or ("\0",)):
            faults.append(Fault(where, f"lists {id!r}, but there is no {id}.*: mend or remove it"))
    if groups:
        missing = sorted(ids - groups.keys())
        faults += [Fault(where, f"does not list {id!r}: add its line") for id in missing]
    records = [replace(record, group=groups.get(record.id, record.id)) for record in records]
    faults += _straddling(where, records)
    return records


def _straddling(where: str, records: Iterable[Record]) -> list[Fault]:
    places = defaultdict(set)
    for record in records:
        places[record.group].add(record.split)
    what = "group {!r} is in {}: images of one group belong into one split"
    return [
        Fault(where, what.format(group, " and ".join(f"{split}/" for split in sorted(splits))))
        for group, splits in places.items()
        if len(splits) > 1
    ]


def _with_splits(
    records: list[Record], folders: set[str], seed: int, found: Catalogue
) -> list[Record]:
    if "" in folders:
        return _split(records, SHARES, seed)
    if "val" in folders:
        return records
    train = [record for record in records if record.split == "train"]
    if train:
        found.notes.append("there is no val/: a fifth of train/, by group, is used for validation")
    rest = [record for record in records if record.split != "train"]
    return _split(train, HOLD_OUT_SHARES, seed) + rest


def _split(records: list[Record], shares: Mapping[str, float], seed: int) -> list[Record]:
    members = [Member(record.id, record.group, record.class_name) for record in records]
    splits = grouped_split(members, shares, seed)
    return [replace(record, split=splits[record.id]) for record in records]


def read_groups(raw: RawFiles, name: str, faults: list[Fault]) -> dict[str, str]:
    """Read the group of each image id, and add a fault for each line that is no such pair.

    An id is the image's path below the data root without its suffix, as in split.csv.
    """
    where = raw.where(name)
    try:
        text = raw.read(name).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        faults.append(Fault(where, f"cannot be read ({error}): make it readable"))
        return {}
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(Fault(where, f"is no CSV file in UTF-8 ({error}): save it as such"))
        return {}
    if not rows or [cell.strip() for cell in rows[0]] != HEADER:
        faults.append(Fault(where, "does not begin with the line 'id,group': add it"))
        return {}
    groups = {}
    for line, row in enumerate(rows[1:], 2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != 2 or not all(cells):
            faults.append(Fault(f"{where}, line {line}", "is no pair id,group: give both, no more"))
        elif groups.setdefault(*cells) != cells[1]:
            what = f"puts {cells[0]!r} into a second group: keep one line"
            faults.append(Fault(f"{where}, line {line}", what))
    return groups


DATA_SET = DataSet(
    open=open_data_root,
    catalogue=catalogue,
    options=OPTIONS,
    licence="trained on your own images: what holds for them holds for the network",
)
