"""The whole way from an image to a decision as one function of arrays: what is exported.

Size rule, normalisation, network, temperature, thresholds and smallest area are inside, so that
whoever runs it cannot forget one. The decision is that of `decision.apply`, as everywhere.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt
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
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble, make_probabilities


def make_program(
    network: SegmentationNetwork, config: ConfigDict, ema: Variables | Ensemble, rule: DecisionRule
) -> Callable[[UInt[Array, "b h w c"]], Decision]:
    """Return `program(image) -> Decision`, for images of one size a call: of its region's, if it
    has one.

    Args:
        ema: averaged weights; they become constants of the function.
        rule: thresholds and temperature.
    """
    of_frames = make_probabilities(network, config.data_info, config.evaluation)
    spec = InputSpec.of(config)
    thresholds = Thresholds.of(rule)

    hidden = None if not spec.region else ~from_text(spec.region)[None]

    def program(image: UInt[Array, "b h w c"]) -> Decision:
        if hidden is not None:
            fill = np.full((1, 1, 1, spec.channels), spec.fill, image.dtype)
            image = jnp.where(hidden[..., None], fill, image)
        shares = spec.intensity.shares_jax(image)
        maps, label = spec.framing.native_probabilities(of_frames, ema, shares, spec.classes)
        if hidden is not None:
            maps = jnp.where(hidden[:, None], 0.0, maps)
        marked = mark(defect_probability(maps, 1), maps.argmax(axis=1), thresholds)
        return decide(marked, label, rule, IN_PROGRAMS)

    return program
