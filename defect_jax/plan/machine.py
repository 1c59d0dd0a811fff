"""What a plan knows of the machine: its devices, its memory, and how fast a step would be."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from defect_jax.runtime import memory

# A training step of the small network with a pretrained encoder took 0.76 s for 16 images of
# 192x192 px where the probe took 0.0182 s (two cores with AVX2).
STEP_PER_PROBE = 70.8  # seconds of a step for a million pixels, over seconds of the probe
PROBE_SHAPE = (8, 96, 96, 32)
PROBE_TIMES = 5


class MachineFacts(NamedTuple):
    """Of all devices together."""

    platform: str  # "cpu", "gpu" or "tpu"
    devices: int
    kind: str  # of a device, for people
    free_gb: float  # memory of this process; of an accelerator that of its own
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
        free_gb=round(memory.free_bytes().bytes / memory.GB, 1),
        step_s_per_mpx=round(probe_s() * STEP_PER_PROBE, 3) if on_cpu else None,
    )


def probe_s() -> float:
    """Return seconds of a convolution with its gradients, the least of a few."""
    image = jnp.ones(PROBE_SHAPE, jnp.float32)
    kernel = jnp.full((3, 3, PROBE_SHAPE[-1], PROBE_SHAPE[-1]), 0.01, jnp.float32)

    def loss(kernel: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.sum(jax.nn.relu(_convolved(_convolved(image, kernel), kernel)))

    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    jax.block_until_ready(step(kernel, image))
    return min(_seconds(lambda: step(kernel, image)) for _ in range(PROBE_TIMES))


def _convolved(image: jax.Array, kernel: jax.Array) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=numbers)


def _seconds(run) -> float:
    began = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - began
