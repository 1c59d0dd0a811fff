"""Forked processes: JAX's threads are not copied into them, and whatever waits for one, hangs."""

import os

from defect_jax.runtime.errors import UserError


class _Process:
    """Which process JAX computes in; a fork inherits the number."""

    computing: int | None = None


def refuse_fork() -> None:
    """Note that this process computes; refuse where a parent did before it was forked.

    Raises:
        UserError: see above; JAX would hang here, without a word.
    """
    if _Process.computing not in (None, os.getpid()):
        raise UserError(
            f"process {os.getpid()} was forked from one that had loaded a network (process "
            f"{_Process.computing}), and JAX would hang in it: start processes with "
            'multiprocessing.get_context("spawn") and load the network in each, or use threads'
        )
    _Process.computing = os.getpid()
