"""A set that TFDS has prepared, of any name: image, mask and label are features of its examples.

`config.data.root` is the TFDS data folder, `config.data.tfds` the set in it. A part is good if its
label says so, or, without a label, if its mask marks nothing. What a label calls defective, and has
no mask or an empty one, teaches its label alone. The splits of the set stay: `train`
alone is split by group as a folder is, and where there is no validation, some of `train` is taken.
Ids begin with `train/`, `val/` or `test/`, whichever the example is stored in.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial

from ml_collections import ConfigDict

from defect_jax.data.files.class_masks import checked_names
from defect_jax.data.files.raw_names import plain
from defect_jax.data.files.reading import classes_of_masks, in_threads
from defect_jax.data.files.tfds_files import IMAGE, MASK, Row, TfdsFiles
from defect_jax.data.files.tfds_folder import find_set
from defect_jax.data.sources.folder import NO_VAL, with_splits
from defect_jax.data.sources.folder_layout import folders_for
from defect_jax.data.sources.groups import copies, straddling, with_copies
from defect_jax.data.sources.labels import without_mask
from defect_jax.data.sources.records import DEFECT, GOOD, Catalogue, DataSet, Fault, Record
from defect_jax.data.sources.tfds_fields import (
    KINDS,
    Labels,
    check_features,
    labels_of,
    stored_splits,
)
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import strange

OPTIONS = ("tfds", *KINDS, "seed", "mask_threshold", "mask_alpha", "trust_masks", "classes")
Example = tuple[str, str, str, Row]  # name of its image, fixed split, id, and what else it holds


def open_set(data: ConfigDict) -> TfdsFiles:
    """Open the set that `config.data` names.

    Raises:
        UserError: it is not there, is damaged, or lacks a feature.
    """
    folder = find_set(data.root, data.tfds)
    check_features(folder, data)
    pictures = {IMAGE: data.tfds_image} | ({MASK: data.tfds_mask} if data.tfds_mask else {})
    return TfdsFiles(folder, pictures, data.max_megapixels)


def catalogue(raw: TfdsFiles, data: ConfigDict, needed: Collection[str]) -> Catalogue:
    """List the images of the wanted splits and what is wrong with their labels, ids and groups."""
    names = checked_names(data.get("classes", ()))
    found = Catalogue(classes=names or (DEFECT,), grouped=bool(data.tfds_group))
    splits = stored_splits(raw.folder, found.notes)
    fixed = [split for split in folders_for(needed, set(splits)) if split in splits]
    examples = _examples(raw, data, {split: splits[split] for split in fixed}, found.faults)
    records = _records(raw, data, examples, names, found.faults)
    found.faults += straddling(str(raw.folder.path), records)
    if "train" in fixed and "val" not in splits:
        found.notes.append(NO_VAL)

    def together(sets: Sequence[Sequence[Record]]) -> list[Record]:
        dealt = with_splits(with_copies(records, sets), splits, data.seed)
        return [record for record in dealt if record.split in needed]

    found.together = None if "val" in splits else together
    found.records = together(copies(raw, records))
    return found


def _examples(
    raw: TfdsFiles, data: ConfigDict, splits: dict[str, str], faults: list[Fault]
) -> list[Example]:
    """Read label, id and group of every example; those that cannot be read are faults."""
    places = [
        (fixed, stored, index)
        for fixed, stored in splits.items()
        for index in range(raw.count(stored))
    ]

    looked = list(in_threads(partial(_example, raw, data), places, "Reading labels"))
    faults += [one for one in looked if isinstance(one, Fault)]
    examples = [one for one in looked if not isinstance(one, Fault)]
    for id, count in Counter(id for _, _, id, _ in examples).items():
        if count > 1:
            what = f"{count} images have the id {id!r}: name a feature that differs, or none"
            faults.append(Fault("config.data.tfds_id", what))
    return examples


def _example(raw: TfdsFiles, data: ConfigDict, place: tuple[str, str, int]) -> Example | Fault:
    """Read one example; its place is the fixed split, the split of the set, and its number."""
    fixed, stored, index = place
    name = raw.name(stored, index)
    try:
        row = raw.row(stored, index, data.tfds_label, data.tfds_id, data.tfds_group)
        id = plain(row.id) if data.tfds_id else f"{index:06d}"
    except OSError as error:
        return Fault(raw.where(name), str(error))
    except UserError:  # a path that leads elsewhere
        id = ""
    if not id or strange(id):
        what = f"its {data.tfds_id!r} {row.id[:60]!r} is no name: leave config.data.tfds_id empty"
        return Fault(raw.where(name), what)
    return name, fixed, f"{fixed or 'train'}/{id}", row


def _records(
    raw: TfdsFiles,
    data: ConfigDict,
    examples: list[Example],
    names: tuple[str, ...],
    faults: list[Fault],
) -> list[Record]:
    """Return one record an example, without those whose label is out of range."""
    labels = labels_of(raw.folder, data.tfds_label) if data.tfds_label else None
    mask_of = {name: _mask_name(name) for name, *_ in examples if data.tfds_mask}
    of_masks = classes_of_masks(raw, list(mask_of.values()), data, names)
    records = []
    for name, fixed, id, row in examples:
        mask = mask_of.get(name)
        class_name = _class_name(labels, row, of_masks.get(mask), names)
        if class_name is None:
            what = f"its {data.tfds_label!r} is {row.label}, out of range: correct the label"
            faults.append(Fault(raw.where(name), what))
        else:
            group, class_id = row.group or id, None if names else 1
            record = Record(id, name, mask, group, class_name, fixed, class_id)
            is_drawn = mask is not None and of_masks[mask] != GOOD
            records.append(without_mask(record, class_name) if record.label > is_drawn else record)
    return records


def _mask_name(image: str) -> str:
    return image.removesuffix(f"{IMAGE}.png") + f"{MASK}.png"


def _class_name(
    labels: Labels | None, row: Row, of_mask: str | None, names: tuple[str, ...]
) -> str | None:
    """Return the class of an image; its label comes before its mask, which has then to agree.

    What the mask adds to a label is which of the classes it is.
    """
    if labels is None:
        return of_mask
    class_name = labels.class_name(row.label)
    if class_name in (None, GOOD) or not names:
        return class_name
    return DEFECT if of_mask in (None, GOOD) else of_mask


DATA_SET = DataSet(
    open=open_set,
    catalogue=catalogue,
    options=OPTIONS,
    licence="trained on a set of TFDS: what holds for its images holds for the network",
    is_in_fixed_test=lambda id: id.startswith("test/"),
)
