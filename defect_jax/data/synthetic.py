"""Generated data set: textured surfaces, some with a defect, photographed several times.

Every picture is a pure function of (seed, part, shot): nothing is stored, a larger set begins with
the pictures of a smaller one, and the same seed gives the same pixels on every machine. A part has
one surface and at most one defect; its shots differ in framing, light, exposure and noise, and
form one group.
"""

import math
import re
from typing import Any, NamedTuple

import cv2
import numpy as np

from defect_jax.data import defects, surfaces
from defect_jax.data.lighting import Frame, draw_frame, photograph
from defect_jax.data.noise import below, stream, uniforms
from defect_jax.data.records import GOOD, Record
from defect_jax.data.splits import SHARES, Member, grouped_split
from defect_jax.errors import UserError

VERSION = 1  # raised with every change that alters a pixel
SCALE_1_PX = 160  # lengths of textures and defects are given for pictures of this size
MARGIN_SHARE = 0.05  # how far a shot's framing moves, as a share of the shorter side
LIMITS = {"parts": (1, 1_000_000), "shots": (1, 1000), "seed": (0, 2**63 - 1)}
PICTURE_LIMITS_PX = (64, 4096)
NAME = re.compile(r"(images|masks)/([a-z]+/part_([0-9]{5,7}))/shot_([1-9][0-9]{0,3})\.png")

# What a random stream is for; the shots of a part count on from SHOT.
KIND, CLASS, SURFACE, DEFECT, PLACE, SHOT = range(6)


class Options(NamedTuple):
    """The fields of `config.data` that decide what is generated."""

    seed: int
    parts: int
    shots: int
    defective_fraction: float
    picture_size: tuple[int, int]  # height, width in px


class Part(NamedTuple):
    """What is known of a part before anything is drawn."""

    number: int
    kind: str
    class_name: str

    @property
    def group(self) -> str:
        """The name that all shots of the part share."""
        return f"{self.kind}/part_{self.number:05d}"


def records(data: Any) -> list[Record]:
    """Lists all pictures in order of part and shot, split 60/20/20 by part.

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
    return [
        Record(
            id=id,
            image=f"images/{id}.png",
            mask=None if part.class_name == GOOD else f"masks/{id}.png",
            group=part.group,
            class_name=part.class_name,
            split=split_of[id],
        )
        for part, id in shots
    ]


class SyntheticFiles:
    """The generated pictures as if they were raw files; each is made when it is read."""

    def __init__(self, data: Any):
        """Takes `config.data`; raises UserError where a field is out of its range."""
        self._options = checked(data)

    def names(self) -> list[str]:
        """Returns the names of all pictures and of the masks of defective parts, sorted."""
        parts = [describe(self._options, number) for number in range(self._options.parts)]
        return sorted(
            f"{folder}/{part.group}/shot_{shot}.png"
            for part in parts
            for folder in (("images",) if part.class_name == GOOD else ("images", "masks"))
            for shot in range(1, self._options.shots + 1)
        )

    def read(self, name: str) -> bytes:
        """Returns the PNG of an 8-bit grey picture, or of its mask with 0 and 255.

        Raises:
            FileNotFoundError: this data set has no such picture.
        """
        match = NAME.fullmatch(name)
        if match is None:
            raise FileNotFoundError(self.where(name))
        folder, group, number, shot = match[1], match[2], int(match[3]), int(match[4])
        if not (number < self._options.parts and 1 <= shot <= self._options.shots):
            raise FileNotFoundError(self.where(name))
        part = describe(self._options, number)
        is_missing_mask = folder == "masks" and part.class_name == GOOD
        if group != part.group or is_missing_mask:
            raise FileNotFoundError(self.where(name))
        draw = draw_image if folder == "images" else draw_mask
        return cv2.imencode(".png", draw(self._options, part, shot))[1].tobytes()

    def stamp(self) -> str:
        """Returns the generator's version and its options: equal stamps, equal pictures."""
        return f"synthetic {VERSION} {self._options}"

    def where(self, name: str) -> str:
        """Returns how to call a picture in a message."""
        return f"synthetic (seed {self._options.seed}): {name}"


