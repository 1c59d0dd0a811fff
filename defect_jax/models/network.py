"""The whole network: image in, mask logits and label logits out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float, Float32

from defect_jax.models.attention import NODES
from defect_jax.models.blocks import BLOCKS, NORMS, upsample
from defect_jax.models.class_maps import mean_logits
from defect_jax.models.confidence import CONFIDENCES
from defect_jax.models.decoders import DECODERS
from defect_jax.models.encoders import PLAIN, make_encoder, unit_px
from defect_jax.models.fields import (
    DTYPES,
    NO_DECODER,
    NONE,
    check_fields,
    check_size,
    checked_widths,
)
from defect_jax.models.heads import LABEL_HEADS, MaskHeads
from defect_jax.models.localisation import (
    LOCALISATIONS,
    ON_ENCODER,
    Embedding,
    HighestCell,
    first_embedded_row,
    fitted,
)

SEEN = "intermediates"  # the collection of what `encode` tells those who ask for it


class Outputs(NamedTuple):
    """What the network returns; c as `models.class_maps` has it."""

    mask_logits: Float32[Array, "heads b h w c"]  # one head a column of UNet++, the last is finest
    label_logits: Float32[Array, " b"] | None  # None without classification head
    cell_logits: Float32[Array, "b rows columns 1"] | None = None  # None without localisation
    refined_logits: Float32[Array, "b h w c"] | None = None  # None without pixel confidence
    label_branches: Float32[Array, "branches b"] | None = None  # their mean is the label; None: one


class SegmentationNetwork(nn.Module):
    """Shared encoder, a decoder with mask heads, and parts that can each be left out.

    The classification head hangs off the encoder's features and nothing hangs off it: the same
    params without it give the same masks, bit for bit (Dong et al. 2025, arXiv 2510.13226, call it
    classifier-as-plugin). Localisation and pixel confidence are the two modules of LPC-Net (Wang et
    al. 2025, Sensors 25(15), 4548).

    Attributes:
        decoder: Name in `decoders.DECODERS`, or `NO_DECODER`.
        widths: Filters of each row, finest first; depth = `len(widths) - 1` poolings. A pretrained
            encoder has channels of its own: there they are those of the decoder's nodes, and the
            last, of a row without nodes, only counts as a row.
        attention: Name in `attention.NODES`.
        deep_supervision: Mask logits from every X(0,j) instead of the last alone (UNet++ only; the
            U-Net has one).
        prune: j ≥ 1: out of training the masks are those of X(0,j) alone, and nothing is computed
            that only the other heads read (UNet++, Zhou et al. 2019, arXiv 1912.05074, section on
            pruning). The parameters stay those of the whole network. 0: all heads. A label head
            that reads the masks reads those that are left.
        classification_head: Whether there is a label logit.
        label_head: Name in `heads.LABEL_HEADS`: what the label logit is read off.
        dropout: Share of the classification head's inputs dropped in training.
        norm: Name in `blocks.NORMS`.
        block: Name in `blocks.BLOCKS`.
        dtype: Of the computation, name in `fields.DTYPES`; params and logits are always float32.
        num_classes: Of defects that the mask tells apart; 1: defect or not.
        localisation: "none", or a name in `localisation.LOCALISATIONS`.
        localisation_widths: Filters of its own backbone.
        embedding: Whether the grid is written into the encoder's features.
        pixel_confidence: "none", or a name in `confidence.CONFIDENCES`.
        window_px: Side of a pixel's neighbourhood there, odd.
        localisation_frozen: Whether the own backbone keeps its statistics in training, too.
        encoder: Name in `encoders.ENCODERS`.
        weights: What a pretrained encoder begins with, see `pretrained.sources`; empty: nothing,
            it is drawn as the rest.
        frozen_statistics: Whether the batch statistics that come with the weights stay.

    Raises:
        UserError: At construction, for a value that does not fit; at the first call, for an image
            whose sides cannot be halved as often as the encoder does.
    """

    decoder: str = "unetplusplus"
    widths: Sequence[Any] = (32, 64, 128, 256, 512)
    attention: str = "none"
    deep_supervision: bool = True
    prune: int = 0
    classification_head: bool = True
    dropout: float = 0.2
    norm: str = "batch"
    block: str = "plain"
    dtype: str = "float32"
    num_classes: int = 1
    localisation: str = "none"
    localisation_widths: Sequence[Any] = (16, 32, 64, 128, 128)
    embedding: bool = False
    pixel_confidence: str = "none"
    window_px: int = 7
    localisation_frozen: bool = False
    encoder: str = PLAIN
    weights: str = ""
    frozen_statistics: bool = True
    label_head: str = "deepest"

    def __post_init__(self) -> None:
        self.widths = checked_widths("widths", self.widths)
        self.localisation_widths = checked_widths("localisation_widths", self.localisation_widths)
        check_fields(vars(self))
        super().__post_init__()

    def setup(self) -> None:
        layers = BLOCKS[self.block], NORMS[self.norm], DTYPES[self.dtype]
        frozen = self.frozen_statistics and self.weights != ""
        name = "encoder"  # of its parameters; the attribute of that name is a field
        self.shared_encoder = make_encoder(self.encoder, self.widths, *layers, frozen, name)
        if self.localisation != NONE:
            localiser = LOCALISATIONS[self.localisation]
            self.localiser = localiser(self.localisation_widths, *layers)
        if self.embedding:
            self.embedder = Embedding()
        if self.decoder != NO_DECODER:
            self.nodes = DECODERS[self.decoder](NODES[self.attention], self.widths, *layers)
            self.mask_heads = MaskHeads(self.num_classes)
        if self.pixel_confidence != NONE:
            self.refiner = CONFIDENCES[self.pixel_confidence](self.window_px)
        if self.classification_head:
            self.labeller = LABEL_HEADS[self.label_head](self.dropout, name="label_head")
            self.highest_cell = HighestCell() if self.embedding else None

    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Outputs:
        """Compute logits for a batch of normalised images, grey, RGB or of any channel count.

        In training it needs `mutable=["batch_stats"]` and, with a classification head, a key
        named "dropout".
        """
        if self.decoder == NO_DECODER:
            features = self.encode(image, train) if self.localiser.reads_encoder else []
            cells = self.cell_logits(image, features, train)
            return Outputs(fitted(cells, image.shape[1])[None], None, cells)
        features = self.encode(image, train)
        cells = self.cell_logits(image, features, train)
        if self.embedding:
            features = self.embedder(features, cells, first_embedded_row(len(self.widths)))
        mask_logits = self.mask_logits(features, train)
        refined = None if self.pixel_confidence == NONE else self.refiner(mean_logits(mask_logits))
        if not self.classification_head:
            return Outputs(mask_logits, None, cells, refined)
        branches = self.labeller(features, mask_logits, train)
        if self.embedding:
            branches += self.highest_cell(cells)[None]
        several = branches if len(branches) > 1 else None
        return Outputs(mask_logits, branches.mean(axis=0), cells, refined, several)

    def encode(self, image: Float[Array, "b h w c"], train: bool) -> list[Float[Array, "b _ _ _"]]:
        """Return the encoder features, finest first: all that the two tasks share.

        In a pruned network, where nothing else reads the deepest rows, without those. Whoever
        applies the network with `mutable=SEEN` gets them beside its outputs, see `rows_seen`.
        """
        check_size(image.shape[1], image.shape[2], unit_px(self.encoder, len(self.widths)))
        on_deepest = self.classification_head or self.localisation == ON_ENCODER
        only_masks = self.is_pruned(train) and not on_deepest
        rows = self.prune + 1 if only_masks else len(self.widths)
        features = self.shared_encoder(image, train, rows)
        self.sow(SEEN, "rows", features)
        return features

    def is_pruned(self, train: bool) -> bool:
        """Return whether this call leaves anything out: training does not, nor does
        initialisation."""
        return self.prune > 0 and not train and not self.is_initializing()

    def cell_logits(
        self, image: Float[Array, "b h w c"], features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> Float32[Array, "b rows columns 1"] | None:
        """Return logits of the localisation's grid, None without it."""
        if self.localisation == NONE:
            return None
        if not self.localiser.reads_encoder:
            check_size(*image.shape[1:3], unit_px(PLAIN, len(self.localisation_widths)))
        return self.localiser(image, features, train and not self.localisation_frozen)

    def mask_logits(
        self, features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> Float32[Array, "heads b h w c"]:
        """Return the mask logits of every head from the encoder features; pruned, of one."""
        if self.is_pruned(train):
            finest = self.nodes(features[: self.prune + 1], train)
            return self.enlarged(self.mask_heads(finest[-1:], first=self.prune - 1))
        finest = self.nodes(features, train)
        return self.enlarged(self.mask_heads(finest if self.deep_supervision else finest[-1:]))

    def enlarged(self, logits: Float32[Array, "heads b _ _ c"]) -> Float32[Array, "heads b h w c"]:
        """Return logits of the finest row's cells at the image's own resolution."""
        heads, b, *_ = logits.shape
        cell_px = self.shared_encoder.finest_px
        while cell_px > 1:
            doubled = upsample(logits.reshape(-1, *logits.shape[2:]))
            logits = doubled.reshape(heads, b, *doubled.shape[1:])
            cell_px //= 2
        return logits


def rows_seen(told: Mapping[str, Any]) -> list[Float[Array, "b _ _ _"]]:
    """Return the encoder's features of a call with `mutable=SEEN`; none where it has none."""
    return list(told[SEEN]["rows"][0]) if SEEN in told else []
