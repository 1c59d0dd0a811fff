"""A depthwise convolution in ours, in XLA's own and in PyTorch, for `benchmarks.turns`.

The packages are imported by the function that needs them: the rivals' environment lacks ours.
"""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.predict_contenders import versions
from benchmarks.turns import serve, use_processors

# Pixels of a side, channels, pixels of the kernel, stride: of EfficientNet-Lite0 at 192 px.
LAYERS = [
    (96, 32, 3, 1),
    (96, 96, 3, 2),
    (48, 144, 3, 1),
    (48, 144, 5, 2),
    (24, 240, 5, 1),
    (24, 240, 3, 2),
    (12, 480, 3, 1),
    (12, 480, 5, 1),
    (12, 672, 5, 1),
    (12, 672, 5, 2),
    (6, 1152, 5, 1),
    (6, 1152, 3, 1),
]
TIMES = (1, 1, 1, 1, 1, 1, 2, 1, 2, 1, 3, 1)  # how often it has each
FORWARD, BOTH = "forward", "forward and backward"
Ready = Mapping[str, Callable[[], Any]]  # that wait for the result


def arrays(layer: tuple[int, int, int, int], batch: int) -> list[np.ndarray]:
    """Return maps, kernel and the result's gradient, channels last."""
    size, channels, kernel, stride = layer
    out, rng = -(-size // stride), np.random.default_rng(0)
    shapes = (
        (batch, size, size, channels),
        (kernel, kernel, 1, channels),
        (batch, out, out, channels),
    )
    return [np.float32(rng.normal(size=shape)) for shape in shapes]


def jax_layer(own: bool) -> Callable[[tuple[int, int, int, int], int], Ready]:
    """Return ours, or the convolution that XLA has; compiled as `train.py` does."""

    def contender(layer: tuple[int, int, int, int], batch: int) -> Ready:
        import jax

        from defect_jax.runtime.compiler_options import compiler_options

        function, given = jax_function(own, layer[-1]), jax.device_put(arrays(layer, batch))

        def both(x: Any, kernel: Any, gradient: Any) -> Any:
            value, pullback = jax.vjp(function, x, kernel)
            return value, pullback(gradient)

        options = compiler_options()
        forward = jax.jit(function, compiler_options=options).lower(*given[:2]).compile()
        whole = jax.jit(both, compiler_options=options).lower(*given).compile()
        return {
            FORWARD: lambda: jax.block_until_ready(forward(*given[:2])),
            BOTH: lambda: jax.block_until_ready(whole(*given)),
        }

    return contender


def jax_function(own: bool, stride: int) -> Callable[[Any, Any], Any]:
    """Return a function of maps and kernel."""
    from defect_jax.models.depthwise import convolution, depthwise

    if own:
        return lambda x, kernel: depthwise(x, kernel, stride)
    return lambda x, kernel: convolution(stride, x, kernel)


def torch_layer(layer: tuple[int, int, int, int], batch: int) -> Ready:
    """Return PyTorch's, channels last. At stride 2 it pads alike at both ends: the same work."""
    import torch

    channels, kernel, stride = layer[1:]
    x, weights, gradient = map(torch.from_numpy, arrays(layer, batch))
    last = torch.channels_last
    x = x.permute(0, 3, 1, 2).contiguous(memory_format=last).requires_grad_()
    gradient = gradient.permute(0, 3, 1, 2).contiguous(memory_format=last)
    weights = weights.permute(3, 2, 0, 1).contiguous(memory_format=last).requires_grad_()

    def forward() -> Any:
        return torch.conv2d(x, weights, None, stride, kernel // 2, 1, channels)

    def without_gradients() -> None:
        with torch.no_grad():
            forward()

    return {
        FORWARD: without_gradients,
        BOTH: lambda: torch.autograd.grad(forward(), (x, weights), gradient),
    }


OURS, PLAIN, TORCH = "JAX, as sums", "JAX, XLA's own", "PyTorch"
CONTENDERS = {OURS: jax_layer(own=True), PLAIN: jax_layer(own=False), TORCH: torch_layer}


class Contender:
    """What the parent may ask for."""

    def __init__(self, name: str):
        self.name = name
        self.calls: Ready = {}

    def ready(self, layer: list[int], batch: int) -> float:
        """Compile, and call once; return seconds."""
        began = time.perf_counter()
        self.calls = CONTENDERS[self.name](tuple(layer), batch)
        for call in self.calls.values():
            call()
        return time.perf_counter() - began

    def run(self, calls: int) -> dict[str, float]:
        """Return the fewest seconds of `calls` calls."""
        return {name: min(seconds(call) for _ in range(calls)) for name, call in self.calls.items()}

    def compile_all(self, batch: int) -> float:
        """Return seconds of compiling one program that has all layers, forward and backward."""
        import jax

        from defect_jax.runtime.compiler_options import compiler_options

        layers = [layer for layer, times in zip(LAYERS, TIMES, strict=True) for _ in range(times)]
        given = [arrays(layer, batch) for layer in layers]

        def program(given: Any) -> Any:
            found = []
            for (*_, stride), (x, kernel, gradient) in zip(layers, given, strict=True):
                own = self.name == OURS
                value, pullback = jax.vjp(jax_function(own, stride), x, kernel)
                found.append((value, pullback(gradient)))
            return found

        lowered = jax.jit(program, compiler_options=compiler_options()).lower(given)
        return seconds(lowered.compile)


def seconds(call: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    name, threads = sys.argv[1], int(sys.argv[2])
    use_processors(threads)
    if name == TORCH:
        import torch

        torch.set_num_threads(threads)
    contender = Contender(name)
    functions = {name: getattr(contender, name) for name in ("ready", "run", "compile_all")}
    serve(functions | {"versions": versions})


if __name__ == "__main__":
    main()
