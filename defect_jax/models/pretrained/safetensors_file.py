"""Tensors of a `.safetensors` file as NumPy arrays; the format holds numbers and nothing else."""

import os
import pathlib
import stat

import numpy as np
import safetensors

from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, is_remote, read_bytes

MOST_BYTES = 2**31  # ten times the largest encoder that is known here
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
INTEGERS = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


def read_file(path: AnyPath) -> bytes:
    """Return the bytes of a file on a disk or in a bucket; on a disk, a regular one alone.

    Raises:
        UserError: it cannot be read, or is larger than weights are.
    """
    try:
        data = read_bytes(path) if is_remote(path) else _read_regular(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise UserError(f"{path}: has more than {MOST_BYTES:,} bytes: give the file of an encoder")
    return data


def _read_regular(path: pathlib.Path) -> bytes:
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):  # a FIFO would be waited for
        raise OSError(0, "it is no regular file")
    if facts.st_size > MOST_BYTES:
        raise OSError(0, f"it has {facts.st_size:,} bytes, more than an encoder takes")
    return path.read_bytes()


def parse_tensors(name: str, data: bytes) -> dict[str, np.ndarray]:
    """Return the tensors in the bytes of a file; floating-point ones become float32.

    Raises:
        UserError: they are no such file, hold nothing, or numbers of a kind that is not known;
            `name` is named.
    """
    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise UserError(f"{name}: is not a whole .safetensors file: {error}") from None
    if not entries:
        raise UserError(f"{name}: holds no tensors")
    return {key: _array(name, key, entry) for key, entry in entries}


def _array(name: str, key: str, entry: dict) -> np.ndarray:
    kind, data = entry["dtype"], entry["data"]
    if kind == "BF16":  # the upper half of a float32
        numbers = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind in FLOATS:
        with np.errstate(over="ignore"):  # what becomes infinite is refused by whoever reads it
            numbers = np.frombuffer(data, FLOATS[kind]).astype(np.float32)
    elif kind in INTEGERS:
        numbers = np.frombuffer(data, INTEGERS[kind])
        numbers = numbers.astype(numbers.dtype.newbyteorder("="))
    else:
        raise UserError(
            f"{name}: {key!r} has numbers of the kind {kind}: save them as float32, F16 or BF16"
        )
    return numbers.reshape(entry["shape"])
