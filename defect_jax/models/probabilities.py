"""From framed images to probabilities: normalisation, the network, its heads, mirror images."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32
from ml_collections import ConfigDict

from defect_jax.models.appearance import sums
from defect_jax.models.class_maps import mean_probabilities, probabilities_of
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SEEN, Outputs, SegmentationNetwork, rows_seen

Frames = Float[Array, "b h w c"]  # shares of the measured range: `intensity.IntensityRange`
Shown = Float[Array, "b h w"]  # share of each pixel that is the image's and not hidden
Ensemble = tuple[Variables, ...]  # of one network that was trained several times


class Probabilities(NamedTuple):
    """A network's output for a batch: each class of defect at each pixel, and the whole part."""

    mask: Float32[Array, "b h w classes"]
    label: Float32[Array, " b"] | None  # None without classification head
    sums: Float32[Array, "members b n"] | None = None  # of `appearance`; None: not asked for


OfFrames = Callable[..., Probabilities]  # of variables, frames and, where asked for, what is shown


def normalise(
    image: Frames, mean: float | Sequence[float], std: float | Sequence[float]
) -> Float[Array, "b h w c"]:
    """Bring images to about zero mean and unit standard deviation, all by the same numbers.

    Each image by its own mean and deviation would hide its exposure, but also what a large stain
    changes, and on a few hundred training images the network then learnt labels by heart sooner.

    Args:
        image: shares of the range that the training images fill.
        mean, std: of the training images (`prepare.data_info`), as shares of the same; of shots of
            several lights one number a channel.

    >>> normalise(jnp.array([[[[0.2], [0.6]]]]), 0.4, 0.2).round(4).ravel().tolist()
    [-1.0, 1.0]
    """
    return (image - _numbers(mean)) / _numbers(std)


def _numbers(kept: float | Sequence[float]) -> float | Float32[np.ndarray, "1 1 1 c"]:
    return kept if isinstance(kept, int | float) else np.float32(kept)[None, None, None]


def make_probabilities(
    network: SegmentationNetwork, data_info: ConfigDict, evaluation: ConfigDict
) -> OfFrames:
    """Return `probabilities(variables, image, shown=None)` of frames; of several variables it is
    the mean.

    Where it is said what of the frames is shown, as `appearance.sums` takes it, the sums of what
    they look like come along.

    Args:
        data_info: `config.data_info`, with mean and standard deviation of the training images.
        evaluation: `config.evaluation`: the type of the computation, whatever the network was
            trained in, and whether to average over mirror images.
    """
    network = network.clone(dtype=evaluation.dtype)

    def of_frames(
        variables: Variables | Ensemble, image: Frames, shown: Shown | None = None
    ) -> Probabilities:
        image = normalise(image, data_info.mean, data_info.std)

        def of_one(member: Variables) -> Probabilities:
            def of_view(view: Frames, shown: Shown | None) -> Probabilities:
                if shown is None:
                    return probabilities(network.apply(member, view, train=False))
                outputs, told = network.apply(member, view, train=False, mutable=SEEN)
                looks = sums(view, rows_seen(told), shown)
                return probabilities(outputs)._replace(sums=looks[None])

            of_views = over_flips if evaluation.flips else _as_it_is
            return of_views(of_view, image, shown)

        several = isinstance(variables, tuple)
        return over_members(of_one, variables) if several else of_one(variables)

    return of_frames


def probabilities(outputs: Outputs) -> Probabilities:
    """Turn logits into probabilities: the refined map's, else the mean over the heads."""
    refined, label = outputs.refined_logits, outputs.label_logits
    if refined is None:
        mask = mean_probabilities(outputs.mask_logits)
    else:
        mask = probabilities_of(refined)
    return Probabilities(mask, None if label is None else nn.sigmoid(label))


def over_members(predict: Callable[[Variables], Probabilities], members: Ensemble) -> Probabilities:
    """Average the probabilities over the members of an ensemble.

    >>> def of_one(member):
    ...     return Probabilities(jnp.full((1, 1, 1, 1), member["p"]), member["p"][None])
    >>> mean = over_members(of_one, tuple({"p": jnp.float32(p)} for p in (0.2, 0.3, 0.7)))
    >>> round(mean.mask.item(), 4), round(mean.label.item(), 4)
    (0.4, 0.4)
    """
    # Weights that are constants are stacked now: an exported file would hold them twice.
    with jax.ensure_compile_time_eval():
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    # One member after the other, as in `over_flips`.
    mask, label, looks = jax.lax.map(lambda member: tuple(predict(member)), stacked)
    label = None if label is None else label.mean(0)
    return Probabilities(mask.mean(0), label, None if looks is None else looks[:, 0])


def over_flips(
    predict: Callable[[Frames, Shown | None], Probabilities],
    image: Frames,
    shown: Shown | None = None,
) -> Probabilities:
    """Average the probabilities over an image and its three mirror images, masks turned back.

    Steadier scores for four times the work.

    For parts that training flips as well; of no use where up and down differ.

    >>> def brightest_left(image, shown):
    ...     return Probabilities(image, image[:, 0, 0, 0])
    >>> image = jnp.array([[[[0.8], [0.0]], [[0.4], [0.0]]]])
    >>> mean = over_flips(brightest_left, image)
    >>> mean.mask[..., 0].round(1).tolist(), mean.label.round(1).tolist()
    ([[[0.8, 0.0], [0.4, 0.0]]], [0.3])
    """
    views = jax.tree.map(
        lambda array: jnp.stack([_flip(array, n) for n in range(4)]), (image, shown)
    )
    # One view after the other: the program is compiled once, and needs the memory of one.
    found = jax.lax.map(lambda view: tuple(predict(*view)), views)
    mask = jnp.stack([_flip(found[0][view], view) for view in range(4)])
    means = jax.tree.map(lambda array: array.mean(0), (mask, *found[1:]))
    return Probabilities(*means)


def _as_it_is(
    predict: Callable[[Frames, Shown | None], Probabilities], image: Frames, shown: Shown | None
) -> Probabilities:
    return predict(image, shown)


def _flip(array: Float[Array, "b h w ..."], view: int) -> Float[Array, "b h w ..."]:
    """Mirror images: view 1 is upside down, 2 left to right, 3 both; each undoes itself."""
    return array[:, :: -1 if view & 1 else 1, :: -1 if view & 2 else 1]
