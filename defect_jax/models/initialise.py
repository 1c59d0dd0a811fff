"""Initial variables from NumPy: the numbers Flax would draw, without compiling the drawing.

Compiling JAX's random generator for every shape of a network takes about 20 s on CPU. Here the
network is only traced, for its shapes and for the initialisers that its layers declare; NumPy draws
the random ones.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr, ndtri

CUT = 2.0  # standard deviations at which the normal is truncated, as in flax.linen.initializers
CUT_STDDEV = 0.87962566103423978  # standard deviation of a standard normal truncated there
RUNNING_STATISTICS = {"mean": 0.0, "var": 1.0}  # Flax declares no initialiser for these two

Path = tuple[str, ...]
Variables = dict[str, Any]  # {"params", "batch_stats"}: trees of arrays


@dataclass(frozen=True)
class FanInNormal:
    """Initialiser of kernels: truncated normal of variance `scale / fan_in`.

    Called as a Flax initialiser it draws with JAX, so `model.init` works; `draw` gives the same
    distribution from NumPy. He et al. 2015 (arXiv 1502.01852), equation 10, is `scale=2`.
    """

    scale: float

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        init = nn.initializers.variance_scaling(self.scale, "fan_in", "truncated_normal")
        return init(key, shape, dtype)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draw by inverting the distribution function, which needs nothing but uniform numbers."""
        fan_in = math.prod(shape[:-1])
        normal = ndtri(rng.uniform(ndtr(-CUT), ndtr(CUT), shape))
        return (normal * math.sqrt(self.scale / fan_in) / CUT_STDDEV).astype(np.float32)


he_normal = FanInNormal(2.0)


def initial_variables(model: nn.Module, image_shape: tuple[int, ...], seed: int) -> Variables:
    """Return initial `params` (and `batch_stats`) of a network.

    Every kernel is drawn from a generator keyed by the seed and by its own path, so the numbers are
    the same on every machine, and adding or dropping a head leaves all others as they were.

    Args:
        model: Module called as `model(image, train=False)`.
        image_shape: `(b, h, w, c)` of an image batch; only `c` matters for the parameters.
        seed: Any integer.

    Returns:
        Nested dictionary of float32 NumPy arrays, ready to be put on devices in any sharding.

    Raises:
        KeyError: A module of ours holds a parameter without a `<name>_init` field.
    """
    declared: dict[Path, Callable] = {}
    image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
    with nn.intercept_methods(_recorder(declared)):
        shapes = jax.eval_shape(
            lambda batch: model.init(jax.random.key(0), batch, train=False), image
        )
    flat = flax.traverse_util.flatten_dict(shapes)
    values = {path: _initial_value(path, leaf, declared, seed) for path, leaf in flat.items()}
    return flax.traverse_util.unflatten_dict(values)


def _recorder(declared: dict[Path, Callable]) -> Callable:
    """Return an interceptor that notes `kernel_init`, `bias_init`, … of every layer called."""

    def record(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext):
        layer = context.module
        for field in layer.__dataclass_fields__:
            if field.endswith("_init"):
                declared[(*layer.path, field.removesuffix("_init"))] = getattr(layer, field)
        return call(*args, **kwargs)

    return record


def _initial_value(
    path: Path, leaf: jax.ShapeDtypeStruct, declared: dict[Path, Callable], seed: int
) -> np.ndarray:
    collection, *inner = path
    if collection == "batch_stats":
        return np.full(leaf.shape, RUNNING_STATISTICS[path[-1]], leaf.dtype)
    initialiser = declared[tuple(inner)]
    if isinstance(initialiser, FanInNormal):
        return initialiser.draw(_generator(seed, path), leaf.shape)
    # Everything else is a constant: it is evaluated as declared, and gets no key to be random with.
    with jax.transfer_guard("allow"):
        return np.array(initialiser(None, leaf.shape, leaf.dtype))


def _generator(seed: int, path: Path) -> np.random.Generator:
    digest = hashlib.sha256("/".join((str(seed), *path)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
