"""Which files a user's own folder holds, and what splits its folders fix.

Two arrangements of splits are common, and both count: `train/images/` with `train/masks/`, and
`images/train/` with `masks/train/`. A folder that nearly names a split is refused or named rather
than passed over: what is taken for training images unseen makes every number wrong.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from defect_jax.data.files.bounded import is_picture
from defect_jax.data.files.file_kinds import SUFFIXES
from defect_jax.data.files.raw_files import RawFiles, top_folder
from defect_jax.data.files.shot_names import light_of, shots_of
from defect_jax.data.sources.records import SPLITS
from defect_jax.runtime.errors import UserError

GROUPS_FILE, LABELS_FILE = "groups.csv", "labels.csv"
TABLES = (GROUPS_FILE, LABELS_FILE)
# Images; their masks; images of defective parts that nobody has drawn; what is not to be judged.
IMAGES, MASKS, BAD, IGNORE = KINDS = ("images", "masks", "bad", "ignore")
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
Key = tuple[str, str]  # a split's name, or "" where folders fix none, and a stem below it


class Place(NamedTuple):
    """What the folders above a file say of it.

    Attributes:
        split: "train", "val" or "test"; "" where no folder says so.
        kind: IMAGES, MASKS, BAD or IGNORE.
        home: the folders that say so, as they are spelled.
        rest: the path below them.
    """

    split: str
    kind: str
    home: str
    rest: str


@dataclass
class Layout:
    """Which files there are, below the leading folder `top`.

    `images` and the others map a split and a stem below its folder to file names. Of shots of
    several `lights` the stem has no number, and the files are in the order of the lights; `broken`
    ones lack some.
    """

    top: str
    images: dict[Key, list[str]] = field(default_factory=lambda: defaultdict(list))
    masks: dict[Key, list[str]] = field(default_factory=lambda: defaultdict(list))
    bad: dict[Key, list[str]] = field(default_factory=lambda: defaultdict(list))
    ignore: dict[Key, list[str]] = field(default_factory=lambda: defaultdict(list))
    strange: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    outside: list[str] = field(default_factory=list)
    lights: int = 1
    broken: dict[Key, list[tuple[str, str]]] = field(default_factory=dict)  # file, its fault

    @property
    def folders(self) -> set[str]:
        """Return the splits that have images; `{""}` where no folder fixes any."""
        return {split for split, _ in [*self.images, *self.bad]}

    def id(self, name: str) -> str:
        """Return the id of an image: its path below the root without its suffix."""
        stem = stem_of(name.removeprefix(self.top))
        return light_of(stem)[0] if self.lights > 1 else stem

    def below(self) -> dict[str, str]:
        """Return the path of each image below the root, by its id."""
        firsts = [names[0] for names in [*self.images.values(), *self.bad.values()]]
        return {self.id(name): f"{self.id(name)}.{name.rpartition('.')[2]}" for name in firsts}

    def more_lights(self, files: Sequence[str]) -> tuple[str, ...]:
        """Return the files of the other lights of a shot.

        Args:
            files: of the shot, as `images` or `bad` has them.
        """
        return tuple(files[1:]) if self.lights > 1 else ()


def find_layout(raw: RawFiles, root: str, lights: int = 1) -> Layout:
    """Sort all files by what their folders say.

    Args:
        lights: files of each shot, or pages of its one TIFF.

    Raises:
        UserError: there are no images, or the folders contradict each other.
    """
    files = [name for name in raw.names() if is_picture(name)]
    layout = Layout(top_folder(files, _known_folders(files), root))
    homes = defaultdict(set)
    for name in raw.names():
        below = name.removeprefix(layout.top)
        place = place_of(below) if name.startswith(layout.top) else None
        if place is None:
            layout.outside += [] if below in TABLES else [name]
        elif not is_picture(place.rest):
            layout.strange[place.split].append(name)
        else:
            getattr(layout, place.kind)[place.split, stem_of(place.rest)].append(name)
            homes[place.kind, place.split].add(place.home)
    if not layout.images:
        good = " (images of good parts belong there)" * bool(layout.bad)
        raise UserError(
            f"config.data.root: {root} holds no images/ with {' '.join(SUFFIXES)} files{good}"
        )
    _refuse_contradictions(homes, root)
    _refuse_splits_inside(layout, root)
    if lights > 1:
        _join_lights(layout, lights)
    return layout


def _join_lights(layout: Layout, lights: int) -> None:
    """Put the files of each shot under its one stem."""
    layout.lights = lights
    for files_of in (layout.images, layout.bad):
        names = [name for files in files_of.values() for name in files]
        files_of.clear()
        for path, shot in shots_of(names, lights).items():
            place = place_of(f"{path.removeprefix(layout.top)}.png")
            key = place.split, stem_of(place.rest)
            files_of[key] = shot.files or [shot.faults[0][0]]
            if shot.faults:
                # images/ and bad/ may both have a shot of this stem.
                layout.broken.setdefault(key, []).extend(shot.faults)


def stem_of(name: str) -> str:
    """Return a path without its suffix.

    >>> stem_of("images/line.1/a.b.png")
    'images/line.1/a.b'
    """
    return name.rpartition(".")[0]


def place_of(below: str) -> Place | None:
    """Read the first folders of a path; None for what belongs to none of `KINDS`.

    >>> place_of("images/Valid/line_1/1.png")
    Place(split='val', kind='images', home='images/Valid/', rest='line_1/1.png')
    >>> place_of("train/masks/1.png")
    Place(split='train', kind='masks', home='train/masks/', rest='1.png')
    """
    first, *others = below.split("/")
    second = others[0] if len(others) > 1 else ""
    if first.lower() in KINDS and others:
        split = SPLIT_NAMES.get(second.lower(), "")
        kind, depth = first.lower(), 1 + bool(split)
    elif first.lower() in SPLIT_NAMES and second.lower() in KINDS:
        split, kind, depth = SPLIT_NAMES[first.lower()], second.lower(), 2
    else:
        return None
    parts = below.split("/")
    home = "".join(f"{part}/" for part in parts[:depth])
    return Place(split, kind, home, "/".join(parts[depth:]))


def _known_folders(files: Iterable[str]) -> set[str]:
    """Return the folders that a data set may begin with, as they are spelled here."""
    spelled = {folder for name in files for folder in name.split("/")[:-1]}
    return {name for name in spelled if name.lower() in (IMAGES, MASKS, *SPLIT_NAMES)}


def _refuse_contradictions(homes: dict[tuple[str, str], set[str]], root: str) -> None:
    """Refuse two folders for one split, and images with a split beside images without one."""
    for (kind, split), spelled in sorted(homes.items()):
        if len(spelled) > 1:
            what = f"the {kind} of {split}" if split else kind
            raise UserError(
                f"config.data.root: {root} holds {' beside '.join(sorted(spelled))} for "
                f"{what}: keep one of the two"
            )
    fixed = sorted(
        min(homes[kind, split]).removesuffix(f"{kind}/")
        for kind in (IMAGES, BAD)
        for split in SPLITS
        if (kind, split) in homes
    )
    free = sorted([*homes.get((IMAGES, ""), ()), *homes.get((BAD, ""), ())])
    if free and fixed:
        raise UserError(
            f"config.data.root: {root} holds {free[0]} beside {', '.join(fixed)}: keep one of the "
            f"two; with fixed splits every image belongs below one of them"
        )
    if len({home.lower().startswith((IMAGES, BAD)) for home in fixed}) > 1:
        raise UserError(
            f"config.data.root: {root} holds {' beside '.join(fixed)}: put the splits either "
            f"above images/ or below it"
        )


def _refuse_splits_inside(layout: Layout, root: str) -> None:
    """Refuse a split's name further down: whether it fixes a split, only the user knows."""
    inside = Counter()
    for (_, stem), names in [*layout.images.items(), *layout.bad.items()]:
        if any(part.lower() in SPLIT_NAMES for part in stem.split("/")[:-1]):
            inside[f"{PurePosixPath(names[0].removeprefix(layout.top)).parent}/"] += len(names)
    if inside:
        folder, count = inside.most_common(1)[0]
        raise UserError(
            f"config.data.root: {root} holds {count} images in {folder}: to fix a split, train/, "
            f"val/ or test/ stands directly above or below images/; else give the folder another "
            "name"
        )


def folders_for(needed: Collection[str], folders: set[str]) -> list[str]:
    """Return the splits that have to be read to fill the wanted ones; `[""]` for all images."""
    if "" in folders:
        return [""]
    wanted = set(needed)
    if "val" in wanted and "val" not in folders:
        wanted |= {"train"}  # a part of it becomes val
    return [split for split in SPLITS if split in wanted]
