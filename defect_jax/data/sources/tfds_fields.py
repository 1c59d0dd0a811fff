"""Which features of a TFDS set are image, mask, label, id and group, and what labels mean."""

from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from defect_jax.data.files.tfds_features import Feature
from defect_jax.data.files.tfds_folder import TfdsFolder, label_names
from defect_jax.data.sources.folder_layout import SPLIT_NAMES
from defect_jax.data.sources.records import DEFECT, GOOD, GOOD_FOLDERS, listed
from defect_jax.runtime.errors import UserError

PICTURE = (lambda feature: feature.is_picture, "an Image, or a Tensor of height and width")
NUMBER = (lambda feature: feature.is_number, "a ClassLabel, or one whole number")
NAME = (lambda feature: feature.is_name, "a Text, or one whole number")
# Field of config.data -> what the feature that it names must be, and the words for that.
KINDS: dict[str, tuple[Callable[[Feature], bool], str]] = {
    "tfds_image": PICTURE,
    "tfds_mask": PICTURE,
    "tfds_label": NUMBER,
    "tfds_id": NAME,
    "tfds_group": NAME,
}


def check_features(folder: TfdsFolder, data: ConfigDict) -> None:
    """Refuse a feature that is not there, or that is not what it is named for.

    Raises:
        UserError: naming the field, and the features that there are.
    """
    there = f"the features of the set are {listed(sorted(folder.features), most=40)}"
    for field, (fits, words) in KINDS.items():
        name = data[field]
        if not name and field == "tfds_image":
            raise UserError(f"config.data.{field}: not set: {there}")
        if not name and field == "tfds_mask" and not data.tfds_label:
            raise UserError(f"config.data.{field}: not set, nor tfds_label: name one; {there}")
        if name and name not in folder.features:
            raise UserError(f"config.data.{field}: there is no feature {name!r}: {there}")
        if name and not fits(folder.features[name]):
            raise UserError(
                f"config.data.{field}: {name!r} is {_shown(folder.features[name])}: give {words}"
            )


def _shown(feature: Feature) -> str:
    shape = str(list(feature.shape)) if feature.shape else ""
    return " ".join(filter(None, ["of", feature.class_name[:100], feature.dtype, shape]))


class Labels(NamedTuple):
    """What the values of a label mean.

    Attributes:
        names: of the values from 0 on; empty where they have none.
        good: the values that are good.
        count: of the values that there may be; None: any from 0 on.
    """

    names: tuple[str, ...] = ()
    good: frozenset[int] = frozenset({0})
    count: int | None = None

    def class_name(self, value: int) -> str | None:
        """Return ``"good"``, or the kind of defect; None where the value is out of range."""
        if value < 0 or self.count is not None and value >= self.count:
            return None
        if value in self.good:
            return GOOD
        return self.names[value] if self.names else DEFECT


def labels_of(folder: TfdsFolder, name: str) -> Labels:
    """Return what the values of the label of this name mean.

    Of a ClassLabel with names those are good that are called so; else 0 is.

    Raises:
        UserError: it has names, and none says that a part is good.
    """
    feature = folder.features[name]
    if feature.field != "classLabel":
        return Labels()
    names = tuple(label_names(folder, name))
    if not names or all(text.isdecimal() for text in names):
        return Labels(count=feature.classes)
    good = frozenset(place for place, text in enumerate(names) if _is_good(text))
    if not good or len(names) != feature.classes:
        known = ", ".join(sorted(GOOD_FOLDERS))
        raise UserError(
            f"config.data.tfds_label: the {feature.classes} classes of {name!r} are "
            f"{listed(list(names), most=20)}: one has to be called {known}; without tfds_label the "
            "masks say which parts are good"
        )
    return Labels(names, good, feature.classes)


def _is_good(name: str) -> bool:
    return name.lower().replace("-", "_").replace(" ", "_") in GOOD_FOLDERS


def stored_splits(folder: TfdsFolder, notes: list[str]) -> dict[str, str]:
    """Return which split of the set is train, val and test; "" where nothing but train is there.

    What else there is, is left out where train and test are there, and a note says so.

    Raises:
        UserError: there is no train, two are for the same, or one might be the test split.
    """
    found, others = {}, []
    for name in sorted(folder.shards):
        role = SPLIT_NAMES.get(name.lower())
        if role in found:
            raise UserError(f"{folder.path}: {found[role]} and {name} are both {role}: keep one")
        if role is None:
            others.append(name)
        else:
            found[role] = name
    if "train" not in found or others and "test" not in found:
        raise UserError(
            f"{folder.path}: its splits are {', '.join(sorted(folder.shards)) or 'empty'}: prepare "
            "it with train, and validation and test if there are any, called so"
        )
    if others:
        notes.append(f"left out splits that are none of train, validation, test: {listed(others)}")
    if "val" in found and "test" not in found:
        found["test"] = found.pop("val")
        notes.append(f"there is no test split: {found['test']} is used as test")
    return found if len(found) > 1 else {"": found["train"]}
