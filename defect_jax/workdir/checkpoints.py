"""Checkpoints with Orbax: the newest two and the best one are kept; arrays and JSON only.

All use of Orbax is in this file, because its v1 interface still lives under `experimental`. Orbax
makes a checkpoint appear whole or not at all, but does not notice a damaged one, so each holds the
fingerprints of its arrays, and what does not agree with them is never used.

A checkpoint holds several trees by name, each readable without the others: the state of a training
run, and the averaged weights, which are all that evaluation, prediction and export need.
"""

import contextlib
import errno
import gc
import hashlib
import json
import logging
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import absl.logging
import jax
from orbax.checkpoint import v1 as ocp

from defect_jax.distributed import processes
from defect_jax.runtime import signals
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import checkpoint_mirror
from defect_jax.workdir.fingerprints import fingerprints, form, not_finite

STATE, EMA = "state", "ema"
Trees = Mapping[str, Any]  # name -> tree of arrays, of ShapeDtypeStructs or of shardings
NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
FULL = ("No space left", "RESOURCE_EXHAUSTED", "Disk quota")  # how TensorStore says it
UNREACHABLE = ("PERMISSION_DENIED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED")


class Damaged(Exception):
    """A checkpoint is not what was saved."""


class Restored(NamedTuple):
    """What a checkpoint holds."""

    trees: dict[str, Any]
    unlogged: list[dict[str, float]]  # numbers of the steps after the last line of the log


class _KeepBest:
    """Keeps the best of the checkpoints whose validation score is known (the newest of equals)."""

    def __init__(self, scores: Mapping[int, float]):
        self.scores = dict(scores)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        known = [step for step in steps if step in self.scores]
        best = max(known, key=lambda step: (self.scores[step], step), default=None)
        return [step == best for step in steps]


class Checkpointer(NamedTuple):
    """The open checkpoints of a workdir, and which of them are kept."""

    orbax: ocp.training.Checkpointer
    keep_best: _KeepBest


@contextlib.contextmanager
def open_checkpoints(
    workdir: AnyPath, scores: Mapping[int, float] = types.MappingProxyType({})
) -> Iterator[Checkpointer]:
    """Open `workdir/checkpoints`; an unfinished save is never seen.

    A plain best-N policy deletes the newest checkpoint when an older one is better, and a killed
    run would go back that far: the newest two are kept as well.

    Args:
        scores: step -> validation score, where it is known; each save brings newer ones.

    Raises:
        UserError: the folder cannot be made or read.
    """
    keep = ocp.training.preservation_policies
    folder, keep_best = workdir / "checkpoints", _KeepBest(scores)
    with _without_asides():
        try:
            with signals.deferred():
                orbax = ocp.training.Checkpointer(
                    checkpoint_mirror.local(folder),
                    save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
                    preservation_policy=keep.AnyPreservationPolicy([keep.LatestN(2), keep_best]),
                    cleanup_tmp_directories=True,
                )
        except OSError as error:
            raise UserError(f"{folder}: cannot be used: {error.strerror or error}") from error
        try:
            yield Checkpointer(orbax, keep_best)
        except BaseException:
            with contextlib.suppress(Exception):  # it would tell of the same failed save again
                orbax.close()
            raise
        orbax.close()


def exist(workdir: AnyPath) -> bool:
    """Return whether a run saved something here."""
    folder = workdir / "checkpoints"
    return folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir())


def begin_save(
    checkpointer: Checkpointer,
    step: int,
    trees: Trees,
    unlogged: list[dict[str, float]],
    scores: Mapping[int, float],
) -> Any:
    """Start to save the trees of a step; `finish_save` of the result waits for the end.

    The arrays may be given away only after that: on a CPU the copy that is written out may be the
    very memory.

    Args:
        scores: step -> validation score, of the steps before.
    """
    if step in steps(checkpointer):
        return None
    checkpointer.keep_best.scores = dict(scores)
    arrays = {name: fingerprints(tree) for name, tree in trees.items()}
    record = {"arrays": arrays, "unlogged": unlogged}
    with _writing(checkpointer):
        return checkpointer.orbax.save_checkpointables_async(
            step, dict(trees), custom_metadata=record | {"sha256": _sha256(record)}
        )


def finish_save(checkpointer: Checkpointer, started: Any) -> None:
    """Wait until the checkpoint is whole on disk.

    Raises:
        UserError: it could not be written; those before it are untouched.
    """
    if started is not None:
        with _writing(checkpointer):
            started.result()
            checkpoint_mirror.publish(checkpointer.orbax.directory)


def save(
    checkpointer: Checkpointer,
    step: int,
    trees: Trees,
    unlogged: list[dict[str, float]],
    scores: Mapping[int, float],
) -> None:
    """Save the trees of a step and wait until they are whole on disk."""
    finish_save(checkpointer, begin_save(checkpointer, step, trees, unlogged, scores))


def steps(checkpointer: Checkpointer) -> list[int]:
    """Return steps of all checkpoints, the newest last."""
    return sorted(checkpoint.step for checkpoint in checkpointer.orbax.checkpoints)


