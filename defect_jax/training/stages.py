"""The two stages of a run whose localisation learns first: each is a run of the same loop.

Stage one is an ordinary run in a workdir of its own below the run's, of a network whose mask is the
localisation's grid. Stage two begins with what the best checkpoint of stage one holds.
"""

from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from defect_jax.data.sources.records import DEFECT
from defect_jax.models.fields import NO_DECODER, NONE
from defect_jax.models.localisation import ON_ENCODER

FIRST_STAGE = "localisation"  # the workdir of stage one, below the run's
LOCALISER = "localiser"  # the module's name among the parameters


def has_first_stage(config: ConfigDict) -> bool:
    """Return whether localisation learns before the rest."""
    return config.train.localisation_steps > 0


def is_frozen(config: ConfigDict) -> bool:
    """Return whether localisation has learnt in a stage of its own and stays as it is.

    On the shared encoder it cannot: what it reads goes on changing, and it goes on learning.
    """
    return config.model.localisation == "backbone" and has_first_stage(config)


def has_encoder(config: ConfigDict) -> bool:
    """Return whether the network of this config has the shared encoder; in stage one it may not."""
    return config.model.decoder != NO_DECODER or config.model.localisation == ON_ENCODER


def first_stage(config: ConfigDict) -> ConfigDict:
    """Return the config of stage one: localisation alone, on the same images in the same order."""
    stage = ConfigDict(config.to_dict())
    stage.model.update(
        decoder=NO_DECODER,
        classification_head=False,
        embedding=False,
        pixel_confidence=NONE,
        num_classes=1,
        prune=0,
    )
    if "data_info" in stage:
        stage.data_info.classes = [DEFECT]
    stage.loss.defect_weight = 0.0
    stage.train.steps = config.train.localisation_steps
    stage.train.localisation_steps = 0
    stage.balance.method = "fixed"  # there is one task
    stage.balance.shared = LOCALISER if config.model.localisation == "backbone" else "encoder"
    return stage


def with_learnt(initial: Mapping[str, Any], learnt: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables with those that have been learnt before in the places of the same names.

    >>> with_learnt({"params": {"a": 0, "b": 0}}, {"params": {"b": 5}})
    {'params': {'a': 0, 'b': 5}}
    """
    return unflatten_dict(flatten_dict(initial) | flatten_dict(learnt))
