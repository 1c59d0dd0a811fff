"""A run that goes on with other devices computes what it would have computed with the old ones."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from defect_jax.configs import synthetic
from defect_jax.distributed.sharding import place_state, replicated, state_sharding, to_global
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.training.optimizer import make_tx
from defect_jax.training.steps import (
    create_state,
    from_checkpointables,
    make_train_step,
    to_checkpointables,
)
from defect_jax.workdir import checkpoints

BEFORE, AFTER = 3, 2  # steps
LAYOUTS = {"8": (8, 1), "1": (1, 1), "2x4": (2, 4)}


def batch_of(step):
    rng = np.random.default_rng(step)
    mask = np.zeros((8, 16, 16), np.uint8)
    mask[::2, 4:9, 5:11] = 1
    image = rng.integers(60, 120, (8, 16, 16, 1)) + 90 * mask[..., None]
    return {
        "image": np.float32(image / 255),
        "mask": mask,
        "valid": np.ones_like(mask, bool),
        "label": mask.any(axis=(1, 2)).astype(np.float32),
        "masked": np.ones(8, np.float32),
    }


class Trained:
    """One layout: its compiled step, and the state after BEFORE steps on it, saved."""

    def __init__(self, data, fsdp, folder):
        config = ConfigDict(synthetic.get_config("debug").to_dict())
        config.model.update({"widths": (4, 8), "decoder": "unet"})
        config.balance.method = "gradnorm"
        config.data.size, config.data_info = (16, 16), {"mean": 0.4, "std": 0.1}
        devices = np.array(jax.devices()[: data * fsdp]).reshape(data, fsdp)
        self.mesh = Mesh(devices, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
        network, tx = SegmentationNetwork(**config.model), make_tx(config)
        first = create_state(initial_variables(network, (1, 16, 16, 1), 0), tx)
        self.shardings = state_sharding(self.mesh, first, 64)
        self.like = place_state(first, self.shardings)
        out = (self.shardings, replicated(self.mesh))
        self.step = jax.jit(make_train_step(network, config), out_shardings=out)
        state, _ = self.go_on(self.like, BEFORE)
        self.folder = folder
        with checkpoints.open_checkpoints(folder) as checkpointer:
            checkpoints.save(checkpointer, BEFORE, to_checkpointables(state), [], {})
        _, self.losses = self.go_on(state, AFTER)

    def go_on(self, state, steps):
        losses = []
        for _ in range(steps):
            batch = to_global(self.mesh)(batch_of(int(state.step)))
            state, metrics = self.step(state, batch)
            losses.append({name: float(value) for name, value in metrics.items()})
        return state, losses

    def restored_from(self, folder):
        wanted = to_checkpointables(self.like), to_checkpointables(self.shardings)
        with checkpoints.open_checkpoints(folder) as checkpointer:
            return from_checkpointables(checkpoints.restore_newest(checkpointer, *wanted).trees)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    return {name: Trained(*shape, tmp_path_factory.mktemp(name)) for name, shape in LAYOUTS.items()}


@pytest.mark.parametrize(("saved", "restored"), [("8", "1"), ("1", "8"), ("8", "2x4")])
def test_the_next_losses_are_those_of_the_run_that_was_saved(layouts, saved, restored):
    there, here = layouts[saved], layouts[restored]
    state = here.restored_from(there.folder)
    assert int(state.step) == BEFORE
    _, losses = here.go_on(state, AFTER)
    for mine, theirs in zip(losses, there.losses, strict=True):
        for name in mine:
            if name.startswith("loss"):
                assert mine[name] == pytest.approx(theirs[name], rel=1e-5), name


def test_the_same_devices_go_on_bit_for_bit(layouts):
    for layout in layouts.values():
        _, losses = layout.go_on(layout.restored_from(layout.folder), AFTER)
        assert losses == layout.losses
