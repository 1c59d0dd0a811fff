"""What the rest of the program knows about a raw data set: its records and its faults."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ml_collections import ConfigDict

from defect_jax.data.files.output_names import faults_of
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.runtime.escapes import strange

GOOD = "good"
DEFECT = "defect"
SPLITS = ("train", "val", "test")
# How people call a folder of good parts, and one of the others.
GOOD_FOLDERS = frozenset({"good", "ok", "normal", "non_defective", "no_defect", "defect_free"})
BAD_FOLDERS = frozenset(
    {"bad", "ng", "nok", "defect", "defects", "defective", "anomaly", "anomalous", "faulty"}
)


@dataclass(frozen=True)
class Record:
    """One image of a raw data set.

    Attributes:
        id: path below the data root without its suffix, with forward slashes.
        image: name of the image's file among the raw files; of a shot that of its first light.
        mask: name of the mask's file, or None for a good part that has none.
        group: images of one group show the same part and are never split.
        class_name: ``"good"``, or the kind of defect as the release names it.
        split: ``"train"``, ``"val"`` or ``"test"``.
        class_id: class of every defect pixel of the image, counted from 1; None where the values
            in the mask's file are the class ids themselves.
        masked: False for a defective image of which nobody has drawn the defect: its label is
            known, its mask is not.
        ignore: name of the file that marks what of the image is not judged, or None.
        more_lights: names of the files of the shot's other lights, in order.
    """

    id: str
    image: str
    mask: str | None
    group: str
    class_name: str
    split: str
    class_id: int | None = 1
    masked: bool = True
    ignore: str | None = None
    more_lights: tuple[str, ...] = ()

    @property
    def label(self) -> int:
        """Return 1 for a defective image, 0 for a good one."""
        return int(self.class_name != GOOD)

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files of the image, one a light."""
        return (self.image, *self.more_lights)


@dataclass(frozen=True)
class Fault:
    """One thing the user has to mend before the data set can be used.

    Attributes:
        where: the file or the config field.
        what: what is wrong with it and what to do, in a few words.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Catalogue:
    """Everything a raw data set holds, found by its file names and masks.

    Attributes:
        records: the images of the wanted splits, without those that a fault rules out.
        faults: what the user has to mend.
        notes: what the user should know, one sentence each: files that were skipped, and so on.
        leaking: True when images of one part are on both sides of the split.
        classes: names of the classes 1 … N that a mask may hold.
        has_good: False for a release without good parts, whose splits are one-sided by nature.
        grouped: False where nothing says which images show the same part.
        own: True for the user's own files. Images that contradict each other are then faults; of a
            published release they are notes, since it is used as it is.
        together: returns the records split anew, with the images of each given set in one group;
            None where the splits are not made here.
    """

    records: list[Record] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    leaking: bool = False
    classes: tuple[str, ...] = (DEFECT,)
    has_good: bool = True
    grouped: bool = True
    own: bool = False
    together: Callable[[Sequence[Sequence[Record]]], list[Record]] | None = None


def listed(names: list[str], most: int = 10) -> str:
    """Join names for a sentence and say how many were not named.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def name_faults(records: Sequence[Record]) -> list[Fault]:
    """Find names that control a terminal, read as other names, or are those of two files in one.

    >>> record = Record("a", "a.png", None, "b\\x1b[2J", GOOD, "train")
    >>> print(*name_faults([record]))
    a.png: its group has the characters \\x1b: rename it
    """
    faults = [Fault(*fault) for fault in faults_of({r.image: r.id for r in records}).items()]
    for record in records:
        for what, name in (("group", record.group), ("class", record.class_name)):
            if characters := strange(name):
                what = f"its {what} has the characters {characters}: rename it"
                faults.append(Fault(record.image, what))
    return faults


def split_faults(classes: Mapping[str, list[str]], has_good: bool = True) -> list[Fault]:
    """Find splits that are empty or one-sided: no metric is defined on those.

    Args:
        classes: for every wanted split, the class names of its images.
        has_good: False where the release holds no good part at all, which is no fault of the user.
    """
    faults = []
    for split, names in classes.items():
        good = sum(name == GOOD for name in names)
        where = f"split {split!r}"
        if not names:
            faults.append(Fault(where, "holds no image: add some"))
        elif good == 0 and has_good:
            faults.append(Fault(where, f"none of its {len(names)} parts is good: add good parts"))
        elif good == len(names):
            what = f"none of its {len(names)} parts is defective: add defective parts with masks"
            faults.append(Fault(where, what))
    return faults


class DataSet(NamedTuple):
    """What a data set declares: all it takes to add one.

    Attributes:
        open: opens the raw files that `config.data` names.
        catalogue: lists the images of the wanted splits, with faults and notes.
        options: fields of `config.data` that decide what is prepared, besides name and root.
        licence: of a network that is trained on it, for the card of exported files.
        is_in_fixed_test: whether the image of an id is in a test split that the release or the user
            fixed. Where the splits are made here, none is.
    """

    open: Callable[[ConfigDict], RawFiles]
    catalogue: Callable[[RawFiles, ConfigDict, Collection[str]], Catalogue]
    options: tuple[str, ...]
    licence: str
    is_in_fixed_test: Callable[[str], bool] = lambda _: False
