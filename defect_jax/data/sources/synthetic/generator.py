"""Generated data set: textured surfaces, some with a defect, photographed several times.

Every image is a pure function of (seed, part, shot): nothing is stored, a larger set begins with
the images of a smaller one, and the same seed gives the same pixels on every machine. A part has
one surface and at most one defect; its shots differ in framing, light, exposure and noise, and
form one group.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.sources.records import GOOD, Catalogue, DataSet, Record
from defect_jax.data.sources.splits import SHARES, Member, grouped_split
from defect_jax.data.sources.synthetic import defects, surfaces
from defect_jax.data.sources.synthetic.lighting import CropWindow, draw_crop_window, photograph
from defect_jax.data.sources.synthetic.noise import below, stream, uniforms
from defect_jax.data.sources.synthetic.options import (
    DEFAULT_KINDS,
    DEFECTS,
    OPTIONS,
    Options,
    checked,
    class_names,
)

VERSION = 1  # raised with every change that alters a pixel
SCALE_1_PX = 160  # lengths of textures and defects are given for images of this size
MARGIN_SHARE = 0.05  # how far a shot's framing moves, as a share of the shorter side
ID = re.compile(r"([a-z]+/part_([0-9]{5,7}))/shot_([1-9][0-9]{0,3})")
NAME = re.compile(rf"(images|masks)/({ID.pattern})\.png")

# What a random stream is for; the shots of a part count on from SHOT.
KIND, CLASS, SURFACE, DEFECT, PLACE, SHOT = range(6)


class Part(NamedTuple):
    """What is known of a part before anything is drawn."""

    number: int
    kind: str
    class_name: str

    @property
    def group(self) -> str:
        """Return the name that all shots of the part share."""
        return f"{self.kind}/part_{self.number:05d}"


def records(data: Any) -> list[Record]:
    """List all images in order of part and shot, split 60/20/20 by part.

    Args:
        data: `config.data`, of which the fields of `Options` are read.

    Raises:
        UserError: a field is out of its range.
    """
    options = checked(data)
    shots = [
        (part, f"{part.group}/shot_{shot}")
        for part in (describe(options, number) for number in range(options.parts))
        for shot in range(1, options.shots + 1)
    ]
    members = [Member(id, part.group, part.class_name) for part, id in shots]
    split_of = grouped_split(members, SHARES, options.seed)
    return [_record(options, part, id, split_of[id]) for part, id in shots]


def _record(options: Options, part: Part, id: str, split: str) -> Record:
    record = Record(
        id=id,
        image=f"images/{id}.png",
        mask=None,
        group=part.group,
        class_name=part.class_name,
        split=split,
    )
    if part.class_name == GOOD:
        return record
    class_id = 1 + options.defect_kinds.index(part.class_name)
    return dataclasses.replace(record, mask=f"masks/{id}.png", class_id=class_id)


def part_of(options: Options, id: str) -> tuple[Part, int]:
    """Return the part and the shot, counted from 1, of a record's id.

    Raises:
        FileNotFoundError: this data set has no such record.
    """
    match = ID.fullmatch(id)
    if match is not None:
        group, number, shot = match[1], int(match[2]), int(match[3])
        if number < options.parts and shot <= options.shots:
            part = describe(options, number)
            if part.group == group:
                return part, shot
    raise FileNotFoundError(f"synthetic (seed {options.seed}): {id}")


class SyntheticFiles:
    """The generated images as if they were raw files; each is made when it is read."""

    def __init__(self, data: Any):
        """Take `config.data`; raise UserError where a field is out of its range."""
        self._options = checked(data)

    def names(self) -> list[str]:
        """Return the names of all images and of the masks of defective parts, sorted."""
        parts = [describe(self._options, number) for number in range(self._options.parts)]
        return sorted(
            f"{folder}/{part.group}/shot_{shot}.png"
            for part in parts
            for folder in (("images",) if part.class_name == GOOD else ("images", "masks"))
            for shot in range(1, self._options.shots + 1)
        )

    def read(self, name: str) -> bytes:
        """Return the PNG of an 8-bit grey image, or of its mask with 0 and 255.

        Raises:
            FileNotFoundError: this data set has no such image.
        """
        match = NAME.fullmatch(name)
        if match is None:
            raise FileNotFoundError(self.where(name))
        folder, id = match[1], match[2]
        part, shot = part_of(self._options, id)
        if folder == "masks" and part.class_name == GOOD:
            raise FileNotFoundError(self.where(name))
        draw = draw_image if folder == "images" else draw_mask
        return cv2.imencode(".png", draw(self._options, part, shot))[1].tobytes()

    def size(self, name: str) -> int:
        """Return the bytes of the PNG, which is made for it."""
        return len(self.read(name))

    def stamp(self) -> str:
        """Return the generator's version and its options: equal stamps, equal images."""
        shown = OPTIONS if self._options.defect_kinds == DEFAULT_KINDS else Options._fields
        fields = ", ".join(f"{field}={getattr(self._options, field)!r}" for field in shown)
        return f"synthetic {VERSION} Options({fields})"

    def skipped(self) -> Mapping[str, int]:
        """Return nothing: all files are the generator's own."""
        return {}

    def lost(self) -> Mapping[str, str]:
        """Return nothing, as `skipped`."""
        return {}

    def where(self, name: str) -> str:
        """Return how to call an image in a message."""
        return f"synthetic (seed {self._options.seed}): {name}"