def best_first(checkpointer: Checkpointer, scores: Mapping[int, float]) -> list[int]:
    """Return steps of the validated checkpoints, the best first and the newest of equals."""
    known = [step for step in steps(checkpointer) if step in scores]
    return sorted(known, key=lambda step: (scores[step], step), reverse=True)


def restore_newest(checkpointer: Checkpointer, like: Trees, shardings: Trees) -> Restored | None:
    """Restore the newest checkpoint that is what was saved; None where there never was one.

    Damaged ones are put aside, since the run will save these steps again.

    Raises:
        UserError: all are damaged, or they belong to another network.
    """
    there = steps(checkpointer)
    for step in reversed(there):
        try:
            return restore(checkpointer, step, like, shardings)
        except Damaged as damage:
            say(f"{damage}; going on from the one before")
            _put_aside(checkpointer, step)
    if there:
        raise UserError(
            f"{checkpointer.orbax.directory}: no whole checkpoint is left (the damaged ones are in "
            "damaged_checkpoints); choose another --workdir to begin anew"
        )
    return None


def restore(checkpointer: Checkpointer, step: int, like: Trees, shardings: Trees) -> Restored:
    """Restore trees saved at `step` onto the devices of `shardings`, however many wrote them.

    Args:
        like: the wanted trees by name, of arrays or ShapeDtypeStructs of the expected shapes.

    Raises:
        Damaged: the files are not what was saved.
        UserError: the checkpoint belongs to another network, or cannot be reached.
    """
    where = f"{checkpointer.orbax.directory}/{step}"
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        dict(like),
        dict(shardings),
    )
    try:
        # A signal in the middle would come out of Orbax as a fault of the files.
        with signals.deferred(), _tasks_thrown_away():
            record = _record(checkpointer, step)
            for name, tree in abstract.items():
                _refuse_another_network(where, record["arrays"].get(name, {}), tree)
            trees = checkpointer.orbax.load_checkpointables(step, abstract)
    except (UserError, Damaged):
        raise
    except Exception as error:  # noqa: BLE001  each layer below has its own for a damaged file
        _refuse_unreachable(where, error)
        raise Damaged(f"{where} is damaged ({_first_line(error)})") from None
    for name, tree in trees.items():
        _check_fingerprints(where, record["arrays"][name], tree)
    if broken := not_finite(trees.get(EMA, {})):
        raise Damaged(f"{where} is of no use ({broken[0]} holds what is no number)")
    return Restored(trees, record["unlogged"])


def _check_fingerprints(where: str, saved: Mapping[str, str], tree: Any) -> None:
    found = fingerprints(tree)
    broken = [path for path, sum in saved.items() if found.get(path) != sum]
    if broken:
        raise Damaged(f"{where} is damaged ({broken[0]} is not what was saved)")


@contextlib.contextmanager
def _without_asides() -> Iterator[None]:
    """Silence Orbax, which logs pages of traces beside the exceptions that it raises."""
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        absl.logging.set_verbosity(verbosity)


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


def _record(checkpointer: Checkpointer, step: int) -> dict[str, Any]:
    record = dict(checkpointer.orbax.metadata(step).custom_metadata)
    if record.pop("sha256", None) != _sha256(record):
        raise Damaged(f"{checkpointer.orbax.directory}/{step} is damaged (its record is)")
    return record


def _sha256(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _refuse_another_network(where: str, saved: Mapping[str, str], abstract: Any) -> None:
    """Refuse arrays of other shapes: Orbax returns the shape on disk without a word."""
    have = {path: described.split()[0] for path, described in saved.items()}
    want = {
        jax.tree_util.keystr(path, simple=True, separator="/"): form(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(abstract)
    }
    for path in sorted(have.keys() | want.keys()):
        if have.get(path) != want.get(path):
            raise UserError(
                f"{where}: {path} is {have.get(path, 'not there')}, "
                f"this network needs {want.get(path, 'none')}"
            )


def _refuse_unreachable(where: str, error: Exception) -> None:
    refused = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    if refused or any(word in str(error) for word in UNREACHABLE):
        raise UserError(f"{where}: cannot be read: {_first_line(error)}") from error


def _put_aside(checkpointer: Checkpointer, step: int) -> None:
    if processes.is_first():
        checkpoint_mirror.put_aside(checkpointer.orbax.directory, step)
    processes.wait_for_all("damaged checkpoint put aside")
    checkpointer.orbax.reload()


@contextlib.contextmanager
def _writing(checkpointer: Checkpointer) -> Iterator[None]:
    """Turn a full or read-only disk into one line, and leave no half-written folder there."""
    try:
        yield
    except Exception as error:
        full = any(word in str(error) for word in FULL)
        if not full and getattr(error, "errno", None) not in NOT_WRITABLE:
            raise
        for remains in checkpointer.orbax.directory.glob("*.orbax-checkpoint-tmp*"):
            remains.rmtree(missing_ok=True)
        where = checkpoint_mirror.shown(checkpointer.orbax.directory)
        raise UserError(
            f"{where}: cannot be written ({'no space left' if full else _first_line(error)}); the "
            "checkpoints before are whole: make room, and the same command goes on"
        ) from error


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
