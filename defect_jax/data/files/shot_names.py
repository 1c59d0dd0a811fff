"""Which files are the lights of one shot: `x.1.png` to `x.K.png`, or the one file `x.tif`.

By `config.data.lights` alone: of names nobody can tell a light from a part that is numbered.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

NUMBERED = re.compile(r"(.*[^/])\.([0-9]{1,2})")
PAGED = (".tif", ".tiff")


class Shot(NamedTuple):
    """The lights of a shot.

    Attributes:
        files: one a light, in the order of their numbers; or one that holds all lights.
        faults: file, and what is wrong with it; one that is missing by the name it would have.
    """

    files: list[str]
    faults: list[tuple[str, str]]


def light_of(stem: str) -> tuple[str, int | None]:
    """Return the path of the shot, and the number of the light, if the name has one.

    >>> light_of("a/x.2"), light_of("a/x"), light_of("a/x.2024"), light_of("a.1/x")
    (('a/x', 2), ('a/x', None), ('a/x.2024', None), ('a.1/x', None))
    """
    found = NUMBERED.fullmatch(stem)
    return (found[1], int(found[2])) if found else (stem, None)


def shots_of(names: Iterable[str], lights: int) -> dict[str, Shot]:
    """Return the shots by their paths without number and suffix, in order of these.

    >>> shots_of(["x.2.png", "x.1.png"], 2)["x"].files
    ['x.1.png', 'x.2.png']
    >>> shots_of(["x.1.png"], 2)["x"].faults
    [('x.2.png', 'is missing: light 2 of 2, beside x.1.png: add it, or take the shot away')]

    Args:
        names: of images; with forward slashes and a suffix.
        lights: of each shot, above 1.
    """
    found: dict[str, dict[int | None, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(names):
        path, number = light_of(name.rpartition(".")[0])
        found[path][number].append(name)
    return {path: _shot(path, found[path], lights) for path in sorted(found)}


def _shot(path: str, found: Mapping[int | None, list[str]], lights: int) -> Shot:
    numbered, whole = sorted(found.keys() - {None}), found.get(None, [])
    if not numbered:
        return _whole(whole, lights)
    first = found[numbered[0]][0]
    beside, suffix = _last(first), first.rpartition(".")[2]
    faults = [
        (name, f"has no number of a light, beside {beside}: keep one of the two") for name in whole
    ]
    for number in range(1, lights + 1):
        if number not in found:
            what = f"is missing: light {number} of {lights}, beside {beside}"
            missing = f"{path}.{number}.{suffix}"
            faults.append((missing, f"{what}: add it, or take the shot away"))
    wanted = [number for number in numbered if 1 <= number <= lights]
    for number in numbered:
        what = f"is light {number}, but config.data.lights is {lights}, from 1: take it away"
        faults += [(name, what) for name in found[number] if number not in wanted]
    for number in wanted:
        what = f"is light {number} once more, beside {_last(found[number][0])}"
        faults += [(name, f"{what}: keep one of the two") for name in found[number][1:]]
    return Shot([found[number][0] for number in wanted], faults)


def _whole(names: list[str], lights: int) -> Shot:
    """Return the shot of files without a number: one TIFF of several pages."""
    faults = [(name, f"is the same shot as {_last(names[0])}: keep one") for name in names[1:]]
    if not names[0].lower().endswith(PAGED):
        what = (
            f"has no number of a light: call the {lights} files of a shot x.1.png to "
            f"x.{lights}.png (config.data.lights), or save them as the pages of one TIFF"
        )
        faults.insert(0, (names[0], what))
    return Shot(names[:1], faults)


def _last(name: str) -> str:
    return name.rpartition("/")[2]
