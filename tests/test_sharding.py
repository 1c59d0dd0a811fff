"""Mesh and shardings on eight devices."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from defect_jax.distributed import sharding
from defect_jax.distributed.sharding import (
    batch_sharding,
    make_mesh,
    place_state,
    replicated,
    rows_of_process,
    state_sharding,
    to_global,
)
from defect_jax.runtime.errors import UserError


@pytest.mark.parametrize(
    ("data", "fsdp", "shape"), [(-1, 1, (8, 1)), (-1, 4, (2, 4)), (2, 4, (2, 4)), (1, 8, (1, 8))]
)
def test_mesh_takes_all_devices(data, fsdp, shape):
    mesh = make_mesh(data, fsdp)
    assert mesh.axis_names == ("data", "fsdp") and mesh.devices.shape == shape


@pytest.mark.parametrize(("data", "fsdp"), [(3, 1), (-1, 3), (8, 8)])
def test_mesh_that_does_not_fit_names_the_field(data, fsdp):
    with pytest.raises(UserError, match="config.mesh: .* the 8 devices"):
        make_mesh(data, fsdp)


def test_large_arrays_are_split_along_their_widest_axis_that_divides():
    mesh = make_mesh(2, 4)
    shapes = {
        "kernel": np.zeros((3, 3, 64, 128)),
        "odd": np.zeros((3, 3, 61, 127)),
        "bias": np.zeros(128),
    }
    shardings = state_sharding(mesh, shapes)
    assert shardings["kernel"].spec == P(None, None, None, "fsdp")
    assert shardings["odd"].spec == P()
    assert shardings["bias"].spec == P()
    assert state_sharding(make_mesh(8, 1), shapes)["kernel"].spec == P()


def test_values_arrive_where_they_belong():
    mesh = make_mesh(2, 4)
    tree = {"kernel": np.arange(64 * 512, dtype=np.float32).reshape(64, 512), "step": np.int32(3)}
    placed = place_state(tree, state_sharding(mesh, tree))
    assert placed["kernel"].addressable_shards[0].data.shape == (64, 128)
    jax.tree.map(np.testing.assert_array_equal, placed, tree)
    batch = to_global(mesh)({"image": np.arange(16.0)})
    assert batch["image"].sharding == batch_sharding(mesh)
    assert batch["image"].addressable_shards[0].data.shape == (2,)
    assert replicated(mesh).spec == P()


def test_rows_of_one_process_are_all_of_them():
    assert rows_of_process(make_mesh(2, 4), 16) == list(range(16))


class Chip:
    """A TPU that is not there."""

    platform, device_kind, core_on_chip = "tpu", "TPU v5 lite", 0

    def __init__(self, number):
        self.id, self.process_index = number, number // 4
        self.slice_index, place = divmod(number, 8)
        self.coords = (place % 4, place // 4, 0)


@pytest.fixture
def two_slices(monkeypatch):
    monkeypatch.setattr(sharding, "Mesh", lambda devices, *_, **__: devices)
    return [Chip(number) for number in range(16)]


@pytest.mark.parametrize(("data", "fsdp"), [(16, 1), (8, 2), (4, 4), (2, 8)])
def test_of_several_slices_parameters_stay_within_one(two_slices, data, fsdp):
    devices = sharding.mesh_of.__wrapped__(two_slices, data, fsdp)
    assert devices.shape == (data, fsdp)
    for row in devices:
        assert len({chip.slice_index for chip in row}) == 1
    assert len({chip.id for chip in devices.flat}) == 16


def test_chips_of_one_slice_need_no_number_of_it(two_slices, monkeypatch):
    monkeypatch.setattr(sharding.jax, "make_mesh", lambda shape, *_, **__: shape)
    alone = two_slices[:8]
    for chip in alone:
        del chip.slice_index
    assert sharding.mesh_of.__wrapped__(alone, 4, 2) == (4, 2)


def test_parameters_over_several_slices_are_refused(two_slices):
    with pytest.raises(UserError, match="config.mesh.data is 1: .* 2 TPU slices"):
        sharding.mesh_of.__wrapped__(two_slices, 1, 16)
