"""What the two tasks read off the shared network: mask logits and one label logit."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from defect_jax.models.initialise import FanInNormal
from defect_jax.models.pooling import highest

# A twentieth of He's variance: the first logits are near 0, where the sigmoid is not flat. With
# He's own the maximum over the deepest feature starts the label logit several units off.
small_normal = FanInNormal(0.1)
# Most pixels are background: with a bias of 0 the first fifty steps go into learning just that.
PRIOR_LOGIT = -2.0
POOLED_ROWS = 4  # that the label is read off, the deepest ones


class MaskHeads(nn.Module):
    """A 1x1 convolution to logits on each full-resolution feature.

    Computed in float32: rounded to bfloat16 many pixels would share one score.

    Attributes:
        num_classes: Of defects. 1: one logit a pixel, defect or not; more: one for background and
            one for each class.
    """

    num_classes: int = 1

    @nn.compact
    def __call__(
        self, features: list[Float[Array, "b h w _"]], first: int = 0
    ) -> Float32[Array, "heads b h w c"]:
        """Return logits of heads with consecutive numbers, the first of which has the number
        `first`."""
        channels = 1 if self.num_classes == 1 else 1 + self.num_classes
        logits = [
            nn.Conv(
                channels,
                (1, 1),
                dtype=jnp.float32,
                kernel_init=small_normal,
                bias_init=prior_logits,
                name=f"logits_{head}",
            )(x)
            for head, x in enumerate(features, first)
        ]
        return jnp.stack(logits)


def prior_logits(key: Any, shape: tuple[int], dtype: Any = jnp.float32) -> Float[Array, " c"]:
    """Return biases that give "defect" the probability σ(PRIOR_LOGIT), shared equally by the
    classes.

    >>> prior_logits(None, (1,)).tolist(), prior_logits(None, (6,)).round(3).tolist()
    ([-2.0], [0.0, -3.609, -3.609, -3.609, -3.609, -3.609])
    """
    del key
    classes = max(1, shape[0] - 1)
    logits = jnp.full(shape, PRIOR_LOGIT - math.log(classes), dtype)
    return logits if shape[0] == 1 else logits.at[0].set(0.0)


class ClassificationHead(nn.Module):
    """Mean and maximum over the deepest feature, dropout, one linear layer.

    The maximum is there for small defects: at a sixteenth of the resolution one of several hundred
    cells holds the defect, and the mean alone dilutes it as often.

    Attributes:
        dropout: Share of the pooled features set to 0 in training.
    """

    dropout: float

    @nn.compact
    def __call__(
        self, features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> Float32[Array, " b"]:
        pooled = self.pooled(features)
        # Adam moves every weight by the learning rate, so the logit by that times the sum of the
        # features: over hundreds of maxima that overshoots at each step. Divided by the root of
        # their number the head learns too slowly.
        pooled = pooled / pooled.shape[-1] ** 0.25
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        logits = nn.Dense(1, dtype=jnp.float32, kernel_init=small_normal, name="logit")(pooled)
        return logits[:, 0]

    def pooled(self, features: list[Float[Array, "b _ _ _"]]) -> Float32[Array, "b c"]:
        """Return what the linear layer sees of the encoder's features, finest row first."""
        x = features[-1].astype(jnp.float32)
        return jnp.concatenate([jnp.mean(x, axis=(1, 2)), highest(x)], axis=-1)


class RowsHead(ClassificationHead):
    """The same over several rows, with the standard deviation beside mean and maximum.

    A pretrained encoder tells textures apart in its middle rows already, and a thin crack or a pore
    is a few cells there and part of one in the deepest.
    """

    def pooled(self, features: list[Float[Array, "b _ _ _"]]) -> Float32[Array, "b c"]:
        """Return mean, maximum and standard deviation of each of the deepest rows."""
        rows = [x.astype(jnp.float32) for x in features[-POOLED_ROWS:]]
        return jnp.concatenate([pooled for x in rows for pooled in statistics(x)], axis=-1)


def statistics(x: Float32[Array, "b h w c"]) -> list[Float32[Array, "b c"]]:
    """Return mean, maximum and standard deviation of each channel.

    >>> x = jnp.array([1.0, 5.0, 3.0, 3.0]).reshape(1, 2, 2, 1)
    >>> [float(pooled[0, 0].round(4)) for pooled in statistics(x)]
    [3.0, 5.0, 1.4142]
    """
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    variance = jnp.mean((x - mean) ** 2, axis=(1, 2))
    # The root of 0, of a channel that is the same everywhere, has no finite gradient.
    return [mean[:, 0, 0], highest(x), jnp.sqrt(variance + 1e-10)]


LABEL_HEADS: dict[str, type[ClassificationHead]] = {
    "deepest": ClassificationHead,
    "rows": RowsHead,
}
