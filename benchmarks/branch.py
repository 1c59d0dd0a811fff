"""Gradient of a convolution inside `jax.lax.cond` over the same outside of it.

    python -m benchmarks.branch

Why a step that measures gradient norms is a program of its own, and not a branch of one.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

ROUNDS = 3


def gradient(image: Any, kernel: Any) -> Any:
    """Return the gradient of the sum of a 3x3 convolution's outputs, for image and kernel."""

    def total(image: Any, kernel: Any) -> Any:
        layout = ("NHWC", "HWIO", "NHWC")
        out = jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=layout)
        return jnp.sum(out**2)

    return jax.grad(total, argnums=(0, 1))(image, kernel)


def in_a_branch(image: Any, kernel: Any, taken: Any) -> Any:
    """Return the same, where `taken`."""
    return jax.lax.cond(taken, lambda: gradient(image, kernel), lambda: (image, kernel))


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Return the median of a few runs after the first."""
    jitted, times = jax.jit(function), []
    jax.block_until_ready(jitted(*arguments))
    for _ in range(ROUNDS):
        began = time.monotonic()
        jax.block_until_ready(jitted(*arguments))
        times.append(time.monotonic() - began)
    return statistics.median(times)


def main() -> None:
    """Print both times and their ratio."""
    image, kernel = jnp.ones((4, 256, 256, 32)), jnp.ones((3, 3, 32, 32))
    outside = seconds(gradient, image, kernel)
    inside = seconds(in_a_branch, image, kernel, jnp.array(True))
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    print(f"outside {outside:.3f} s, in a branch {inside:.3f} s, ratio {inside / outside:.1f}")


if __name__ == "__main__":
    main()
