"""What a pretrained encoder begins with."""

from ml_collections import ConfigDict

from defect_jax.distributed import processes
from defect_jax.models.encoders import PLAIN
from defect_jax.models.encoders.names import variables_of
from defect_jax.models.initialise import Variables
from defect_jax.models.pretrained.reading import read_weights
from defect_jax.runtime.console import say
from defect_jax.runtime.paths import AnyPath
from defect_jax.training.stages import has_encoder
from defect_jax.workdir import weights_record
from defect_jax.workdir.weights_record import WeightsRecord


def is_pretrained(model: ConfigDict) -> bool:
    """Return whether the encoder of this `config.model` begins with weights of its own."""
    return model.encoder != PLAIN and model.weights != ""


def pretrained_encoder(config: ConfigDict, workdir: AnyPath) -> Variables:
    """Return the variables that the encoder begins with, and write down where they are from.

    Args:
        config: resolved.

    Returns:
        Those of the encoder alone, as a network has them; none where it begins from nothing.

    Raises:
        UserError: the weights cannot be read, or are those of another encoder.
    """
    model = config.model
    if not is_pretrained(model) or not has_encoder(config):
        return {}
    weights = read_weights(model.encoder, model.weights)
    rows = len(model.widths)
    found = variables_of(weights.tensors, model.encoder, config.data_info.channels, rows)
    record = WeightsRecord(model.encoder, weights.origin, weights.sha256, weights.licence)
    say(f"encoder: {model.encoder}, weights of {weights.origin}")
    if processes.is_first():
        weights_record.keep(workdir, record)
    return {collection: {"encoder": tree} for collection, tree in found.items()}
