"""The whole way from an image to a decision as one function of arrays: what is exported.

Size rule, normalisation, network, temperature, thresholds and smallest area are inside, so that
whoever runs it cannot forget one. The decision is that of `decision.apply`, as everywhere.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt
from ml_collections import ConfigDict

from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.region import from_text
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import (
    IN_PROGRAMS,
    Decision,
    Thresholds,
    decide,
    defect_probability,
    mark,
)
from defect_jax.decision.unlike import Known, distance, share_unlike
from defect_jax.models.appearance import numbers
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble, make_probabilities

UNLIKE = "unlike"  # the output behind those of `Decision`, where what it takes is known


def make_program(
    network: SegmentationNetwork,
    config: ConfigDict,
    ema: Variables | Ensemble,
    rule: DecisionRule,
    known: Known | None = None,
) -> Callable[[UInt[Array, "b h w c"]], tuple]:
    """Return `program(image) -> Decision`, for images of one size a call: of its region's, if it
    has one.

    Args:
        ema: averaged weights; they become constants of the function.
        rule: thresholds and temperature.
        known: constants as well. Where they are given, `decision.unlike.share_unlike` of each image
            comes behind the fields of its decision, in one tuple.
    """
    of_frames = make_probabilities(network, config.data_info, config.evaluation)
    spec = InputSpec.of(config)
    thresholds = Thresholds.of(rule)

    hidden = None if not spec.region else ~from_text(spec.region)[None]

    visible = None if hidden is None else jnp.float32(~hidden[0])

    def program(image: UInt[Array, "b h w c"]) -> tuple:
        if hidden is not None:
            fill = np.full((1, 1, 1, spec.channels), spec.fill, image.dtype)
            image = jnp.where(hidden[..., None], fill, image)
        shares = spec.intensity.shares_jax(image)
        looks = visible, known is not None
        found = spec.framing.native_probabilities(of_frames, ema, shares, spec.classes, *looks)
        maps, label, sums = found
        if hidden is not None:
            maps = jnp.where(hidden[:, None], 0.0, maps)
        marked = mark(defect_probability(maps, 1), maps.argmax(axis=1), thresholds)
        decision = decide(marked, label, rule, IN_PROGRAMS)
        return decision if known is None else (*decision, unlike(sums))

    def unlike(sums: Float[Array, "members b n"]) -> Float[Array, " b"]:
        centre, whitening, distances = (jnp.float32(array) for array in known[:3])
        away = distance(numbers(sums, spec.channels), centre, whitening)
        return share_unlike(away, distances)

    return program


def output_names(known: Known | None) -> tuple[str, ...]:
    """Return the names of what a program returns, in order."""
    return Decision._fields if known is None else (*Decision._fields, UNLIKE)
