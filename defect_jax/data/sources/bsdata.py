"""BSData: pitting on ball screws, masks drawn from the polygons, split by stretch of the screw.

The release is `data/*.jpg` with labelme polygons in `label/*.json` (Schlagenhauf, Landwehr:
"Industrial machine tool component surface defect dataset", Data in Brief, 2021). The masks are
drawn from the polygons, so that the release is used as it comes; a `mask/` folder beside them is
not read. Images without a label are left out, 710 of 1104: nobody said whether they are good. A
label without a polygon would make a good part, but the release holds none.

The images are time series of a few spots, and spots side by side overlap: those at 395 and
397.5 mm show one pitting, 25 times within seconds, and so do neighbouring numbers of the other
screws, clean and soiled. The group is therefore the turn of the thread, or the section that the
name gives: 24 groups of 1 to 50 images, in which the 75 spots of the 394 names are whole.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float64
from ml_collections import ConfigDict
from PIL import Image, ImageDraw

from defect_jax.data.files.images import BadImage
from defect_jax.data.files.raw_files import RawFiles, open_data_root, top_folder
from defect_jax.data.files.reading import main_classes
from defect_jax.data.files.record_encoding import encode_classes
from defect_jax.data.sources.records import GOOD, Catalogue, DataSet, Fault, Record, listed
from defect_jax.data.sources.splits import SHARES, Member, grouped_split
from defect_jax.runtime.errors import UserError

OPTIONS = ("seed",)
PITTING, PITTING_ID = "pitting", 1
FOLDERS = ("data", "label")
FILE = re.compile(r"data/([^/]+)\.jpg|label/([^/]+)\.json")
# Screw, time, position along it in micrometres, angle; or screw, clean or soiled, number, section.
# Of one spot there may be several crops.
FOLLOWED = re.compile(r"(?P<screw>[0-9]{2})_[0-9]{12}_(?P<position>[0-9]{6})_[0-9]{3}_crop_[0-9]+")
NUMBERED = re.compile(r"(?P<screw>KGT[0-9]+)-[SV]-[0-9]+-(?P<section>A[0-9]+)_crop_[0-9]+")
TURN_UM = 20_000  # the thread's lead: all 1035 names turn by 45 degrees each 2.5 mm


class Release:
    """The files of the release, where a label is read as the mask that its polygons draw."""

    def __init__(self, raw: RawFiles, max_megapixels: float):
        self._raw, self._max_megapixels = raw, max_megapixels

    def names(self) -> list[str]:
        return self._raw.names()

    def read(self, name: str) -> bytes:
        """Return the bytes of an image, or PNG of class ids for a label.

        Raises:
            OSError: see `RawFiles.read`.
            BadImage: the label cannot be drawn.
        """
        data = self._raw.read(name)
        return _drawn(data, self._max_megapixels) if name.endswith(".json") else data

    def size(self, name: str) -> int:
        """Return the bytes of the file itself, for a label too."""
        return self._raw.size(name)

    def stamp(self) -> str:
        return self._raw.stamp()

    def where(self, name: str) -> str:
        return self._raw.where(name)

    def skipped(self) -> Mapping[str, int]:
        return self._raw.skipped()

    def lost(self) -> Mapping[str, str]:
        return self._raw.lost()


def open_release(data: ConfigDict) -> Release:
    """Open the release under `config.data.root`; see `open_root`."""
    return Release(open_data_root(data), data.max_megapixels)


def catalogue(raw: RawFiles, data: ConfigDict, needed: Collection[str]) -> Catalogue:
    """List the annotated images of the wanted splits and all that is wrong with their names."""
    top, images, labels = _files(raw, data.root)
    found = Catalogue(classes=(PITTING,), has_good=False)
    bare = sorted(images - labels)
    if bare:
        found.notes.append(
            f"left out {len(bare)} images without a label, good or not: {listed(bare)}"
        )
    for stem in sorted(labels - images):
        what = f"is a label without an image: add data/{stem}.jpg or remove it"
        found.faults.append(Fault(raw.where(f"{top}label/{stem}.json"), what))
    groups = {stem: group_of(stem) for stem in sorted(images & labels)}
    for stem in [stem for stem, group in groups.items() if group is None]:
        what = "has a name that does not tell what it shows: name it as the release does"
        found.faults.append(Fault(raw.where(f"{top}data/{stem}.jpg"), what))
        del groups[stem]
    records = _with_splits(_records(raw, data, top, groups), data.seed)
    found.records = [record for record in records if record.split in needed]
    return found


def group_of(stem: str) -> str | None:
    """Return the screw and the stretch of it that an image shows; None for another name.

    >>> group_of("01_200909085315_395000_270_crop_1")
    '01 turn 19'
    >>> group_of("KGT2-V-318-A08_crop_3")
    'KGT2 section A08'
    """
    if match := FOLLOWED.fullmatch(stem):
        return f"{match['screw']} turn {int(match['position']) // TURN_UM}"
    if match := NUMBERED.fullmatch(stem):
        return f"{match['screw']} section {match['section']}"
    return None


def _files(raw: RawFiles, root: str) -> tuple[str, set[str], set[str]]:
    """Return the leading folder, and the stems of the images and of the labels below it."""
    top = top_folder([name for name in raw.names() if FILE.search(name)], FOLDERS, root)
    below = [name.removeprefix(top) for name in raw.names() if name.startswith(top)]
    matches = [match for match in map(FILE.fullmatch, below) if match]
    images = {match[1] for match in matches if match[1]}
    labels = {match[2] for match in matches if match[2]}
    if not images or not labels:
        lacking = "label/*.json" if images else "data/*.jpg"
        raise UserError(
            f"config.data.root: {root} holds no {lacking}: give the folder of the release, "
            "or a .tar or .zip of it"
        )
    return top, images, labels


def _records(raw: RawFiles, data: ConfigDict, top: str, groups: dict[str, str]) -> list[Record]:
    """Return one record an image, without its split."""
    label = {stem: f"{top}label/{stem}.json" for stem in groups}
    class_of = main_classes(raw, list(label.values()), data, (PITTING,))
    return [
        Record(
            id=f"data/{stem}",
            image=f"{top}data/{stem}.jpg",
            mask=label[stem],
            group=group,
            class_name=class_of[label[stem]],
            split="",
            class_id=None,
        )
        for stem, group in groups.items()
    ]


def _with_splits(records: list[Record], seed: int) -> list[Record]:
    """Deal the groups out screw by screw, since there is one kind of defect but several screws."""
    members = [
        Member(r.id, r.group, GOOD if r.class_name == GOOD else r.group.split()[0]) for r in records
    ]
    splits = grouped_split(members, SHARES, seed)
    return [replace(record, split=splits[record.id]) for record in records]


def _drawn(label: bytes, max_megapixels: float) -> bytes:
    """Draw the polygons of a label and return PNG of class ids.

    Pillow draws them, as in labelme, at their fractions of a pixel: all 394 masks are then those
    of the data's keepers, to the pixel, where OpenCV's fillPoly gives at most three of them.
    """
    try:
        fields = json.loads(label)
        width, height = _size(fields, max_megapixels)
        polygons = [_polygon(shape, width, height) for shape in fields["shapes"]]
    except BadImage:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise BadImage(f"is no label of labelme ({error!r:.80}): copy it again") from error
    except RecursionError as error:
        raise BadImage("is no label of labelme, but nested deeply: copy it again") from error
    mask = Image.new("L", (width, height))
    for polygon in polygons:
        ImageDraw.Draw(mask).polygon(polygon.ravel().tolist(), fill=PITTING_ID)
    return encode_classes(np.asarray(mask))


def _size(fields: Any, max_megapixels: float) -> tuple[int, int]:
    """Return the width and height, before memory is spent on them."""
    width, height = int(fields["imageWidth"]), int(fields["imageHeight"])
    if min(width, height) < 1:
        raise BadImage(f"speaks of an image of {width}x{height} px: copy it again")
    if width * height > max_megapixels * 1e6:
        raise BadImage(
            f"speaks of an image of more than {max_megapixels:g} megapixels: copy it again, "
            "or raise config.data.max_megapixels if you trust it"
        )
    return width, height


def _polygon(shape: Any, width: int, height: int) -> Float64[np.ndarray, "n 2"]:
    """Return the corners, x before y."""
    corners = np.array(shape["points"], np.float64)
    is_polygon = shape.get("shape_type", "polygon") == "polygon"
    if not is_polygon or corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise BadImage("holds a shape that is no polygon: draw it as one")
    # Stated so that a coordinate that is no number fails as well.
    if not ((corners >= 0) & (corners <= (width, height))).all():
        raise BadImage("holds a polygon that leaves its image: draw it again")
    return corners


DATA_SET = DataSet(
    open=open_release,
    catalogue=catalogue,
    options=OPTIONS,
    licence="trained on BSData, CC BY-SA 4.0: name its authors",
)
