"""What is wrong with a folder's files by their names alone, and what is left out."""

import re
from collections import Counter
from collections.abc import Iterator

from defect_jax.data.files.bounded import is_picture
from defect_jax.data.files.file_kinds import SUFFIXES
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.sources.folder_layout import (
    IMAGES,
    KINDS,
    SPLIT_NAMES,
    TABLES,
    Key,
    Layout,
    place_of,
    stem_of,
)
from defect_jax.data.sources.light_hints import about_lights
from defect_jax.data.sources.records import Fault, listed

# How other tools name a mask that lies beside its image.
BESIDE = re.compile(r"(.+)[-_. ](?:masks?|gt|ground_?truth|seg|segmentation)", re.IGNORECASE)


def notes_of(layout: Layout) -> list[str]:
    """Say what is left out: files elsewhere, and by name the folders with images among them."""
    if not layout.outside:
        return []
    kinds = ", ".join(f"{kind}/" for kind in KINDS)
    notes = [f"ignored {len(layout.outside)} files outside {kinds}: {listed(layout.outside)}"]
    folders = Counter(
        name.removeprefix(layout.top).rpartition("/")[0]
        for name in layout.outside
        if is_picture(name)
    )
    if folders:
        shown = [f"{folder or '.'}/ ({count})" for folder, count in sorted(folders.items())]
        notes.append(
            f"{folders.total()} of them are images, in {listed(shown)}: only {kinds} count, "
            f"and {', '.join(SPLIT_NAMES)} as splits above or below them"
        )
    return notes


def file_faults(raw: RawFiles, layout: Layout, folders: list[str]) -> list[Fault]:
    """Find files that are no images, share an id, or are masks of nothing, and hidden groups."""
    faults = [
        Fault(raw.where(name), f"is not read: call it {file.lower()} and put it beside images/")
        for name in layout.outside
        if (file := name.rpartition("/")[2]).lower() in TABLES
    ]
    for split in dict.fromkeys([*folders, ""]):
        for name in layout.strange[split]:
            what = f"is not an image ({' '.join(SUFFIXES)}): move it elsewhere"
            faults.append(Fault(raw.where(name), what))
    for (split, _), broken in layout.broken.items():
        faults += [Fault(raw.where(name), what) for name, what in broken if split in folders]
    of_images = (layout.images, layout.bad) if layout.lights == 1 else ()
    for files in (*of_images, layout.masks, layout.ignore):
        for (split, _), names in files.items():
            if split in folders and len(names) > 1:
                others = ", ".join(name.rpartition("/")[2] for name in names[1:])
                what = f"has the same id as {others}: keep one, or rename"
                faults.append(Fault(raw.where(names[0]), what))
    for files, kind in ((layout.masks, "a mask"), (layout.ignore, "a region to ignore")):
        for key, names in files.items():
            if _is_lost(key, layout, folders):
                what = f"is {kind} without an image: there is no {_expected(names[0], layout)}.*"
                if key in layout.bad:
                    what += ", and those in bad/ have none: move the image into images/"
                faults.append(Fault(raw.where(names[0]), what + about_lights(key, layout)))
    return faults + list(_masks_among_images(raw, layout, folders))


def _masks_among_images(raw: RawFiles, layout: Layout, folders: list[str]) -> Iterator[Fault]:
    """Find images that are called after another one, as its mask: good parts they would be."""
    for (split, stem), names in layout.images.items():
        of = BESIDE.fullmatch(stem)
        if split in folders and of and (split, of[1]) in layout.images:
            image = layout.images[split, of[1]][0].rpartition("/")[2]
            what = (
                f"seems to be the mask of {image}: move it into masks/, with the name of its image"
            )
            yield Fault(raw.where(names[0]), what)


def _is_lost(key: Key, layout: Layout, folders: list[str]) -> bool:
    """Return whether a mask has no image among those that are read.

    Where splits are fixed for images or masks alone, no mask fits, and all parts would turn good.
    """
    return key not in layout.images and (key[0] in (*folders, "") or folders == [""])


def _expected(mask: str, layout: Layout) -> str:
    """Return the path, without suffix, of the image that a mask belongs to."""
    place = place_of(mask.removeprefix(layout.top))
    home = place.home.lower().replace(place.kind, IMAGES)
    return stem_of(f"{home}{place.rest}")
