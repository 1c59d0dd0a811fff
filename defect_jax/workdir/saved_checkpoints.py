"""Reading checkpoints, beside a training that may write and delete them: nothing is changed here.

Orbax makes a checkpoint appear whole or not at all, but does not notice a damaged one, so each
holds the fingerprints of its arrays, and what does not agree with them is never used.

A checkpoint holds several trees by name, each readable without the others: the state of a training
run, and the averaged weights, which are all that evaluation, prediction and export need.
"""

import contextlib
import gc
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import absl.logging
import jax
from orbax.checkpoint import v1 as ocp

from defect_jax.runtime import signals
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir.checkpoint_record import STEP, is_record
from defect_jax.workdir.fingerprints import fingerprints, form, not_finite

STATE, EMA = "state", "ema"
Trees = Mapping[str, Any]  # name -> tree of arrays, of ShapeDtypeStructs or of shardings
LEVELS = ("*", "*/*", "*/*/*")  # of a checkpoint's files; epath has no `rglob`
UNREACHABLE = ("PERMISSION_DENIED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED")


class Damaged(Exception):
    """A checkpoint is not what was saved."""


class Gone(UserError):
    """A checkpoint was deleted while it was read: the training beside keeps few of them."""


class Restored(NamedTuple):
    """What a checkpoint holds."""

    trees: dict[str, Any]
    unlogged: list[dict[str, float]]  # numbers of the steps after the last line of the log


def best_first(directory: AnyPath, scores: Mapping[int, float]) -> list[int]:
    """Return steps of the validated checkpoints, the best first and the newest of equals.

    Args:
        directory: what `checkpoint_mirror.local` gave.
    """
    found = steps(directory)
    return sorted(found & scores.keys(), key=lambda step: (scores[step], step), reverse=True)


def steps(directory: AnyPath) -> set[int]:
    """Return the steps that have a folder; Orbax gives none where it cannot read all of them.

    Args:
        directory: what `checkpoint_mirror.local` gave.
    """
    with without_asides():
        try:
            names = ocp.path.step.standard_name_format()
            return {step.step for step in names.find_all(directory)}
        except ValueError:  # what one of them says of itself is no object: `restore` names it
            return {int(path.name) for path in directory.iterdir() if path.name.isdecimal()}


def restore(directory: AnyPath, step: int, like: Trees, shardings: Trees) -> Restored:
    """Restore trees saved at `step` onto the devices of `shardings`, however many wrote them.

    Args:
        directory: what `checkpoint_mirror.local` gave.
        like: the wanted trees by name, of arrays or ShapeDtypeStructs of the expected shapes.

    Raises:
        Damaged: the files are not what was saved.
        Gone: they were deleted meanwhile.
        UserError: the checkpoint belongs to another network, or cannot be reached.
    """
    folder = directory / str(step)
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        dict(like),
        dict(shardings),
    )
    files = _files(folder)
    try:
        # A signal in the middle would come out of Orbax as a fault of the files.
        with signals.deferred(), without_asides(), _tasks_thrown_away():
            record = _record(folder, step)
            for name, tree in abstract.items():
                _refuse_another_network(folder, record["arrays"].get(name, {}), tree)
            trees = ocp.load_checkpointables(folder, abstract)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  each layer below has its own for a damaged file
        if not files or _files(folder) != files:
            raise Gone(f"{folder}: was deleted while it was read; start again") from None
        if isinstance(error, Damaged):
            raise
        _refuse_unreachable(folder, error)
        raise Damaged(f"{folder} is damaged ({first_line(error)})") from None
    for name, tree in trees.items():
        _check_fingerprints(folder, record["arrays"][name], tree)
    if broken := not_finite(trees.get(EMA, {})):
        raise Damaged(f"{folder} is of no use ({broken[0]} holds what is no number)")
    return Restored(trees, record["unlogged"])


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record that is saved beside the arrays, with its own sum."""
    return record | {"sha256": _sha256(record)}


@contextlib.contextmanager
def without_asides() -> Iterator[None]:
    """Silence Orbax, which logs pages of traces beside the exceptions that it raises."""
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        absl.logging.set_verbosity(verbosity)


def first_line(error: BaseException | None) -> str:
    """Return what an exception says, in one line of bounded length."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _files(folder: AnyPath) -> frozenset[str]:
    """Return what is below a folder; nothing where it is deleted meanwhile."""
    try:
        return frozenset(str(path) for levels in LEVELS for path in folder.glob(levels))
    except OSError:
        return frozenset()


@contextlib.contextmanager
def _tasks_thrown_away() -> Iterator[None]:
    """Silence Python about unfinished tasks: one damaged array leaves those of the others so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="coroutine .* was never awaited")
        try:
            yield
        except BaseException as error:
            error.__traceback__ = None  # holds the tasks
            gc.collect()
            raise


def _record(folder: AnyPath, step: int) -> dict[str, Any]:
    record = dict(ocp.metadata(folder).custom_metadata)
    if record.pop("sha256", None) != _sha256(record) or not is_record(record):
        raise Damaged(f"{folder} is damaged (its record is)")
    if record.get(STEP, step) != step:  # thresholds and scores would be those of another one
        raise Damaged(f"{folder} holds the checkpoint of step {record[STEP]}")
    return record


def _sha256(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _check_fingerprints(folder: AnyPath, saved: Mapping[str, str], tree: Any) -> None:
    found = fingerprints(tree)
    broken = [path for path, sum in saved.items() if found.get(path) != sum]
    if broken:
        raise Damaged(f"{folder} is damaged ({broken[0]} is not what was saved)")


def _refuse_another_network(folder: AnyPath, saved: Mapping[str, str], abstract: Any) -> None:
    """Refuse arrays of other shapes: Orbax returns the shape on disk without a word."""
    have = {path: described.split()[0] for path, described in saved.items()}
    want = {
        jax.tree_util.keystr(path, simple=True, separator="/"): form(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(abstract)
    }
    for path in sorted(have.keys() | want.keys()):
        if have.get(path) != want.get(path):
            raise UserError(
                f"{folder}: {path} is {have.get(path, 'not there')}, "
                f"this network needs {want.get(path, 'none')}"
            )


def _refuse_unreachable(folder: AnyPath, error: Exception) -> None:
    refused = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    if refused or any(word in str(error) for word in UNREACHABLE):
        raise UserError(f"{folder}: cannot be read: {first_line(error)}") from error