def describe(options: Options, number: int) -> Part:
    """Return the kind of surface and the class of a part.

    Of the first n parts, exactly `defective_fraction * n` are defective, rounded half up, for
    every n: so a part stays what it is when the set grows. As many defective parts in a row as
    there are classes, counted from the first, are one of each class.
    """
    kinds = sorted(surfaces.KINDS)
    kind = kinds[below(stream(options.seed, number, KIND), len(kinds))]
    before, after = (
        math.floor(options.defective_fraction * count + 0.5) for count in (number, number + 1)
    )
    if after == before:
        return Part(number, kind, GOOD)
    classes = options.defect_kinds
    block, place = divmod(before, len(classes))
    order = np.argsort(uniforms(stream(options.seed, block, CLASS), len(classes)))
    return Part(number, kind, classes[order[place]])


def draw_image(options: Options, part: Part, shot: int) -> np.ndarray:
    """Return the uint8 [h, w] image of one shot of a part."""
    random = stream(options.seed, part.number, SURFACE)
    shape, _ = _canvas(options)
    surface = surfaces.KINDS[part.kind](random, shape, _scale(options))
    if part.class_name != GOOD:
        surface = defects.damage(surface, _draw_defect(options, part))
    random, frame = _start_shot(options, part, shot)
    return photograph(random, surface, frame)


def draw_mask(options: Options, part: Part, shot: int) -> np.ndarray:
    """Return the uint8 [h, w] mask, 0 or 255, of one shot of a part."""
    return _draw_pixels(options, part, shot, defects.mask_of)


def draw_gaps(options: Options, part: Part, shot: int) -> np.ndarray:
    """Return the uint8 [h, w] pixels, 0 or 255, of a shot's mask that look like good surface."""
    return _draw_pixels(options, part, shot, defects.gaps_of)


def _draw_pixels(
    options: Options, part: Part, shot: int, chosen: Callable[[defects.Defect], np.ndarray]
) -> np.ndarray:
    _, frame = _start_shot(options, part, shot)
    if part.class_name == GOOD:
        return np.zeros(options.picture_size, np.uint8)
    pixels = chosen(_draw_defect(options, part))
    return np.where(frame.crop(pixels), np.uint8(255), np.uint8(0))


def _start_shot(options: Options, part: Part, shot: int) -> tuple[np.random.Philox, CropWindow]:
    """Return the stream of a shot, after its first draw, which is the framing."""
    _, margin_px = _canvas(options)
    random = stream(options.seed, part.number, SHOT + shot)
    return random, draw_crop_window(random, options.picture_size, margin_px)


def _draw_defect(options: Options, part: Part) -> defects.Defect:
    shape, margin_px = _canvas(options)
    random = stream(options.seed, part.number, PLACE)
    # Every shot shows the pixels that are two margins inside the canvas; the defect's own centre
    # is one of them, a little from their border, and on a pixel, so that no mask comes out empty.
    border_px = 3 * margin_px
    y, x = (border_px + below(random, length - 2 * border_px) for length in shape)
    place = defects.Place(shape, float(y), float(x))
    random = stream(options.seed, part.number, DEFECT)
    return DEFECTS[part.class_name](random, place, _scale(options))


def _canvas(options: Options) -> tuple[tuple[int, int], int]:
    """Return the height and width of what is drawn of a part, and by how much a frame may move in
    it."""
    margin_px = max(2, round(MARGIN_SHARE * min(options.picture_size)))
    height_px, width_px = options.picture_size
    return (height_px + 2 * margin_px, width_px + 2 * margin_px), margin_px


def _scale(options: Options) -> float:
    return min(options.picture_size) / SCALE_1_PX


def catalogue(raw: RawFiles, data: Any, needed: Collection[str]) -> Catalogue:
    """List the images of the wanted splits; nothing of them can be wrong."""
    del raw
    wanted = [record for record in records(data) if record.split in needed]
    return Catalogue(wanted, classes=class_names(data))


DATA_SET = DataSet(
    open=SyntheticFiles,
    catalogue=catalogue,
    options=OPTIONS,
    licence="trained on generated images, free of rights of others",
)
