"""Compiler options for every program that runs or trains a network."""

import functools
from collections.abc import Sequence

import jax

YNNPACK = "xla_cpu_experimental_ynn_fusion_type"  # what XLA gives to it on a CPU

# Measured in docs/speed.md.
FOR = {
    # XLA gives convolutions on a CPU to YNNPACK, where the gradient of a 3x3 kernel takes six to
    # eleven times as long as in XLA's own code at 32 channels and more (jaxlib 0.10.2, 0.12.0.1).
    # Empty: nothing is given to it.
    "cpu": {YNNPACK: ""},
    # Of kernels that are sharded over "fsdp" XLA makes loops that convolve with one shard after
    # the other, and these take 7 GB more than gathering the kernel, which is 10 MB at most.
    "tpu": {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"},
}

# Sums over a map, as batch normalisation and its gradient take them, are what narrow networks spend
# their step on. YNNPACK takes a fifth off it at 16 channels, and nothing at 32, where it needs a
# fifth more memory. A block of a pretrained encoder takes a half to a third of the time with it.
NARROW_CHANNELS = 16
FOR_NARROW_TRAINING = {"cpu": {YNNPACK: "LIBRARY_FUSION_TYPE_REDUCE"}}


def compiler_options() -> dict[str, str]:
    """Return the options for `jax.jit`; none for other devices, and for a compiler that does not
    know them."""
    return _where_known(FOR)


def training_options(widths: Sequence[int], pretrained: bool = False) -> dict[str, str]:
    """Return the same for a training step.

    Args:
        widths: channels of the network's rows, finest first.
        pretrained: whether its encoder is one of those that have widths of their own.
    """
    narrow = pretrained or widths[0] <= NARROW_CHANNELS
    return compiler_options() | (_where_known(FOR_NARROW_TRAINING) if narrow else {})


def _where_known(options_of: dict[str, dict[str, str]]) -> dict[str, str]:
    options = options_of.get(jax.default_backend(), {})
    return options if _is_known(tuple(options.items())) else {}


@functools.cache
def _is_known(options: tuple[tuple[str, str], ...]) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
