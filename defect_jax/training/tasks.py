"""The tasks of a network and the loss of each, before any weighting."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from defect_jax.data.pipeline.batches import Batch
from defect_jax.losses.classification import classification_loss
from defect_jax.losses.highest_pixel import highest_pixel_loss
from defect_jax.losses.localisation import localisation_loss
from defect_jax.losses.pixel_weight import pixel_weight
from defect_jax.losses.segmentation import one_hot, segmentation_loss
from defect_jax.models.fields import NO_DECODER, NONE
from defect_jax.models.localisation import on_pixels
from defect_jax.models.network import Outputs
from defect_jax.training.stages import is_frozen

SEGMENTATION, CLASSIFICATION, LOCALISATION = "segmentation", "classification", "localisation"


def task_names(config: ConfigDict) -> tuple[str, ...]:
    """Return the tasks that the network of this config learns."""
    model = config.model
    learns = {
        SEGMENTATION: model.decoder != NO_DECODER,
        CLASSIFICATION: model.classification_head,
        LOCALISATION: model.localisation != NONE and not is_frozen(config),
    }
    return tuple(task for task, is_learnt in learns.items() if is_learnt)


def task_losses(outputs: Outputs, batch: Batch, config: ConfigDict) -> dict[str, Float[Array, ""]]:
    """Return the loss of each task that the network learns."""
    valid = batch["valid"].astype(jnp.float32)[..., None]
    known = valid * batch["masked"][:, None, None, None]  # of other images the mask says nothing
    defect = (batch["mask"] > 0).astype(jnp.float32)[..., None]
    image = batch["valid"].any(axis=(1, 2)).astype(jnp.float32)
    losses = {
        SEGMENTATION: lambda: (
            mask_loss(outputs, batch["mask"], defect, known, config)
            + label_on_mask(outputs, batch["label"], valid, config)
        ),
        CLASSIFICATION: lambda: label_loss(outputs, batch["label"], image),
        LOCALISATION: lambda: localisation_loss(outputs.cell_logits, defect, known),
    }
    return {task: losses[task]() for task in task_names(config)}


def label_loss(
    outputs: Outputs, label: Float[Array, " b"], image: Float[Array, " b"]
) -> Float[Array, ""]:
    """Return the mean of the classification losses of the label's branches.

    Each learns by itself: of their sum, one that knows the training images by heart would leave
    the others nothing to learn.

    Args:
        image: 1 = image, 0 = padding of the batch.
    """
    branches = outputs.label_branches
    if branches is None:
        branches = outputs.label_logits[None]
    return jnp.mean(jax.vmap(lambda logits: classification_loss(logits, label, image))(branches))


def mask_loss(
    outputs: Outputs,
    mask: UInt8[Array, "b h w"],
    defect: Float[Array, "b h w 1"],
    valid: Float[Array, "b h w 1"],
    config: ConfigDict,
) -> Float[Array, ""]:
    """Return the segmentation loss of the heads; with pixel confidence, also of the refined map.

    Args:
        mask: class of each pixel, 0 = background.
        defect: 1 where it is any.
        valid: 1 = pixel whose truth is known, 0 = padding, or of an image without a mask.
    """
    loss, weight = config.loss, None
    if loss.defect_weight:
        found = on_pixels(outputs.cell_logits, defect.shape[1]) if loss.weight_localised else None
        weight = pixel_weight(defect, valid, found, loss.defect_weight, loss.weight_dilation_px)
    truth = one_hot(mask, outputs.mask_logits.shape[-1])
    shares = loss.bce_weight, loss.dice_weight, weight
    before = segmentation_loss(outputs.mask_logits, truth, valid, *shares)
    if outputs.refined_logits is None:
        return before
    after = segmentation_loss(outputs.refined_logits[None], truth, valid, *shares)
    return (1.0 - loss.refined_share) * before + loss.refined_share * after


def label_on_mask(
    outputs: Outputs,
    label: Float[Array, " b"],
    valid: Float[Array, "b h w 1"],
    config: ConfigDict,
) -> Float[Array, ""] | float:
    """Return what the labels alone teach the masks, see `losses.highest_pixel`; 0 where off.

    Args:
        valid: 1 = pixel of the image, 0 = padding.
    """
    share = config.loss.highest_pixel_weight
    return share * highest_pixel_loss(outputs.mask_logits, label, valid) if share else 0.0
