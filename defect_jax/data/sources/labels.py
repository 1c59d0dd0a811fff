"""labels.csv: which images are good and which defective, where nobody has drawn the defects.

A line says of one image what people have sorted it into. An image that it calls defective, and
whose mask is missing or empty, teaches the network its label and not its mask.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.sources.groups import read_pairs, resolve_ids
from defect_jax.data.sources.records import BAD_FOLDERS, DEFECT, GOOD, GOOD_FOLDERS, Fault, Record

HEADER = ["id", "label"]
WORDS = "good or bad, 0 or 1"


def read_labels(
    raw: RawFiles,
    name: str,
    names: Mapping[str, str],
    classes: tuple[str, ...],
    may_be_unread: Callable[[str], bool],
    faults: list[Fault],
) -> dict[str, str]:
    """Return the class of each image that labels.csv names, "good" among them.

    Args:
        raw, name: the files, and which of them it is.
        names: path of each image below the root, by id.
        classes: names of the classes of defects, which may stand for a label.
        may_be_unread: as of `groups.resolve_ids`.
        faults: every line that is wrong is added.
    """
    where, known = raw.where(name), []
    for line, written, label in read_pairs(raw, name, HEADER, faults):
        class_name = class_of_label(label, classes)
        if class_name is None:
            options = ", ".join([WORDS, *classes])
            what = f"the label {label[:60]!r} is none of {options}: correct it"
            faults.append(Fault(f"{where}, line {line}", what))
        else:
            known.append((line, written, class_name))
    return resolve_ids(where, known, names, may_be_unread, faults)


def class_of_label(label: str, classes: tuple[str, ...] = ()) -> str | None:
    """Return the class that a word of a person means, or None.

    >>> class_of_label("OK"), class_of_label("1"), class_of_label("dent", ("scratch", "dent"))
    ('good', 'defect', 'dent')
    >>> class_of_label("perhaps") is None
    True
    """
    word = label.strip().lower()
    if label in classes:
        return label
    if word == "0" or word in GOOD_FOLDERS:
        return GOOD
    return DEFECT if word == "1" or word in BAD_FOLDERS else None


def with_labels(
    raw: RawFiles, records: list[Record], classes: Mapping[str, str], faults: list[Fault]
) -> list[Record]:
    """Give images their labels: a defective one without a drawn defect is no longer good.

    Args:
        classes: by id, as `read_labels` returns them; an image that is not named stays as it is.
        faults: images that are called good and have a mask that marks a defect are added.
    """
    labelled = []
    for record in records:
        told = classes.get(record.id, record.class_name)
        if told == GOOD and record.label:
            where = raw.where(record.mask or record.image)
            what = "marks a defect, but labels.csv calls its image good: correct one of the two"
            faults.append(Fault(where, what))
        elif told != GOOD and not record.label:
            record = without_mask(record, told)
        labelled.append(record)
    return labelled


def without_mask(record: Record, class_name: str) -> Record:
    """Return a record as that of a defective image of which nobody has drawn the defect."""
    return replace(record, class_name=class_name, mask=None, masked=False)
