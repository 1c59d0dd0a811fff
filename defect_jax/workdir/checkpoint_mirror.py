"""Checkpoints at s3://, where Orbax cannot write: a local copy, kept alike by copying whole steps.

Orbax knows disks and gs:// (there its own marker, written last, tells whole from half-written). At
s3:// it works on a local copy of the folder of checkpoints. What it saves is copied up with that
same marker last, so a killed run leaves no step in the bucket that passes for whole.
"""

import contextlib
import functools
import pathlib
import shutil

import jax
from etils import epath

from defect_jax.runtime import buckets, scratch
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, is_remote

MARKER = "commit_success.txt"  # Orbax's own, at the top of each step


def local(folder: AnyPath) -> AnyPath:
    """Return what Orbax is to be given for a folder of checkpoints, brought up to date.

    Returns:
        The folder itself, absolute, on a disk and at gs://; at s3:// a copy of it, the same one
        for the whole process, with all whole steps that the bucket has.

    Raises:
        UserError: s3:// and several processes, each of which would have a copy of its own part.
        OSError: the bucket does not answer.
    """
    if not is_remote(folder):
        return folder.absolute()
    if not _needs_copy(folder):
        return folder
    if jax.process_count() > 1:
        raise UserError(
            f"{folder}: checkpoints of several processes cannot be at s3://: "
            "choose a --workdir at gs:// or on a disk that all of them share"
        )
    copy = _copy_of(folder)
    for step, names in _steps(buckets.files_below(folder)).items():
        if MARKER in names and not (copy / step).exists():
            with contextlib.suppress(FileNotFoundError):  # a training beside has deleted it
                _bring_down(folder / step, names, copy / step)
    return copy


def publish(directory: AnyPath) -> None:
    """Copy to the bucket what is new in a folder that `local` gave, and delete what is gone.

    To be called when a save has ended, or a step was deleted or moved. Nothing to do but at s3://.

    Raises:
        OSError: the bucket does not answer; what it has is whole or has no marker.
    """
    folder = _originals().get(str(directory))
    if folder is None:
        return
    here = pathlib.Path(directory)
    there = _steps(buckets.files_below(folder))
    steps = {path.name for path in here.iterdir() if (path / MARKER).exists()}
    for step in sorted(steps, key=lambda name: (len(name), name)):
        if MARKER not in there.get(step, ()):
            _take_away(folder / step, there.get(step, ()))  # what a killed run left
            _bring_up(here / step, folder / step)
    for step in there.keys() - steps:
        _take_away(folder / step, there[step])


def put_aside(directory: AnyPath, step: int) -> None:
    """Move a damaged step from a folder that `local` gave into `damaged_checkpoints` beside it.

    Raises:
        OSError: it could not be moved.
    """
    folder = _originals().get(str(directory), directory)
    source, target = folder / str(step), folder.parent / "damaged_checkpoints" / str(step)
    if is_remote(folder):
        buckets.delete(target, buckets.files_below(target).keys())
        buckets.move(source, target, last=MARKER)
    if not is_remote(directory):
        here = pathlib.Path(directory) / str(step)
        aside = here.parent.parent / "damaged_checkpoints" / str(step)
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        here.rename(aside)


def shown(directory: AnyPath) -> AnyPath:
    """Return the folder to name in a message: that of the user, not the copy."""
    return _originals().get(str(directory), directory)


def _needs_copy(folder: epath.Path) -> bool:
    return str(folder).startswith("s3://")


@functools.cache
def _originals() -> dict[str, epath.Path]:
    """Return local copy -> folder in the bucket."""
    return {}


@functools.cache
def _copy_of(folder: epath.Path) -> pathlib.Path:
    copy = scratch.new_folder("checkpoints") / folder.name
    copy.mkdir()
    _originals()[str(copy)] = folder
    return copy


def _steps(names: dict) -> dict[str, list[str]]:
    """Return the step -> names of the files below it, of names below the folder of checkpoints."""
    steps: dict[str, list[str]] = {}
    for name in names:
        step, slash, rest = name.partition("/")
        if slash:
            steps.setdefault(step, []).append(rest)
    return steps


def _bring_down(step: epath.Path, names: list[str], target: pathlib.Path) -> None:
    partial = target.with_name(f".{target.name}")
    buckets.download(step, names, partial)
    partial.rename(target)


def _bring_up(step: pathlib.Path, target: epath.Path) -> None:
    files = [path.relative_to(step).as_posix() for path in step.rglob("*") if path.is_file()]
    buckets.upload(step, [name for name in files if name != MARKER], target)
    buckets.upload(step, [MARKER], target)


def _take_away(step: epath.Path, names: list[str] | tuple[str, ...]) -> None:
    """Delete a step, the marker first: half-deleted is not whole either."""
    buckets.delete(step, [name for name in names if name == MARKER])
    buckets.delete(step, [name for name in names if name != MARKER])
