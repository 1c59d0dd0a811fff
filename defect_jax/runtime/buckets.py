"""Many objects of a bucket at once: listed, copied and deleted side by side, by fsspec."""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import fsspec
from etils import epath

from defect_jax.runtime.paths import os_errors

VERSION_KEYS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")


def files_below(folder: epath.Path) -> dict[str, Mapping[str, Any]]:
    """Return the name below `folder` -> what the bucket reports on the object; empty for
    nothing."""
    with os_errors(folder):
        system, top = _opened(folder)
        found = system.find(top, detail=True)
    # Some clients of buckets make an empty object `name/` for a folder.
    return {
        name.removeprefix(f"{top}/"): facts
        for name, facts in found.items()
        if name.startswith(f"{top}/") and not name.endswith("/")
    }


def facts_of(path: epath.Path) -> Mapping[str, Any]:
    """Return what the bucket reports about an object, or of a folder (`type` is then "directory").

    Raises:
        OSError: it is not there, or the bucket does not answer.
    """
    with os_errors(path):
        system, name = _opened(path)
        return system.info(name)


def version(facts: Mapping[str, Any]) -> str:
    """Return a text that changes when the object does."""
    return f"{facts.get('size')} {next((facts[key] for key in VERSION_KEYS if key in facts), '')}"


def read(path: epath.Path, start: int | None = None, end: int | None = None) -> bytes:
    """Return an object, or its bytes from `start` to before `end`, in one request; from any
    thread."""
    with os_errors(path):
        system, name = _opened(path)
        return system.cat_file(name, start=start, end=end)


def upload(folder: pathlib.Path, names: Collection[str], target: epath.Path) -> None:
    """Copy files of a local folder to the same names below `target`."""
    if names:
        with os_errors(target):
            system, top = _opened(target)
            system.put([str(folder / name) for name in names], [f"{top}/{name}" for name in names])


def download(source: epath.Path, names: Collection[str], folder: pathlib.Path) -> None:
    """Copy objects below `source` to the same names in a local folder, which is made."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if names:
        with os_errors(source):
            system, top = _opened(source)
            system.get([f"{top}/{name}" for name in names], [str(folder / name) for name in names])


def download_file(source: epath.Path, file: pathlib.Path) -> None:
    """Copy one object to a local file, which is made; its folder must be there."""
    with os_errors(source):
        system, name = _opened(source)
        system.get_file(name, str(file))


def move(source: epath.Path, target: epath.Path, last: str) -> None:
    """Move all objects below a name to another one of the same bucket, `last` after the others."""
    names = sorted(files_below(source), key=lambda name: (name == last, name))
    with os_errors(source):
        system, top = _opened(source)
        for part in (names[:-1], names[-1:]):
            if part:
                bottom = _opened(target)[1]
                system.copy([f"{top}/{n}" for n in part], [f"{bottom}/{n}" for n in part])
    delete(source, names[-1:])
    delete(source, names[:-1])


def delete(folder: epath.Path, names: Collection[str]) -> None:
    """Delete objects below `folder`, which must be there."""
    if names:
        with os_errors(folder):
            system, top = _opened(folder)
            system.rm([f"{top}/{name}" for name in names])


def _opened(path: epath.Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the client of the bucket, made once a process, and its name for the path."""
    system, name = fsspec.core.url_to_fs(str(path))
    return system, name.rstrip("/")
