"""Where arrays live: one ("data", "fsdp") mesh over all devices of all hosts.

One device is the special case of a (1, 1) mesh; no other file asks how many devices there are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from defect_jax.runtime.errors import UserError

AXES = ("data", "fsdp")
MIN_SHARDED_SIZE = 2**14  # smaller arrays are replicated: sharding them costs more than it saves


def make_mesh(data: int, fsdp: int) -> Mesh:
    """Build the mesh; `data` = -1 takes all devices that `fsdp` leaves.

    Raises:
        UserError: the axes do not multiply to the number of devices.
    """
    devices = jax.device_count()
    data = devices // fsdp if data == -1 else data
    if data * fsdp != devices:
        raise UserError(
            f"config.mesh: data {data} x fsdp {fsdp} does not make the {devices} devices there "
            "are; set config.mesh.data to -1 to take all"
        )
    return mesh_of(jax.devices(), data, fsdp)


def mesh_of(devices: Sequence[jax.Device], data: int, fsdp: int) -> Mesh:
    """Lay devices out; of several TPU slices, whose network is slow, "data" alone goes across.

    Raises:
        UserError: "fsdp" would have to reach from one slice into the next.
    """
    chips = [device for device in devices if device.platform == "tpu"]
    slices = len({getattr(chip, "slice_index", 0) for chip in chips})  # one slice has no number
    if slices <= 1:
        # Alone it would choose Explicit axes, which want a sharding for every ambiguous operation.
        return jax.make_mesh((data, fsdp), AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)
    if data % slices:
        raise UserError(
            f"config.mesh.data is {data}: it must be a multiple of the {slices} TPU slices"
        )
    shape = (data // slices, fsdp)
    laid_out = mesh_utils.create_hybrid_device_mesh(
        shape, (slices, 1), devices, allow_split_physical_axes=True
    )
    return Mesh(laid_out, AXES, axis_types=(AxisType.Auto,) * 2)


def one_device_mesh() -> Mesh:
    """Return a mesh of the first device alone, whatever else there is.

    Programs on one device may be started from several threads; on several, each thread would wait
    for devices that another holds, for ever.
    """
    devices = np.array(jax.local_devices()[:1]).reshape(1, 1)
    return Mesh(devices, AXES, axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of the same values on every device."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of a batch: every device has its own images."""
    return NamedSharding(mesh, P(("data", "fsdp")))


def rows_of_process(mesh: Mesh, batch_size: int) -> list[int]:
    """Return rows of the global batch that this process's devices hold, in order.

    Which they are depends on how JAX laid the mesh over the hosts.
    """
    places = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    rows = {row for (part,) in places.values() for row in range(*part.indices(batch_size))}
    return sorted(rows)


def state_sharding(mesh: Mesh, shapes: Any, min_size: int = MIN_SHARDED_SIZE) -> Any:
    """Shard large arrays along their widest axis that "fsdp" divides, and replicate the rest.

    Args:
        mesh: of `make_mesh`.
        shapes: tree of arrays or ShapeDtypeStructs.
        min_size: elements under which an array is replicated.

    Returns:
        The same tree with a NamedSharding at each leaf.
    """
    parts = mesh.shape["fsdp"]

    def leaf(array: Any) -> NamedSharding:
        axes = [axis for axis, size in enumerate(array.shape) if size % parts == 0]
        if parts == 1 or array.size < min_size or not axes:
            return replicated(mesh)
        widest = max(axes, key=lambda axis: array.shape[axis])
        return NamedSharding(mesh, P(*[None] * widest, "fsdp"))

    return jax.tree.map(leaf, shapes)


def to_global(mesh: Mesh) -> Callable[[Any], Any]:
    """Return the function that makes global arrays of this process's part of a batch."""
    sharding = batch_sharding(mesh)

    def place(batch: Any) -> Any:
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(sharding, np.asarray(array)), batch
        )

    return place


def place_state(state: Any, shardings: Any) -> Any:
    """Put host arrays where `shardings` says; every process holds the same host arrays."""

    def leaf(array: Any, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    with jax.transfer_guard(
        "allow"
    ):  # JAX counts this transfer as implicit, though it is asked for
        return jax.tree.map(leaf, state, shardings)
