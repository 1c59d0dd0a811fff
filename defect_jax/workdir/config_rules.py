"""What the fields of a config must be to each other; `config_fields` says what each is by itself.

Each rule is for a config whose fields all are what they must be by themselves.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from defect_jax.models.encoders import PLAIN, unit_px
from defect_jax.models.fields import NONE

Rules = dict[str, tuple[Callable[[Any], bool], str]]  # field -> test, and what it must be
MOST_FRAME_PX = 2**25
MOST_BATCH_PX = 2**31
MOST_DRAWN_PX = 2**38
MOST_FILTER_PAIRS = 2**25  # of all rows together: some 7 GB of weights


def rules_of(config: ConfigDict) -> Rules:
    """Return the rules that are about several fields, under the one to change."""
    return _training_rules(config) | _data_rules(config) | _size_rules(config) | _loss_rules(config)


def _training_rules(config: ConfigDict) -> Rules:
    return {
        "train.eval_every_steps": (
            lambda steps: steps % config.train.log_every_steps == 0,
            "a multiple of train.log_every_steps, so that a resumed run logs the same lines",
        ),
        "train.localisation_steps": (
            lambda steps: steps == 0 or steps >= 2 and config.model.localisation != NONE,
            "0, or at least 2 with a config.model.localisation",
        ),
    }


def _data_rules(config: ConfigDict) -> Rules:
    levels = len(config.model.widths)
    unit = unit_px(config.model.encoder, levels)
    if config.model.localisation == "backbone":
        unit = max(unit, unit_px(PLAIN, len(config.model.localisation_widths)))
    return (
        _mask_rules(config)
        | _fold_rules(config)
        | {
            "data.size": (
                lambda size: all(side % unit == 0 for side in size),
                f"two sides divisible by {unit}, for {levels} levels of {config.model.encoder}",
            ),
            "data.max_scale": (
                lambda scale: config.data.min_scale <= scale,
                "not below data.min_scale",
            ),
            "data.tile_overlap_px": (
                lambda overlap: overlap % unit == 0 and 0 <= overlap <= min(config.data.size) // 2,
                f"0, or at most half of the smaller data.size and divisible by {unit}, so that all "
                "tiles are halved alike",
            ),
        }
    )


def _fold_rules(config: ConfigDict) -> Rules:
    rules: Rules = {
        "data.folds": (
            lambda folds: not folds or not config.train.localisation_steps,
            "0 where train.localisation_steps are above 0, whose best checkpoint the parts that "
            "are held out would choose",
        ),
    }
    if config.data.name == "magnetic_tile":
        rules["data.split"] = (
            lambda split: split == "grouped" or not config.data.folds,
            "grouped where there are config.data.folds, which keep parts together",
        )
    return rules


def _mask_rules(config: ConfigDict) -> Rules:
    return {
        "data.lights": (
            lambda lights: lights == 1 or config.data.name == "folder",
            "1 for a data set that is not your own folder",
        ),
        "data.float_range": (
            lambda ends: not ends or len(ends) == 2 and ends[0] < ends[1],
            "empty, or two numbers of which the second is higher",
        ),
        "data.masked_positives": (
            lambda count: count is None or not config.data.folds,
            "null where there are config.data.folds: those take the masks of the test split, too",
        ),
        "data.mask_alpha": (
            lambda alpha: not alpha or not config.data.classes,
            "False where config.data.classes names classes, whose ids are the masks' values",
        ),
    }


def _size_rules(config: ConfigDict) -> Rules:
    """Refuse what no machine has the memory for: a foreign file must not ask for it."""
    frame_px = math.prod(config.data.size)
    narrow = (_are_narrow, f"narrower: the squares together at most {MOST_FILTER_PAIRS:,}")
    rules: Rules = {
        "model.widths": narrow,
        "model.localisation_widths": narrow,
        "train.batch_size": (
            lambda size: frame_px <= MOST_FRAME_PX and size * frame_px <= MOST_BATCH_PX,
            f"smaller, or data.size: at most {MOST_FRAME_PX:,} px a frame and {MOST_BATCH_PX:,} in "
            "all",
        ),
    }
    if config.model.pixel_confidence != NONE:
        rules["model.window_px"] = (
            lambda side: side // 2 < min(config.data.size),
            "less than twice the smaller data.size",
        )
    if config.data.name == "synthetic":
        rules["data.parts"] = (
            lambda n: n * config.data.shots * math.prod(config.data.picture_size) <= MOST_DRAWN_PX,
            f"less, or data.shots or data.picture_size: at most {MOST_DRAWN_PX:,} px in all",
        )
    return rules


def _are_narrow(widths: Any) -> bool:
    return sum(width * width for width in widths) <= MOST_FILTER_PAIRS


def _loss_rules(config: ConfigDict) -> Rules:
    return {
        "loss.weight_localised": (
            lambda localised: not localised or config.model.localisation != NONE,
            "False where there is no config.model.localisation",
        ),
    }


def _is_of_each(values: Any, channels: int) -> bool:
    return not isinstance(values, list | tuple) or len(values) == channels


def data_info_rules(config: ConfigDict) -> Rules:
    """Return the rules of what the data decide, for a config that has it."""
    info = config.data_info
    rules: Rules = {
        "data_info.classes": (
            lambda names: len(names) == config.model.num_classes,
            f"as many names as config.model.num_classes, {config.model.num_classes}",
        )
    }
    rules["data_info.channels"] = (
        lambda count: count == sum(info.lights) if "lights" in info else count in (1, 3),
        "1 or 3, or the sum of data_info.lights",
    )
    if "lights" in info or config.data.lights > 1:
        rules["data_info.lights"] = (
            lambda lights: len(lights) == config.data.lights,
            f"as long as config.data.lights says, {config.data.lights}",
        )
    for name in ("mean", "std", "low"):
        if name in info:
            each = (lambda values: _is_of_each(values, info.channels), "as long as the channels")
            rules[f"data_info.{name}"] = each
    if "low" in info or "high" in info:
        low = info.get("low", math.inf)
        rules["data_info.high"] = (
            lambda high: _is_of_each(high, info.channels) and bool(np.all(np.greater(high, low))),
            "above data_info.low, and as long",
        )
    return rules
