"""Which images of an input show the same part: groups.csv, their folder, or their names.

A part's shots are taken in the order of their ids, as in an evaluation.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from defect_jax.data.files.bounded import MEGAPIXELS
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.sources.folder_layout import GROUPS_FILE
from defect_jax.data.sources.groups import HEADER, read_pairs, resolve_ids
from defect_jax.data.sources.records import Fault
from defect_jax.deploy.input_names import data_root, top_of
from defect_jax.deploy.inputs import Input, OneFile
from defect_jax.deploy.name_pattern import FIELD, name_pattern
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path, is_remote

BY_FOLDER = "folder"
MOST_FAULTS = 100  # of groups.csv, said one by one

GroupOf = Callable[[str], str]  # the part that an image shows, by its id


class GroupsFile(NamedTuple):
    """A groups.csv that was found."""

    raw: RawFiles
    name: str
    is_beside: bool  # not in the input: it may list images that are not in there either


def by_name(given: str | None) -> GroupOf | None:
    """Return how --group finds the part by an id; None where groups.csv says, if anything.

    Raises:
        UserError: it is no pattern that can be used.
    """
    if not given:
        return None
    return _by_folder if given == BY_FOLDER else name_pattern(given).group_of


def groups_of(
    path: str, raw: RawFiles, inputs: Sequence[Input], given: GroupOf | None
) -> dict[str, str] | None:
    """Return the part of each image by its id; None where nothing says which parts there are.

    Args:
        path: the input.
        raw: its files.
        inputs: the images among them.
        given: `by_name` of --group.

    Raises:
        UserError: an id without a part, or faults of groups.csv, each of which is said.
    """
    if given is not None:
        return {item.id: given(item.id) for item in inputs}
    found = find_groups(path, raw, [item.name for item in inputs])
    return None if found is None else _listed(found, inputs)


def find_groups(path: str, raw: RawFiles, images: Sequence[str]) -> GroupsFile | None:
    """Return the groups.csv in the input, or else beside it; None where there is none.

    Args:
        images: names of the images among the raw files.
    """
    names = set(raw.names())
    for name in dict.fromkeys((GROUPS_FILE, f"{top_of(images)}{GROUPS_FILE}")):
        if name in names:
            return GroupsFile(raw, name, is_beside=False)
    local = as_path(path)
    if is_remote(local) or not local.is_dir():
        return None
    for above in dict.fromkeys((local.absolute().parent, data_root(path))):
        if (above / GROUPS_FILE).is_file():
            return GroupsFile(OneFile(above / GROUPS_FILE, MEGAPIXELS), GROUPS_FILE, is_beside=True)
    return None


def _by_folder(id: str) -> str:
    folder = id.rpartition("/")[0]
    if not folder:
        raise UserError(
            f"{FIELD}: the image {id!r} is in no folder below --input: put each part's images into "
            "a folder of their own"
        )
    return folder


def _listed(file: GroupsFile, inputs: Sequence[Input]) -> dict[str, str] | None:
    """Read groups.csv by the rules of training: a fault for each line that cannot be meant."""
    faults: list[Fault] = []
    where = file.raw.where(file.name)
    names = {item.id: _with_suffix(item) for item in inputs}
    pairs = read_pairs(file.raw, file.name, HEADER, faults)
    is_whole = not faults  # what wrong lines are about would be missing as well
    groups = resolve_ids(where, pairs, names, lambda id: file.is_beside, faults)
    if file.is_beside and not groups and not faults:
        say(f"{where}: lists none of these images, so it names no parts of them")
        return None
    missing = sorted(names.keys() - groups.keys()) if is_whole else []
    faults += [Fault(where, f"does not list {id!r}: add its line") for id in missing]
    if faults:
        _refuse(where, faults)
    return groups


def _with_suffix(item: Input) -> str:
    """Return the path of an image below the data root: its id keeps the suffix where two differ in
    it alone."""
    suffix = PurePosixPath(item.name).suffix
    return item.id if item.id.endswith(suffix) else f"{item.id}{suffix}"


def _refuse(where: str, faults: Sequence[Fault]) -> None:
    for line in _lines(faults):
        say(line)
    raise UserError(f"{where}: faults to mend: {len(faults)}, listed above; nothing was decided")


def _lines(faults: Sequence[Fault]) -> Iterator[str]:
    yield from map(str, faults[:MOST_FAULTS])
    if len(faults) > MOST_FAULTS:
        yield f"and {len(faults) - MOST_FAULTS} more"
