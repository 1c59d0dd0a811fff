"""What the two tasks read off the shared network: mask logits and one label logit."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from defect_jax.models.class_maps import mean_probabilities
from defect_jax.models.initialise import FanInNormal
from defect_jax.models.pooling import highest

# A twentieth of He's variance: the first logits are near 0, where the sigmoid is not flat. With
# He's own the maximum over the deepest feature starts the label logit several units off.
small_normal = FanInNormal(0.1)
# Most pixels are background: with a bias of 0 the first fifty steps go into learning just that.
PRIOR_LOGIT = -2.0
POOLED_ROWS = 4  # that the label is read off, the deepest ones
WINDOWS_PX = (1, 8, 32)
# Least and highest share of pixels that tells anything: Dice drives masks to 1, right or wrong.
LEAST, MOST = 1e-5, 1 - 1e-3


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
        self,
        features: list[Float[Array, "b _ _ _"]],
        mask_logits: Float[Array, "heads b h w c"],
        train: bool,
    ) -> Float32[Array, "branches b"]:
        """Return logits of the label, of each branch.

        Args:
            features: The encoder's, finest row first.
            mask_logits: Of all mask heads.
        """
        del mask_logits
        x = features[-1].astype(jnp.float32)
        pooled = jnp.concatenate([jnp.mean(x, axis=(1, 2)), highest(x)], axis=-1)
        return self.of_pooled(pooled, train)[None]

    def of_pooled(self, pooled: Float32[Array, "b c"], train: bool) -> Float32[Array, " b"]:
        """Return the logits of the linear layer."""
        # Adam moves every weight by the learning rate, so the logit by that times the sum of the
        # features: over hundreds of maxima that overshoots at each step. Divided by the root of
        # their number the head learns too slowly.
        pooled = pooled / pooled.shape[-1] ** 0.25
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        logits = nn.Dense(1, dtype=jnp.float32, kernel_init=small_normal, name="logit")(pooled)
        return logits[:, 0]


class RowsHead(ClassificationHead):
    """Two branches: the same over four rows, with their standard deviation, and the masks.

    A pretrained encoder tells textures apart in its middle rows already. What is a few pixels of a
    hundred thousand, a pore or a thin crack, it loses in the pooled features of any row, and the
    masks find it. The second branch reads them and teaches them nothing.
    """

    @nn.compact
    def __call__(
        self,
        features: list[Float[Array, "b _ _ _"]],
        mask_logits: Float[Array, "heads b h w c"],
        train: bool,
    ) -> Float32[Array, "branches b"]:
        """Return logits of the label from the rows and from the masks."""
        shown = evidence(jax.lax.stop_gradient(mask_logits))
        of_masks = nn.Dense(1, dtype=jnp.float32, kernel_init=small_normal, name="of_masks")(shown)
        return jnp.stack([self.of_pooled(pooled_rows(features), train), of_masks[:, 0]])


def pooled_rows(features: list[Float[Array, "b _ _ _"]]) -> Float32[Array, "b c"]:
    """Return `statistics` of the deepest rows, the finest of them first."""
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


def evidence(mask_logits: Float32[Array, "heads b h w c"]) -> Float32[Array, "b windows"]:
    """Return the log-odds of the highest mean probability of a defect in windows of each size, and
    of that of the whole image.

    Of the pixels alone one in a hundred thousand decides; of all together a small defect is
    nothing.

    >>> logits = jnp.full((1, 1, 32, 32, 1), -9.0).at[0, 0, :8, :8].set(9.0)
    >>> evidence(logits).round(2).tolist()
    [[6.91, 6.91, -2.71, -2.71]]
    """
    defect = jnp.sum(mean_probabilities(mask_logits), axis=-1, keepdims=True)
    smaller = min(defect.shape[1:3])
    windows = [(min(side, smaller),) * 2 for side in WINDOWS_PX]
    means = [nn.avg_pool(defect, window, window) for window in windows]
    highest_means = [jnp.max(mean, axis=(1, 2, 3)) for mean in means]
    share = jnp.stack([*highest_means, jnp.mean(defect, axis=(1, 2, 3))], axis=-1)
    share = jnp.clip(share, LEAST, MOST)
    return jnp.log(share / (1 - share))


LABEL_HEADS: dict[str, type[ClassificationHead]] = {
    "deepest": ClassificationHead,
    "rows": RowsHead,
}
