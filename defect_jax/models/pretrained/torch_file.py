"""Tensors of a PyTorch `.pth` file as NumPy arrays; PyTorch is not needed, and no code can run.

The layout is that of PyTorch before 1.6: five pickle streams (a magic number, the version of the
format, facts of the machine, the state dict, the names of its storages), then for each storage how
many numbers it has, in eight bytes, and the numbers.
"""

import hashlib
import math
import pathlib
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import numpy as np

from defect_jax.models.pretrained.pickle_stream import (
    NotAllowed,
    Storage,
    StoredTensor,
    read_stream,
)
from defect_jax.runtime.errors import UserError

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
COUNT_BYTES = 8
MOST_AXES = 8


def read_torch_file(path: pathlib.Path, size_bytes: int, sha256: str) -> dict[str, np.ndarray]:
    """Return the tensors of a file that is exactly the one known by its size and digest.

    Raises:
        UserError: it cannot be read, is another file, or holds something other than tensors.
    """
    try:
        with path.open("rb") as file:
            data = file.read(size_bytes + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) != size_bytes or hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(
            f"{path}: is not the file that belongs there, whose SHA-256 begins with {sha256[:8]}: "
            "install its package again"
        )
    try:
        return parse_tensors(data)
    except NotAllowed as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def parse_tensors(data: bytes) -> dict[str, np.ndarray]:
    """Return the tensors in the bytes of a file, each as a C-contiguous array of its own.

    Raises:
        NotAllowed: they hold something other than tensors, or are damaged.
    """
    file = BytesIO(data)
    _check_head(read_stream(file), read_stream(file), read_stream(file))
    tensors = _checked_tensors(read_stream(file))
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    arrays = _read_storages(data, file, storages)
    return {name: _array(tensor, arrays[tensor.storage.key]) for name, tensor in tensors.items()}


def _check_head(magic: Any, version: Any, machine: Any) -> None:
    if type(magic) is not int or magic != MAGIC or type(version) is not int or version != VERSION:
        raise NotAllowed("it is not a file of PyTorch in the format that is read here")
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise NotAllowed("it was not written on a little-endian machine")


def _checked_tensors(state: Any) -> dict[str, StoredTensor]:
    """Refuse all but a dict of tensors that lie within their storages, once in all."""
    if type(state) is not dict or not state:
        raise NotAllowed("it holds no state dict")
    storages: dict[str, Storage] = {}
    for name, tensor in state.items():
        if type(tensor) is not StoredTensor:
            raise NotAllowed(f"{name[:80]!r} is not a tensor")
        storage = tensor.storage
        if storages.setdefault(storage.key, storage) != storage:
            raise NotAllowed(f"the storage {storage.key[:80]!r} is described in two ways")
        _check_place(name, tensor)
    # Tensors that overlap, a thousand times the same storage, would ask for all of the memory.
    if _total(state.values()) > sum(storage.count for storage in storages.values()):
        raise NotAllowed("its tensors have more numbers than its storages")
    return state


def _total(tensors: Iterable[StoredTensor]) -> int:
    return sum(math.prod(tensor.shape) for tensor in tensors)


def _check_place(name: str, tensor: StoredTensor) -> None:
    shape, strides, count = tensor.shape, tensor.strides, tensor.storage.count
    if len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise NotAllowed(f"{name[:80]!r} has {len(shape)} sizes and {len(strides)} strides")
    if min(shape, default=1) < 1 or min(strides, default=0) < 0 or tensor.offset < 0:
        raise NotAllowed(f"{name[:80]!r} has a size, stride or offset that cannot be")
    steps = (stride * (size - 1) for size, stride in zip(shape, strides, strict=True))
    if tensor.offset + sum(steps) >= count or math.prod(shape) > count:
        raise NotAllowed(f"{name[:80]!r} reaches beyond its storage")


def _read_storages(
    data: bytes, file: BytesIO, storages: dict[str, Storage]
) -> dict[str, np.ndarray]:
    """Return the numbers behind the streams, as they lie in `data`: nothing is copied."""
    keys = read_stream(file)
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise NotAllowed("it has no list of its storages")
    if len(keys) != len(storages) or set(keys) != set(storages):
        raise NotAllowed("its list of storages is not that of its tensors")
    arrays, start = {}, file.tell()
    for key in keys:
        count, dtype = storages[key].count, np.dtype(storages[key].dtype)
        found = int.from_bytes(data[start : start + COUNT_BYTES], "little")
        start += COUNT_BYTES
        if found != count or start + count * dtype.itemsize > len(data):
            raise NotAllowed("it is damaged, or cut short, where its numbers are")
        arrays[key] = np.frombuffer(data, dtype, count, start)
        start += count * dtype.itemsize
    if start != len(data):
        raise NotAllowed(f"it has {len(data) - start} bytes behind its end")
    return arrays


def _array(tensor: StoredTensor, numbers: np.ndarray) -> np.ndarray:
    """Return the tensor's part of its storage; convolutions may lie there in another order."""
    pairs = zip(tensor.shape, tensor.strides, strict=True)
    # The stride of an axis of one says nothing, and may be any number.
    strides = [stride * numbers.itemsize if size > 1 else 0 for size, stride in pairs]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides)
    return view.astype(numbers.dtype.newbyteorder("="), order="C")
