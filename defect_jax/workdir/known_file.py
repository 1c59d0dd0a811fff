"""known.safetensors: what the images of training and validation look like to a checkpoint.

The format holds numbers and nothing else. The file belongs to one checkpoint, and is as good as not
there for any other; so is it for a workdir that was trained before there was such a file.
"""

import hashlib
import json
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from defect_jax.decision.look import PERCENTILES, WATCHED, Look
from defect_jax.decision.unlike import Known
from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import limited_bytes
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir.fingerprints import fingerprints

FILE = "known.safetensors"
VERSION = 1
MOST_BYTES = 512 << 20
MOST_STATISTICS = 1 << 14
AGAIN = "delete it, and run --mode=evaluate again"
HEAD = ("version", "checkpoint_step", "prune")
FIELDS = (*HEAD, "digest", *Known._fields)


def digest_of(ema: Any) -> bytes:
    """Return 32 bytes that other weights do not have; of a tuple those of all members.

    All hosts must call it.
    """
    return hashlib.sha256(json.dumps(fingerprints(ema), sort_keys=True).encode()).digest()


def write(workdir: AnyPath, known: Known, step: int, prune: int, digest: bytes) -> None:
    """Write the file, whole or not at all.

    Args:
        step, prune, digest: of the checkpoint that the numbers are of.
    """
    head = zip(HEAD, (VERSION, step, prune), strict=True)
    arrays = {name: np.array([value], np.int64) for name, value in head}
    arrays["digest"] = np.frombuffer(digest, np.uint8)
    for name, array in known._asdict().items():
        arrays[name] = np.ascontiguousarray(array, np.float32)
    atomic_files.write_bytes(workdir / FILE, safetensors.numpy.save(arrays))


def read(workdir: AnyPath, step: int, prune: int, digest: bytes) -> Known | None:
    """Return what is known of a checkpoint's images.

    Args:
        step, prune, digest: of the checkpoint.

    Returns:
        None where there is no such file, or it is of another checkpoint.

    Raises:
        UserError: the file is there and is none.
    """
    path = workdir / FILE
    try:
        data = limited_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        return None
    arrays = _arrays(path, data)
    _check(path, arrays)
    of = int(arrays["checkpoint_step"][0]), int(arrays["prune"][0]), arrays["digest"].tobytes()
    return Known(*(arrays[n] for n in Known._fields)) if of == (step, prune, digest) else None


def _arrays(path: AnyPath, data: bytes) -> dict[str, np.ndarray]:
    try:
        arrays = safetensors.numpy.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is not a whole .safetensors file ({error}): {AGAIN}") from None
    version = arrays.get("version", np.zeros(1))
    if version.shape == (1,) and version[0] > VERSION:
        raise UserError(f"{path}: was written by a later version of defect_jax: {AGAIN}")
    if arrays.keys() != set(FIELDS):
        odd = sorted(arrays.keys() ^ set(FIELDS))[0]
        raise UserError(f"{path}: {odd[:100]!r} is missing or not known: {AGAIN}")
    return arrays


def _check(path: AnyPath, arrays: dict[str, np.ndarray]) -> None:
    """Refuse arrays of other types or shapes than are written, or with what is no number."""
    centre, distances = arrays["centre"], arrays["distances"]
    if centre.ndim != 2 or distances.ndim != 2 or 0 in (*centre.shape, *distances.shape):
        raise UserError(f"{path}: centre and distances must have a row a member: {AGAIN}")
    parts = int(np.count_nonzero(distances >= 0))
    if not parts:
        raise UserError(f"{path}: distances holds no validation part: {AGAIN}")
    members, n = centre.shape
    shapes = dict.fromkeys(HEAD, (1,)) | {
        "digest": (32,),
        "centre": (members, min(n, MOST_STATISTICS)),
        "whitening": (members, n, n),
        "distances": (members, distances.shape[1]),
        "looks": (len(PERCENTILES), len(Look._fields)),
        "watched": (parts, len(WATCHED) - (members > 1)),
    }
    for name, shape in shapes.items():
        wanted = np.int64 if name in HEAD else np.uint8 if name == "digest" else np.float32
        array = arrays[name]
        if array.dtype != wanted or array.shape != shape:
            kind = f"{array.dtype}{list(array.shape)}"
            wanted = f"{np.dtype(wanted)}{list(shape)}"
            raise UserError(f"{path}: {name} must be {wanted}, not {kind}: {AGAIN}")
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {name} holds what is no number: {AGAIN}")
