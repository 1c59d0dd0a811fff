"""Every field that a config may have, and what it may be by itself.

One table for all modes: what is written into config.json, and what is read back from a config.json
that somebody else may have written. A field that is not in the table is refused; what fields must
be to each other is in `config_rules`.

What data sets and trackers there are is written here once more, since whoever predicts needs none
of them; tests/test_config_schema.py compares. Upper limits are far above anything of use. They are
there because a size from a file is memory that the program asks for.
"""

from collections.abc import Mapping
from typing import Any

from defect_jax.data.geometry.channels import MOST_CHANNELS
from defect_jax.data.geometry.region import MOST_CHARACTERS, PREFIX, is_text_of_region
from defect_jax.decision.record import SEQUENTIAL_TESTS, WAYS_TO_DECIDE
from defect_jax.decision.rules import RULES
from defect_jax.decision.shots import SHOTS
from defect_jax.models.fields import DTYPES, NAMES
from defect_jax.runtime.field_rules import (
    FieldRule,
    above,
    flag,
    inside_one,
    is_number,
    number,
    one_of,
    or_null,
    several,
    share_below_one,
    text,
    whole,
)

# Data set -> fields that it has besides those of all.
DATA_SETS: dict[str, tuple[str, ...]] = {
    "synthetic": ("data.parts", "data.shots", "data.defective_fraction", "data.picture_size"),
    "magnetic_tile": ("data.split", "data.fold"),
    "ksdd2": (),
    "bsdata": (),
    "folder": (),
    "tfds": (
        *("data.tfds", "data.tfds_image", "data.tfds_mask", "data.tfds_label", "data.tfds_id"),
        "data.tfds_group",
    ),
}
NEEDS_NO_ROOT = ("synthetic",)  # it is generated
DEFECT_KINDS = ("fray", "hair_crack", "pit", "scratch", "stain", "weave")
TRACKERS = ("wandb", "mlflow")
MOST_STEPS = 10**9
MOST_CLASSES = 255
MOST_FOLDS = 20
LARGEST_SIDE_PX = 8192
WIDEST = 4096  # filters of a row of the network
WEIGHT = number(0.0, 1e6)  # of a loss, of a task, of a mistake
SHARE = number(0.0, 1.0)
EARLY_RATE = FieldRule(  # Wald's bounds would meet at a half
    lambda rate: is_number(rate) and 0.0 < rate < 0.5, "above 0 and below 0.5", True
)
SEED = whole(0, 2**63 - 1)
WIDTHS = several(whole(1, WIDEST), 2, 10)
DECODERS, ATTENTIONS, NORMS = NAMES["decoder"], NAMES["attention"], NAMES["norm"]

Table = dict[str, FieldRule]


def each_channel(rule: FieldRule) -> FieldRule:
    """Return the rule of one number for all channels, or of a list with one for each."""
    of_each = several(rule, 2, MOST_CHANNELS)
    return FieldRule(
        lambda value: rule.holds(value) or of_each.holds(value),
        f"{rule.words}, or a list with one for each channel",
        rule.is_float,
    )


def _below(section: str, rules: Table) -> Table:
    return {f"{section}.{name}": rule for name, rule in rules.items()}


# What a config with `minutes` may leave open (None), for the plan of a run to fill.
PLANNED = (
    "model.decoder",
    "model.widths",
    "model.dtype",
    "optimizer.learning_rate",
    "optimizer.warmup_steps",
    "optimizer.average_decay",
    "balance.fixed.weights.segmentation",
    "balance.fixed.weights.classification",
    "data.size",
    "data.max_stretch",
    "data.tile_overlap_px",
    "train.batch_size",
    "train.steps",
    "train.log_every_steps",
    "train.eval_every_steps",
)


def left_open(values: Mapping[str, Any]) -> list[str]:
    """Return the fields of a flat config that a plan has to fill."""
    return [field for field in PLANNED if "minutes" in values and values.get(field) is None]


