"""What the compiler is told for every program that runs or trains a network."""

import functools

import jax

# XLA gives convolutions on a CPU to YNNPACK, where the gradient of a 3x3 kernel takes six to eleven
# times as long as in XLA's own code, and few channels twice as long (jaxlib 0.10.2 and 0.12.0.1;
# docs/speed.md). Empty: nothing is given to it.
FOR_CPU = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def compiler_options() -> dict[str, str]:
    """For `jax.jit`; empty for other devices, and for a compiler that does not know the option."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=FOR_CPU).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return FOR_CPU