def checked(data: Any) -> Options:
    """Reads the options from `config.data`.

    Raises:
        UserError: a field is out of its range.
    """
    for field, (low, high) in LIMITS.items():
        if not low <= data[field] <= high:
            raise UserError(f"config.data.{field} is {data[field]}: give {low} to {high}")
    fraction = float(data["defective_fraction"])
    if not 0 <= fraction <= 1:
        raise UserError(f"config.data.defective_fraction is {fraction}: give a share from 0 to 1")
    size = tuple(data["picture_size"])
    low, high = PICTURE_LIMITS_PX
    if len(size) != 2 or not all(isinstance(px, int) and low <= px <= high for px in size):
        raise UserError(
            f"config.data.picture_size is {size}: give height and width, each {low} to {high} px"
        )
    return Options(int(data["seed"]), int(data["parts"]), int(data["shots"]), fraction, size)


def describe(options: Options, number: int) -> Part:
    """Returns the kind of surface and the class of a part.

    Of the first n parts, exactly `defective_fraction * n` are defective, rounded half up, for
    every n: so a part stays what it is when the set grows. Any four defective parts in a row,
    counted from the first, are one of each class.
    """
    kinds = sorted(surfaces.KINDS)
    kind = kinds[below(stream(options.seed, number, KIND), len(kinds))]
    before, after = (
        math.floor(options.defective_fraction * count + 0.5) for count in (number, number + 1)
    )
    if after == before:
        return Part(number, kind, GOOD)
    classes = sorted(defects.KINDS)
    block, place = divmod(before, len(classes))
    order = np.argsort(uniforms(stream(options.seed, block, CLASS), len(classes)))
    return Part(number, kind, classes[order[place]])


def draw_image(options: Options, part: Part, shot: int) -> np.ndarray:
    """Returns the uint8 [h, w] picture of one shot of a part."""
    random = stream(options.seed, part.number, SURFACE)
    shape, _ = _canvas(options)
    surface = surfaces.KINDS[part.kind](random, shape, _scale(options))
    if part.class_name != GOOD:
        surface = defects.damage(surface, _draw_defect(options, part))
    random, frame = _start_shot(options, part, shot)
    return photograph(random, surface, frame)


def draw_mask(options: Options, part: Part, shot: int) -> np.ndarray:
    """Returns the uint8 [h, w] mask, 0 or 255, of one shot of a part."""
    _, frame = _start_shot(options, part, shot)
    if part.class_name == GOOD:
        return np.zeros(options.picture_size, np.uint8)
    mask = defects.mask_of(_draw_defect(options, part))
    return np.where(frame.crop(mask), np.uint8(255), np.uint8(0))


def _start_shot(options: Options, part: Part, shot: int) -> tuple[np.random.Philox, Frame]:
    """The stream of a shot, after its first draw, which is the framing."""
    _, margin_px = _canvas(options)
    random = stream(options.seed, part.number, SHOT + shot)
    return random, draw_frame(random, options.picture_size, margin_px)


def _draw_defect(options: Options, part: Part) -> defects.Defect:
    shape, margin_px = _canvas(options)
    random = stream(options.seed, part.number, PLACE)
    # Every shot shows the pixels that lie two margins inside the canvas; the defect's own centre
    # is one of them, a little from their border, and on a pixel, so that no mask comes out empty.
    border_px = 3 * margin_px
    y, x = (border_px + below(random, length - 2 * border_px) for length in shape)
    place = defects.Place(shape, float(y), float(x))
    random = stream(options.seed, part.number, DEFECT)
    return defects.KINDS[part.class_name](random, place, _scale(options))


def _canvas(options: Options) -> tuple[tuple[int, int], int]:
    """Height and width of what is drawn of a part, and by how much a frame may move in it."""
    margin_px = max(2, round(MARGIN_SHARE * min(options.picture_size)))
    height_px, width_px = options.picture_size
    return (height_px + 2 * margin_px, width_px + 2 * margin_px), margin_px


def _scale(options: Options) -> float:
    return min(options.picture_size) / SCALE_1_PX
