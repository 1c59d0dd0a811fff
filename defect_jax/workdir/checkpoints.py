"""Writing checkpoints with Orbax: the newest two and the best one are kept; arrays and JSON only.

All use of Orbax is in this file and in `saved_checkpoints`, because its v1 interface still lives
under `experimental`. What is here deletes and puts aside: it is for the one process that trains in
the workdir, see `locks.training`.
"""

import contextlib
import errno
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import v1 as ocp

from defect_jax.distributed import processes
from defect_jax.runtime import signals
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import checkpoint_mirror, saved_checkpoints
from defect_jax.workdir.checkpoint_record import STEP
from defect_jax.workdir.fingerprints import fingerprints
from defect_jax.workdir.saved_checkpoints import Damaged, Restored, Trees, first_line

NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
FULL = ("No space left", "RESOURCE_EXHAUSTED", "Disk quota")  # how TensorStore says it


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
    with saved_checkpoints.without_asides():
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
        except ValueError as error:  # Orbax reads what each of them says of itself
            raise UserError(
                f"{folder}: a _CHECKPOINT_METADATA there is none ({first_line(error)}): move the "
                "folder that it is in elsewhere, and the same command goes on"
            ) from error
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
    record = {"arrays": arrays, "unlogged": unlogged, STEP: step}
    with _writing(checkpointer):
        return checkpointer.orbax.save_checkpointables_async(
            step, dict(trees), custom_metadata=saved_checkpoints.sealed(record)
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


def restore_newest(checkpointer: Checkpointer, like: Trees, shardings: Trees) -> Restored | None:
    """Restore the newest checkpoint that is what was saved; None where there never was one.

    Damaged ones are put aside, since the run will save these steps again.

    Raises:
        UserError: all are damaged, or they belong to another network.
    """
    there = steps(checkpointer)
    for step in reversed(there):
        try:
            return saved_checkpoints.restore(checkpointer.orbax.directory, step, like, shardings)
        except Damaged as damage:
            say(f"{damage}; going on from the one before")
            _put_aside(checkpointer, step)
    if there:
        raise UserError(
            f"{checkpointer.orbax.directory}: no whole checkpoint is left (the damaged ones are in "
            "damaged_checkpoints); choose another --workdir to begin anew"
        )
    return None


def _put_aside(checkpointer: Checkpointer, step: int) -> None:
    if processes.is_first():
        checkpoint_mirror.put_aside(checkpointer.orbax.directory, step)
    processes.wait_for_all("damaged checkpoint put aside")
    checkpointer.orbax.reload()


@contextlib.contextmanager
def _writing(checkpointer: Checkpointer) -> Iterator[None]:
    """Turn a full or read-only disk into one line, and leave no half-written folder there."""
    try:
        # Orbax copies arrays to the host without asking, which the guard around the loop forbids.
        with jax.transfer_guard_device_to_host("allow"):
            yield
    except Exception as error:
        full = any(word in str(error) for word in FULL)
        if not full and getattr(error, "errno", None) not in NOT_WRITABLE:
            raise
        for remains in checkpointer.orbax.directory.glob("*.orbax-checkpoint-tmp*"):
            remains.rmtree(missing_ok=True)
        where = checkpoint_mirror.shown(checkpointer.orbax.directory)
        raise UserError(
            f"{where}: cannot be written ({'no space left' if full else first_line(error)}); the "
            "checkpoints before are whole: make room, and the same command goes on"
        ) from error
