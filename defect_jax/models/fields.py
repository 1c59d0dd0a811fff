"""What the fields of `config.model` may be."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from defect_jax.models.attention import NODES
from defect_jax.models.blocks import BLOCKS, NORMS
from defect_jax.models.confidence import CONFIDENCES
from defect_jax.models.decoders import DECODERS
from defect_jax.models.encoders import ENCODERS, PLAIN, most_rows
from defect_jax.models.heads import LABEL_HEADS
from defect_jax.models.localisation import LOCALISATIONS
from defect_jax.models.pretrained.sources import check_source
from defect_jax.runtime.errors import UserError

NO_DECODER = "grid"  # the mask is the localisation's grid, enlarged: the first of two stages
NONE = "none"
DTYPES: dict[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
NAMES = {
    "encoder": ENCODERS,
    "decoder": (*DECODERS, NO_DECODER),
    "attention": tuple(NODES),
    "norm": tuple(NORMS),
    "block": tuple(BLOCKS),
    "dtype": tuple(DTYPES),
    "label_head": tuple(LABEL_HEADS),
    "localisation": (NONE, *LOCALISATIONS),
    "pixel_confidence": (NONE, *CONFIDENCES),
}


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse values that do not exist, and parts that lack another.

    Raises:
        UserError: With the field and what it may be.
    """
    for field, known in NAMES.items():
        if fields[field] not in known:
            raise UserError(
                f"config.model.{field} is {fields[field]!r}: must be one of {', '.join(known)}"
            )
    if len(fields["widths"]) > most_rows(fields["encoder"]):
        raise UserError(
            f"config.model.widths has {len(fields['widths'])} rows: config.model.encoder "
            f"{fields['encoder']!r} has {most_rows(fields['encoder'])}"
        )
    if fields["encoder"] != PLAIN:  # which begins from nothing, whatever is named for the others
        check_source(fields["encoder"], fields["weights"])
    if not 0.0 <= fields["dropout"] < 1.0:
        raise UserError(f"config.model.dropout is {fields['dropout']}: must be from 0 to below 1")
    if fields["num_classes"] < 1:
        raise UserError(f"config.model.num_classes is {fields['num_classes']}: must be 1 or more")
    if fields["window_px"] < 3 or fields["window_px"] % 2 == 0:
        raise UserError(f"config.model.window_px is {fields['window_px']}: must be odd, 3 or more")
    if fields["localisation"] == NONE and fields["embedding"]:
        raise UserError("config.model.embedding is True: it needs a config.model.localisation")
    if fields["prune"]:
        _check_pruned(fields)
    if fields["decoder"] == NO_DECODER:
        _check_without_decoder(fields)


def _check_pruned(fields: Mapping[str, Any]) -> None:
    depth = len(fields["widths"]) - 1
    if not 1 <= fields["prune"] <= depth:
        raise UserError(
            f"config.model.prune is {fields['prune']}: must be 0, for the whole network, or the "
            f"column of one of its heads, 1 to {depth}"
        )
    if fields["decoder"] != "unetplusplus" or not fields["deep_supervision"]:
        raise UserError(
            f"config.model.prune is {fields['prune']}: only the decoder unetplusplus with "
            "deep_supervision=True has heads that can do without the others"
        )


def _check_without_decoder(fields: Mapping[str, Any]) -> None:
    if fields["localisation"] == NONE:
        raise UserError("config.model.decoder is 'grid': it needs a config.model.localisation")
    absent = {"classification_head": False, "embedding": False, "pixel_confidence": NONE}
    for field, value in (absent | {"num_classes": 1}).items():
        if fields[field] != value:
            raise UserError(f"config.model.{field}: must be {value!r} where the decoder is 'grid'")


def checked_widths(field: str, widths: Sequence[Any]) -> tuple[int, ...]:
    """Return the widths as a tuple: config.json has lists, and a module must be hashable.

    Raises:
        UserError: Fewer than two, or one that is no positive whole number.
    """
    if len(widths) < 2 or any(not isinstance(width, int) or width < 1 for width in widths):
        raise UserError(
            f"config.model.{field} is {tuple(widths)}: must be at least two positive numbers of "
            "filters, finest row first"
        )
    return tuple(widths)


def check_size(height_px: int, width_px: int, unit_px: int) -> None:
    """Refuse an image size that a network cannot halve down to its deepest row.

    Args:
        unit_px: px of the image that a cell of the deepest row has.

    Raises:
        UserError: With the size and the nearest that fit.
    """
    wrong = [
        f"{side} {size} (nearest: {_nearest(size, unit_px)})"
        for side, size in (("height", height_px), ("width", width_px))
        if size % unit_px or size == 0
    ]
    if wrong:
        raise UserError(
            f"config.data.size: image size {height_px}x{width_px} does not fit this network; both "
            f"sides must be divisible by {unit_px}: {', '.join(wrong)}"
        )


def _nearest(size: int, unit: int) -> str:
    below = size // unit * unit
    return f"{below} or {below + unit}" if below else str(unit)
