"""Files that are written for images: each image has its own, on every disk, or is refused by name.

For an id `a/b` these are `masks/a/b.png`, `overlays/a/b.jpg` and so on. Disks of Windows and macOS
do not tell upper case from lower, nor two ways to write an accent.
"""

import os
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from defect_jax.runtime.escapes import strange

SUFFIXES = (".png", ".jpg")  # of masks, classes and heat maps, of overlays
MOST_BYTES = 255  # of a file's name, on all common disks


def ids_of(names: Iterable[str], whole: Collection[str] = ()) -> dict[str, str]:
    """Return the id of each name: without its suffix, which stays where an id alone would not do.

    >>> ids_of(["a.jpg", "b.jpg", "b.png", "b.png.png"])
    {'a.jpg': 'a', 'b.jpg': 'b.jpg', 'b.png': 'b.png', 'b.png.png': 'b.png.png'}
    >>> ids_of(["a.jpg", "a.png/1.jpg"])
    {'a.jpg': 'a.jpg', 'a.png/1.jpg': 'a.png/1'}

    Args:
        names: paths, each once.
        whole: those of the names that keep their suffix in any case.
    """
    ids = {name: name if name in whole else without_suffix(name) for name in names}
    while clashing := [name for name in _clashing(ids) if ids[name] != name]:
        ids |= {name: name for name in clashing}
    return ids


def without_suffix(name: str) -> str:
    """Return a path without the suffix of its file.

    >>> without_suffix("a.b/c.d.png"), without_suffix("a.b/c")
    ('a.b/c.d', 'a.b/c')
    """
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.rpartition('.')[0] or file}"


def faults_of(ids: Mapping[str, str]) -> dict[str, str]:
    """Return name -> why no files can be written for it, and what to do.

    >>> faults_of({"a.png": "a", "A.png": "A", "b.png": "b"})["a.png"]
    "'a.png' and 'A.png' would write the same files on some disks: rename one of them"
    """
    faults = {name: _too_strange(name, id) for name, id in ids.items()}
    faults = {name: fault for name, fault in faults.items() if fault}
    for name, other in _clashing(ids).items():
        what = f"{name!r} and {other!r} would write the same files on some disks"
        faults.setdefault(name, f"{what}: rename one of them")
    return faults


def _too_strange(name: str, id: str) -> str:
    if characters := strange(name):
        return f"its name has the characters {characters}: rename it"
    folders, _, last = id.rpartition("/")
    parts = [*folders.split("/"), last + SUFFIXES[0]]
    try:
        longest = max(len(os.fsencode(part)) for part in parts)
    except UnicodeEncodeError:
        return f"its name cannot be written in {sys.getfilesystemencoding()}: set LC_ALL=C.UTF-8"
    if longest > MOST_BYTES:
        return "its name is too long for the files that are written for it: make it shorter"
    return ""


def _clashing(ids: Mapping[str, str]) -> dict[str, str]:
    """Return name -> another one, of those that would write one file, or a file for a folder."""
    same, inside = defaultdict(list), {}
    for name, id in ids.items():
        key = _as_loose_disks_see(id)
        same[key].append(name)
        folder = key.rpartition("/")[0]
        while folder and folder not in inside:
            inside[folder] = name
            folder = folder.rpartition("/")[0]
    clashing = {}
    for key, names in same.items():
        if len(names) > 1:
            clashing |= dict(zip(names, [*names[1:], names[0]], strict=True))
        for suffix in SUFFIXES:
            if key + suffix in inside:
                clashing |= dict.fromkeys(names, inside[key + suffix])
    return clashing


def _as_loose_disks_see(id: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", id).casefold())
