"""Checkpoints with Orbax: the newest two and the best one are kept; arrays and JSON only.

All use of Orbax is in this file, because its v1 interface still lives under `experimental`.
"""

import pathlib
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from defect_jax.errors import UserError

SELECTION = "selection"  # the validation score that decides which checkpoint is best


def open_checkpoints(workdir: pathlib.Path) -> ocp.training.Checkpointer:
    """Opens `workdir/checkpoints`, a context manager; an unfinished save is never seen.

    A plain best-N policy deletes the newest checkpoint when an older one is better, and a killed
    run would
    go back that far: the newest two are kept as well.
    """
    keep = ocp.training.preservation_policies
    best = keep.BestN(
        get_metric_fn=lambda metrics: metrics[SELECTION],
        n=1,
        keep_checkpoints_without_metrics=False,
    )
    return ocp.training.Checkpointer(
        (workdir / "checkpoints").absolute(),
        save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
        preservation_policy=keep.AnyPreservationPolicy([keep.LatestN(2), best]),
        cleanup_tmp_directories=True,
    )


def save(checkpointer: ocp.training.Checkpointer, state: Any, selection: float) -> None:
    """Saves the state of its own step and waits until it is whole on disk."""
    step = int(jax.device_get(state.step))
    if step not in [checkpoint.step for checkpoint in checkpointer.checkpoints]:
        checkpointer.save_checkpointables(
            step, {"state": state}, metrics={SELECTION: float(selection)}
        )


def newest_step(checkpointer: ocp.training.Checkpointer) -> int | None:
    """Step of the newest whole checkpoint, or None."""
    latest = checkpointer.latest
    return None if latest is None else latest.step


def best_step(workdir: pathlib.Path) -> int:
    """Step of the checkpoint with the highest validation score (the newest of equals).

    Raises:
        UserError: there is no checkpoint.
    """
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        raise UserError(f"{folder}: no checkpoint there; train first, or name another --workdir")
    with open_checkpoints(workdir) as checkpointer:
        scores = {c.step: (c.metrics[SELECTION], c.step) for c in checkpointer.checkpoints}
    if not scores:
        raise UserError(
            f"{folder}: no whole checkpoint there; train first, or name another --workdir"
        )
    return max(scores, key=scores.get)


def restore(checkpointer: ocp.training.Checkpointer, step: int, like: Any, shardings: Any) -> Any:
    """Restores the state saved at `step` onto the devices of `shardings`, however many wrote it.

    Args:
        like: a tree of arrays or ShapeDtypeStructs of the expected shapes.

    Raises:
        UserError: the checkpoint does not fit `like`, so it belongs to another network.
    """
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        like,
        shardings,
    )
    where = f"{checkpointer.directory}/{step}"
    try:
        state = checkpointer.load_checkpointables(step, {"state": abstract})["state"]
    except (ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"{where}: cannot be restored into this network: {reason}") from error
    # Orbax returns the shape on disk without a word when it differs from the one asked for.
    for (path, want), got in zip(
        jax.tree_util.tree_leaves_with_path(abstract), jax.tree.leaves(state), strict=True
    ):
        if want.shape != got.shape:
            raise UserError(
                f"{where}: {jax.tree_util.keystr(path)} has shape {got.shape}, "
                f"this network needs {want.shape}"
            )
    return state
