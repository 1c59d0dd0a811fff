"""A batch of made-up images, for steps that are timed and not learnt from."""

import numpy as np
from ml_collections import ConfigDict


def random_batch(config: ConfigDict) -> dict[str, np.ndarray]:
    """Return noise with a square of class 1 in every other image."""
    rng, (height, width) = np.random.default_rng(0), config.data.size
    image = rng.random((config.train.batch_size, height, width, 1), np.float32)
    mask = np.zeros(image.shape[:3], np.uint8)
    mask[::2, : height // 4, : width // 4] = 1
    label = mask.any(axis=(1, 2)).astype(np.float32)
    planes = {"image": image, "mask": mask, "valid": np.ones_like(mask, bool)}
    return planes | {"label": label, "masked": np.ones_like(label)}
