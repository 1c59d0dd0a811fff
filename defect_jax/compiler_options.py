"""What the compiler is told for every program that runs or trains a network."""

import functools

import jax

# Measured in docs/speed.md.
FOR = {
    # XLA gives convolutions on a CPU to YNNPACK, where the gradient of a 3x3 kernel takes six to
    # eleven times as long as in XLA's own code at 32 channels and more (jaxlib 0.10.2, 0.12.0.1);
    # at 8 to 128 a whole step is a tenth slower without it. Empty: nothing is given to it.
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": ""},
    # Of kernels that are sharded over "fsdp" XLA makes loops that convolve with one shard after
    # the other, and these take 7 GB more than gathering the kernel, which is 10 MB at most.
    "tpu": {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"},
}


@functools.cache
def compiler_options() -> dict[str, str]:
    """For `jax.jit`; empty for other devices, and for a compiler that does not know the option."""
    options = FOR.get(jax.default_backend(), {})
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options
