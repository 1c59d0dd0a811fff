"""The training step compiled for chips that are not there, and what the compiler says of it."""

import argparse
import json
import os
import re
import time
from pathlib import Path
from typing import Any

# JAX runs on the processor at hand; libtpu compiles alone. Without the rest it asks a network for
# the machine that it is on, complains of what it does not find, and lets no second process in.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

from benchmarks.collectives import read
from defect_jax.configs.base import base
from defect_jax.distributed.sharding import batch_sharding, mesh_of, replicated, state_sharding
from defect_jax.runtime.compiler_options import FOR
from defect_jax.training.fit import make_network
from defect_jax.training.optimizer import make_tx
from defect_jax.training.steps import create_state, make_train_step

Program = dict[str, Any]


def kept(topology: str, fsdp: int, batch: int, given: argparse.Namespace) -> Program:
    """Return `compiled`, or what it gave in an earlier run, from a file in `given.keep`."""
    shape = "x".join(map(str, (*given.size, *given.widths)))
    told = "".join(f"_{name}={value}" for name, value in given.options.items())
    text = f"{topology}_fsdp{fsdp}_batch{batch}_{shape}_effort{given.effort:g}{told}"
    path = Path(given.keep) / (re.sub(r"[:*]", "_", text) + ".json")
    if not path.exists():
        print(f"compiling {text} …", flush=True)
        program = compiled(topology, fsdp, batch, given)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(program))
    return json.loads(path.read_text())


def compiled(topology: str, fsdp: int, batch: int, given: argparse.Namespace) -> Program:
    """Return what the compiler says of the step, or that it does not fit.

    Args:
        topology: such as `v5e:2x4`, or `v5e:16x16*2`: two slices.
        fsdp: chips over which parameters are sharded.
        batch: images a chip.
    """
    mesh, slices = make_mesh(topology, fsdp)
    step, state, arrays = lowered(config_of(given.size, given.widths), mesh, batch * mesh.size)
    program = {
        "name": f"{topology}, {f'fsdp {fsdp}' if fsdp > 1 else 'data'}",
        "chip": topology.partition(":")[0],
        "chips": mesh.size,
        "slices": slices,
        "batch_per_chip": batch,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
    began = time.perf_counter()
    try:
        done = step.compile(
            FOR["tpu"] | {"exec_time_optimization_effort": given.effort} | given.options
        )
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return program | {"fits": False, "message": " ".join(str(error).split())[:300]}
    program |= {"fits": True, "compile_s": time.perf_counter() - began}
    return program | {"memory": memory(done, state, arrays)} | operations(done)


def memory(done: jax.stages.Compiled, state: Any, batch: Any) -> dict[str, int]:
    """Return bytes of one chip; the compiler's own count of arguments includes how it pads them."""
    found = done.memory_analysis()
    return {
        "state": bytes_of(state),
        "batch": bytes_of(batch),
        "arguments": found.argument_size_in_bytes,
        "results": found.output_size_in_bytes,
        "reused": found.alias_size_in_bytes,
        "scratch": found.temp_size_in_bytes,
        "code": found.generated_code_size_in_bytes,
    }


def operations(done: jax.stages.Compiled) -> dict[str, Any]:
    """Return what one chip computes and sends; what stands in a loop counts once."""
    text, cost = done.as_text(), done.cost_analysis()
    counts = {"flops": cost["flops"], "accessed_bytes": cost["bytes accessed"]}
    return counts | {"loops": text.count(" while("), "collectives": read(text)}


def bytes_of(tree: Any) -> int:
    """Return the bytes of one device."""
    leaves = jax.tree.leaves(tree)
    shards = [(leaf.sharding.shard_shape(leaf.shape), leaf.dtype) for leaf in leaves]
    return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in shards)


def config_of(size_px: tuple[int, int], widths: tuple[int, ...]) -> ConfigDict:
    """Return the defaults of every config, for grey images of this height and width."""
    config = ConfigDict(base().to_dict())
    config.data.size, config.model.widths = size_px, widths
    config.data_info = {"channels": 1, "bit_depth": 8, "classes": ["defect"]}
    config.data_info.update({"mean": 0.5, "std": 0.29, "fingerprint": "none"})
    return config


def make_mesh(topology: str, fsdp: int) -> tuple[Mesh, int]:
    """Return chips that are not there, laid out as a run lays them out, and how many slices."""
    name, _, slices = topology.partition("*")
    slices = int(slices or 1)
    options: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    if name.endswith(":1x1"):
        options["chips_per_host_bounds"] = (1, 1, 1)
    devices = topologies.get_topology_desc(name, "tpu", **options).devices
    return mesh_of(devices, len(devices) // fsdp, fsdp), slices


def abstract_batch(mesh: Mesh, images: int, size_px: tuple[int, int]) -> dict[str, Any]:
    """Return shapes and places of what the loader gives."""
    placed = {"sharding": batch_sharding(mesh)}
    frame = (images, *size_px)
    return {
        "image": jax.ShapeDtypeStruct((*frame, 1), np.float32, **placed),
        "mask": jax.ShapeDtypeStruct(frame, np.uint8, **placed),
        "valid": jax.ShapeDtypeStruct(frame, bool, **placed),
        "label": jax.ShapeDtypeStruct((images,), np.float32, **placed),
    }


def lowered(config: ConfigDict, mesh: Mesh, images: int) -> tuple[jax.stages.Lowered, Any, Any]:
    """Return the step that does not measure, jitted as `training.programs` does; abstract state and
    batch.

    Not by `make_programs` itself, whose compiler options are those of the processor at hand.
    """
    network, tx = make_network(config), make_tx(config)
    image = jax.ShapeDtypeStruct((1, *config.data.size, 1), jnp.float32)
    variables = jax.eval_shape(
        lambda image: network.init(jax.random.key(0), image, train=False), image
    )
    shapes = jax.eval_shape(lambda tree: create_state(tree, tx), variables)
    places = state_sharding(mesh, shapes)
    state = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        places,
    )
    batch = abstract_batch(mesh, images, config.data.size)
    step = make_train_step(network, config, measure=False)
    step = jax.jit(step, donate_argnums=0, out_shardings=(places, replicated(mesh)))
    return step.lower(state, batch), state, batch
