"""What the hosts of one run tell each other; with one host, nothing."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from defect_jax.runtime.errors import UserError


def is_first() -> bool:
    """Return whether this process is the one that writes files and speaks."""
    return jax.process_index() == 0


def wait_for_all(where: str) -> None:
    """Return when every host has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def from_first(value: Callable[[], Any]) -> Any:
    """Return what `value` returns on the first host, on all of them; the others do not call it.

    Hosts that share a file system may for a while see different files in it.

    Args:
        value: returns what JSON can hold.
    """
    if jax.process_count() == 1:
        return value()
    text = json.dumps(value()).encode() if is_first() else b""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    sent = np.frombuffer(text.ljust(length), np.uint8)
    return json.loads(multihost_utils.broadcast_one_to_all(sent[:length]).tobytes())


def from_all(text: str, most_bytes: int = 256) -> list[str]:
    """Return the texts of all hosts, by process."""
    own = np.frombuffer(text.encode()[:most_bytes].ljust(most_bytes), np.uint8)
    rows = multihost_utils.process_allgather(own).reshape(-1, most_bytes)
    return [row.tobytes().decode(errors="replace").rstrip() for row in rows]


def refuse_disagreement(what: str, value: Any) -> None:
    """Stop hosts that would compute different things and mix them.

    Raises:
        UserError: naming the processes that have another `value` than the first.
    """
    if jax.process_count() == 1:
        return
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    digests = from_all(digest)
    others = [str(index) for index, other in enumerate(digests) if other != digests[0]]
    if others:
        raise UserError(f"{what} of process {', '.join(others)} differs from that of process 0")
