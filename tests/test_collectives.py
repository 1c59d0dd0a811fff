"""What the devices tell each other in a training step, counted in the compiled program.

Golden: a change here makes every step on every machine slower or faster.
"""

import math
import re
from collections import Counter

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from defect_jax.configs import synthetic
from defect_jax.distributed.sharding import make_mesh, to_global
from defect_jax.models.network import SegmentationNetwork
from defect_jax.training.fit import initial_state
from defect_jax.training.optimizer import make_tx
from defect_jax.training.programs import MEASURING_STEP, STEP, UPDATE, make_programs

KINDS = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
LINE = re.compile(rf"= (.*?) ({KINDS})(?:-start)?\(")
SHAPE = re.compile(r"[a-z]+\d+\[([\d,]*)\]")
SMALL = 0.03  # of the parameters: batch statistics, losses and norms


def sent(program):
    """Kind of collective -> shapes of what it moves."""
    shapes = {}
    for line in program.splitlines():
        found = LINE.search(line)
        if found:
            parts = [tuple(map(int, filter(None, s.split(",")))) for s in SHAPE.findall(found[1])]
            shapes.setdefault(found[2], []).extend(parts)
    return shapes


def elements(shapes):
    return sum(math.prod(shape) for shape in shapes)


@pytest.fixture(scope="module")
def programs():
    """(data, fsdp) -> step -> collectives, and the parameters of the network."""
    config = ConfigDict(synthetic.get_config("debug").to_dict())
    config.model.widths = (8, 16, 64)
    config.model.decoder, config.model.attention = "unet", "none"  # compiles faster
    config.balance.method, config.balance.measure_every_steps = "gradnorm", 3
    config.data_info = {"channels": 1, "mean": 0.5, "std": 0.2}
    network, tx = SegmentationNetwork(**config.model), make_tx(config)
    found = {}
    for shape in ((8, 1), (2, 4)):
        mesh = make_mesh(*shape)
        state, shardings = initial_state(network, tx, config, mesh, {})
        batch = {
            "image": np.zeros((8, 32, 32, 1), np.float32),
            "mask": np.zeros((8, 32, 32), np.uint8),
            "valid": np.ones((8, 32, 32), bool),
            "label": np.zeros(8, np.float32),
            "masked": np.ones(8, np.float32),
        }
        programs = make_programs(network, config, mesh, shardings)
        jitted = programs.to_compile(state, to_global(mesh)(batch))
        text = {name: of.lower(*given).compile().as_text() for name, (of, given) in jitted.items()}
        found[shape] = {name: sent(text[name] + text[UPDATE]) for name in programs.gradients}
    return found, state.params


def test_data_parallel_reduces_each_gradient_once_and_gathers_nothing(programs):
    found, params = programs
    everything = sum(leaf.size for leaf in jax.tree.leaves(params))
    moved = found[8, 1][STEP]
    assert set(moved) == {"all-reduce"}
    assert 1.0 <= elements(moved["all-reduce"]) / everything < 1.0 + SMALL


def test_measuring_reduces_the_shared_gradients_once_a_task(programs):
    found, params = programs
    everything = sum(leaf.size for leaf in jax.tree.leaves(params))
    shared = sum(leaf.size for leaf in jax.tree.leaves(params["encoder"]))
    moved = found[8, 1][MEASURING_STEP]
    assert set(moved) == {"all-reduce"}
    assert 1.0 <= elements(moved["all-reduce"]) / (everything + shared) < 1.0 + SMALL


@pytest.mark.parametrize(("step", "times"), [(STEP, 2), (MEASURING_STEP, 3)])
def test_sharded_parameters_are_gathered_for_each_pass_and_nothing_else_is(programs, step, times):
    found, params = programs
    sharded = [leaf.shape for leaf in jax.tree.leaves(params) if not leaf.is_fully_replicated]
    moved = found[2, 4][step]
    assert sharded and set(moved) <= {"all-reduce", "all-gather", "reduce-scatter"}
    assert Counter(moved["all-gather"]) == {shape: times for shape in sharded}
