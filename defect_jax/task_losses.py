"""The tasks of a network and the loss of each, before any weighting."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from defect_jax.losses.classification import classification_loss
from defect_jax.losses.localisation import localisation_loss
from defect_jax.losses.pixel_weight import pixel_weight
from defect_jax.losses.segmentation import one_hot, segmentation_loss
from defect_jax.models.fields import NO_DECODER, NONE
from defect_jax.models.localisation import on_pixels
from defect_jax.models.network import Outputs
from defect_jax.stages import is_frozen

Batch = dict[str, Any]
SEGMENTATION, CLASSIFICATION, LOCALISATION = "segmentation", "classification", "localisation"


def task_names(config: ConfigDict) -> tuple[str, ...]:
    """The tasks that the network of this config learns."""
    model = config.model
    learns = {
        SEGMENTATION: model.decoder != NO_DECODER,
        CLASSIFICATION: model.classification_head,
        LOCALISATION: model.localisation != NONE and not is_frozen(config),
    }
    return tuple(task for task, is_learnt in learns.items() if is_learnt)


def task_losses(outputs: Outputs, batch: Batch, config: ConfigDict) -> dict[str, Float[Array, ""]]:
    """The loss of each task that the network learns."""
    valid = batch["valid"].astype(jnp.float32)[..., None]
    defect = (batch["mask"] > 0).astype(jnp.float32)[..., None]
    losses = {}
    for task in task_names(config):
        if task == SEGMENTATION:
            losses[task] = mask_loss(outputs, batch, config)
        elif task == LOCALISATION:
            losses[task] = localisation_loss(outputs.cell_logits, defect, valid)
        else:
            weight = batch["valid"].any(axis=(1, 2)).astype(jnp.float32)
            losses[task] = classification_loss(outputs.label_logits, batch["label"], weight)
    return losses


def mask_loss(outputs: Outputs, batch: Batch, config: ConfigDict) -> Float[Array, ""]:
    """The segmentation loss of the heads; with pixel confidence, also of the refined map."""
    loss, valid = config.loss, batch["valid"].astype(jnp.float32)[..., None]
    mask = one_hot(batch["mask"], outputs.mask_logits.shape[-1])
    weight = mask_pixel_weight(outputs, batch, config) if loss.defect_weight else None
    shares = loss.bce_weight, loss.dice_weight, weight
    before = segmentation_loss(outputs.mask_logits, mask, valid, *shares)
    if outputs.refined_logits is None:
        return before
    after = segmentation_loss(outputs.refined_logits[None], mask, valid, *shares)
    return (1.0 - loss.refined_share) * before + loss.refined_share * after


def mask_pixel_weight(
    outputs: Outputs, batch: Batch, config: ConfigDict
) -> Float[Array, "b h w 1"]:
    """Weights of the pixels, from the true mask and, where the config says so, localisation."""
    loss, valid = config.loss, batch["valid"].astype(jnp.float32)[..., None]
    defect = (batch["mask"] > 0).astype(jnp.float32)[..., None]
    found = on_pixels(outputs.cell_logits, defect.shape[1]) if loss.weight_localised else None
    return pixel_weight(defect, valid, found, loss.defect_weight, loss.weight_dilation_px)
