"""What a plan knows of the machine: its devices, its memory, and how fast a step would be."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from defect_jax.runtime import memory
from defect_jax.runtime.compiler_options import training_options

# A training step of the small network with a pretrained encoder takes 21 times the probe for a
# million pixels, on one core and on two (AVX-512; 96x96 to 320x128 px), and its input a seventh of
# that.
STEP_PER_PROBE = 24.0
PROBE_SHAPE = (8, 96, 96, 32)
PROBE_TIMES = 8


class MachineFacts(NamedTuple):
    """Of all devices together."""

    platform: str  # "cpu", "gpu" or "tpu"
    devices: int
    kind: str  # of a device, for people
    free_gb: float  # of a device; CPUs share the memory of this process
    step_s_per_mpx: float | None  # None: an accelerator, which is not waited for


def machine_facts() -> MachineFacts:
    """Return the facts of the machine at hand; on a CPU a probe of a second tells its speed."""
    devices = jax.devices()
    platform = devices[0].platform
    on_cpu = platform == "cpu"
    return MachineFacts(
        platform=platform,
        devices=len(devices),
        kind="CPU" if on_cpu else devices[0].device_kind,
        free_gb=round(_free_bytes(devices) / memory.GB, 1),
        step_s_per_mpx=round(probe_s() * STEP_PER_PROBE, 3) if on_cpu else None,
    )


def _free_bytes(devices: Sequence[jax.Device]) -> float:
    """Return the memory of a device of this process, or its share of what CPUs have together."""
    local = next(device for device in devices if device.process_index == jax.process_index())
    of_its_own = (local.memory_stats() or {}).get("bytes_limit")
    return of_its_own or memory.free_bytes().bytes / len(devices)


def probe_s() -> float:
    """Return seconds of two convolutions with their gradients, the least of a few.

    The least, since another program's moment of work must not shorten a training. Compiled as a
    training step is: without that it takes as long on two cores as on one.
    """
    image = jnp.ones(PROBE_SHAPE, jnp.float32)
    kernel = jnp.full((3, 3, PROBE_SHAPE[-1], PROBE_SHAPE[-1]), 0.01, jnp.float32)

    def loss(kernel: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.sum(jax.nn.relu(_convolved(_convolved(image, kernel), kernel)))

    options = training_options(PROBE_SHAPE[-1:], pretrained=True)
    step = jax.jit(jax.grad(loss, argnums=(0, 1)), compiler_options=options)
    jax.block_until_ready(step(kernel, image))
    return min(_seconds(lambda: step(kernel, image)) for _ in range(PROBE_TIMES))


def _convolved(image: jax.Array, kernel: jax.Array) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=numbers)


def _seconds(run: Callable[[], jax.Array]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - began