RUN: Table = {
    "seed": SEED,
    "minutes": above(0.0, 1e6),
    "compilation_cache": text(),
    "profile": text(100),
    "track": FieldRule(
        lambda name: isinstance(name, str) and name in ("", *TRACKERS),
        f"empty or one of {', '.join(TRACKERS)}",
    ),
    "mesh.data": whole(-1, 65536),
    "mesh.fsdp": whole(-1, 65536),
}
DATA = _below(
    "data",
    {
        "name": one_of(tuple(DATA_SETS)),
        "root": text(),
        "data_dir": text(),
        "folds": FieldRule(
            lambda count: type(count) is int and (count == 0 or 2 <= count <= MOST_FOLDS),
            f"0 (none), or from 2 to {MOST_FOLDS}",
        ),
        "seed": SEED,
        "max_megapixels": above(0.0, 1e4),
        "mask_threshold": whole(0, 65535),
        "mask_alpha": flag(),
        "trust_masks": flag(),
        "masked_positives": or_null(whole(0, 10**9)),
        "drop_unmasked": flag(),
        "ignore_value": or_null(whole(1, 65535)),
        "region": FieldRule(
            lambda value: (
                text(MOST_CHARACTERS).holds(value)
                and (not value.startswith(PREFIX) or is_text_of_region(value))
            ),
            "the name of an image, or a region as a run writes it",
        ),
        "float_range": several(number(-1e30, 1e30), 0, 2),
        "classes": several(text(200), 0, MOST_CLASSES),
        "lights": whole(1, MOST_CHANNELS),
        "size": several(whole(1, LARGEST_SIDE_PX), 2, 2),
        "min_scale": number(0.0, 1e3),
        "max_scale": above(0.0, 1e3),
        "max_stretch": number(1.0, 1e3),
        "tile_overlap_px": whole(0, LARGEST_SIDE_PX),
        "positive_fraction": or_null(inside_one()),
        "adaptive.most_often": number(1.0, 100.0),
        "adaptive.every_steps": whole(1, 10_000),  # their images are listed
        "threads": whole(0, 1024),
        "workers": whole(0, 1024),
        "cache_mb": whole(0, 10**7),
        "augment.shrink": share_below_one(),
        "augment.stretch": number(0.0, 5.0),
        "augment.paste": SHARE,
        "augment.changes.flip_horizontal": flag(),
        "augment.changes.flip_vertical": flag(),
        "augment.changes.shift_px": whole(0, LARGEST_SIDE_PX),
        "augment.changes.brightness": number(0.0, 10.0),
        "augment.changes.contrast": number(0.0, 10.0),
        "augment.changes.gamma": number(0.0, 10.0),
        "augment.changes.noise": number(0.0, 10.0),
        "augment.changes.blur_px": number(0.0, 100.0),
        # of the synthetic set
        "parts": whole(1, 1_000_000),
        "shots": whole(1, 1000),
        "defective_fraction": SHARE,
        "defect_kinds": several(one_of(DEFECT_KINDS), 1, len(DEFECT_KINDS)),
        "picture_size": several(whole(64, 4096), 2, 2),
        # of magnetic tile
        "split": one_of(("grouped", "random")),
        "fold": whole(0, 4),
        # of a set that TFDS has prepared
        "tfds": text(200),
        "tfds_image": text(200),
        "tfds_mask": text(200),
        "tfds_label": text(200),
        "tfds_id": text(200),
        "tfds_group": text(200),
    },
)
# What the data decide, see `data.prepare.data_info`.
DATA_INFO = _below(
    "data_info",
    {
        "channels": whole(1, MOST_CHANNELS),
        "lights": several(
            FieldRule(lambda count: type(count) is int and count in (1, 3), "1 or 3"),
            2,
            MOST_CHANNELS,
        ),
        "bit_depth": FieldRule(lambda depth: type(depth) is int and depth in (8, 16), "8 or 16"),
        "classes": several(text(200), 1, MOST_CLASSES),
        "mean": each_channel(number(-1e3, 1e3)),
        "std": each_channel(number(1e-4, 1e3)),
        "low": each_channel(number(-1e6, 1e6)),
        "high": each_channel(number(-1e6, 1e6)),
        "fingerprint": text(200),
        "leaking": flag(),
        "defect_edges_px": or_null(several(whole(1, 2**40), 4, 4)),
    },
)
MODEL = _below(
    "model",
    {
        "encoder": one_of(NAMES["encoder"]),
        "weights": text(),
        "frozen_statistics": flag(),
        "decoder": one_of(DECODERS),
        "widths": WIDTHS,
        "attention": one_of(ATTENTIONS),
        "deep_supervision": flag(),
        "prune": whole(0, 9),
        "classification_head": flag(),
        "label_head": one_of(NAMES["label_head"]),
        "dropout": share_below_one(),
        "norm": one_of(NORMS),
        "block": one_of(NAMES["block"]),
        "dtype": one_of(tuple(DTYPES)),
        "num_classes": whole(1, MOST_CLASSES),
        "localisation": one_of(NAMES["localisation"]),
        "localisation_widths": WIDTHS,
        "embedding": flag(),
        "pixel_confidence": one_of(NAMES["pixel_confidence"]),
        "window_px": FieldRule(
            lambda side: type(side) is int and 3 <= side <= 99 and side % 2 == 1,
            "odd, from 3 to 99",
        ),
    },
)
TRAINING: Table = {
    "loss.bce_weight": WEIGHT,
    "loss.dice_weight": WEIGHT,
    "loss.defect_weight": WEIGHT,
    "loss.weight_localised": flag(),
    "loss.weight_dilation_px": whole(0, LARGEST_SIDE_PX),
    "loss.highest_pixel_weight": WEIGHT,
    "loss.refined_share": SHARE,
    # The methods are named by `training.optimizer`, which is above this room.
    "balance.method": text(100),
    "balance.shared": text(200),
    "balance.initial_steps": whole(1, MOST_STEPS),
    "balance.measure_every_steps": whole(1, MOST_STEPS),
    "balance.fixed.weights.segmentation": WEIGHT,
    "balance.fixed.weights.classification": WEIGHT,
    "balance.fixed.weights.localisation": WEIGHT,
    "balance.gradnorm.alpha": number(0.0, 100.0),
    "balance.gradnorm.learning_rate": above(0.0, 1e3),
    "balance.gradnorm.floor": share_below_one(),
    "balance.uncertainty.learning_rate": above(0.0, 1e3),
    "balance.dwa.temperature": above(0.0, 1e6),
    "balance.dwa.window_steps": whole(1, 10**6),
    "balance.famo.learning_rate": above(0.0, 1e3),
    "balance.famo.decay": number(0.0, 1e3),
    "balance.cagrad.c": number(0.0, 1e3),
    "optimizer.learning_rate": above(0.0, 1e38),
    "optimizer.encoder_rate": SHARE,
    "optimizer.warmup_steps": whole(0, MOST_STEPS),
    "optimizer.weight_decay": number(0.0, 1e3),
    "optimizer.clip_norm": above(0.0, 1e38),
    "optimizer.average_decay": share_below_one(),
    "train.steps": whole(2, MOST_STEPS),
    "train.localisation_steps": whole(0, MOST_STEPS),
    "train.batch_size": whole(1, 65536),
    "train.log_every_steps": whole(1, MOST_STEPS),
    "train.eval_every_steps": whole(1, MOST_STEPS),
}
DECIDING: Table = {
    "evaluation.dtype": one_of(tuple(DTYPES)),
    "evaluation.flips": flag(),
    "decision.rule": one_of(tuple(RULES)),
    "decision.decides": one_of(("", *WAYS_TO_DECIDE)),
    "decision.recall": SHARE,
    "decision.false_positive_rate": SHARE,
    "decision.miss_cost": WEIGHT,
    "decision.false_alarm_cost": WEIGHT,
    "decision.defect_rate": SHARE,
    "decision.miss_rate": inside_one(),
    "decision.confidence": inside_one(),
    "decision.min_area_px": or_null(whole(1, 2**31 - 1)),
    "decision.shots": FieldRule(
        lambda name: isinstance(name, str) and name in ("", *SHOTS),
        f"empty or one of {', '.join(SHOTS)}",
    ),
    "decision.sequential": one_of(SEQUENTIAL_TESTS),
    "decision.early_miss_rate": EARLY_RATE,
    "decision.early_false_alarm_rate": EARLY_RATE,
}
FIELDS = RUN | DATA | DATA_INFO | MODEL | TRAINING | DECIDING

# Of a workdir, and of some data sets alone.
NOT_ALWAYS = {"data.defect_kinds", "minutes"} | DATA_INFO.keys()
OF_A_DATA_SET = {field for fields in DATA_SETS.values() for field in fields}
