"""Tensors of the published encoders, drawn from their names: the same here and where PyTorch is."""

import hashlib
import math

import numpy as np

SHAPE = (2, 64, 50, 3)  # of the images: even heights, and odd widths from the second row on


def digest(shapes):
    """A fingerprint of the names and shapes of all tensors."""
    text = "\n".join(f"{name} {tuple(shape)}" for name, shape in sorted(shapes.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def drawn(shapes):
    """Kernels that keep the size of what goes through, and everything else off 0 and 1."""
    return {name: _drawn(name, tuple(shape)) for name, shape in shapes.items()}


def _drawn(name, shape):
    key = hashlib.sha256(name.encode()).digest()[:8]
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    if len(shape) > 1:
        spread = np.float32(math.sqrt(2 / math.prod(shape[1:])))
        return rng.standard_normal(shape, np.float32) * spread
    if name.endswith(("bias", "running_mean")):
        return rng.standard_normal(shape, np.float32) * np.float32(0.3)
    return rng.random(shape, np.float32) + np.float32(0.5)


def image(scale=1.0):
    return scale * np.random.default_rng(24).standard_normal(SHAPE, np.float32)


def sampled(feature):
    """What is kept of a feature, channels last: its shape, and numbers from all over it."""
    flat = np.asarray(feature, np.float32).ravel()
    every = flat[:: max(1, flat.size // 96)][:96]
    return {
        "shape": list(feature.shape),
        "mean": float(flat.mean(dtype=np.float64)),
        "std": float(flat.std(dtype=np.float64)),
        "sample": [float(f"{each:.7g}") for each in every],
    }
