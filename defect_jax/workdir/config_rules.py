"""What values of a config's fields are allowed, where a wrong one could only fail later."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from defect_jax.decision.rules import RULES
from defect_jax.decision.shots import SHOTS
from defect_jax.models.fields import DTYPES, NONE

Rules = dict[str, tuple[Callable[[Any], bool], str]]  # field -> test, and what it must be


def rules_of(config: ConfigDict) -> Rules:
    """Return the rules of every field that has one."""
    return _training_rules(config) | _data_rules(config) | _loss_rules(config) | _decision_rules()


def _training_rules(config: ConfigDict) -> Rules:
    return {
        "train.steps": (lambda steps: steps >= 2, "at least 2"),
        "train.batch_size": (lambda size: size >= 1, "at least 1"),
        "train.log_every_steps": (lambda steps: steps >= 1, "at least 1"),
        "train.eval_every_steps": (
            lambda steps: steps >= 1 and steps % max(config.train.log_every_steps, 1) == 0,
            "a multiple of train.log_every_steps, so that a resumed run logs the same lines",
        ),
        "train.localisation_steps": (
            lambda steps: steps == 0 or steps >= 2 and config.model.localisation != NONE,
            "0, or at least 2 with a config.model.localisation",
        ),
        "balance.initial_steps": (lambda steps: steps >= 1, "at least 1"),
        "balance.measure_every_steps": (lambda steps: steps >= 1, "at least 1"),
        "evaluation.dtype": (lambda dtype: dtype in DTYPES, f"one of {', '.join(DTYPES)}"),
        "optimizer.learning_rate": (lambda rate: rate > 0.0, "above 0"),
        "optimizer.average_decay": (lambda decay: 0.0 <= decay < 1.0, "from 0 to below 1"),
    }


def _data_rules(config: ConfigDict) -> Rules:
    levels = len(config.model.widths)
    if config.model.localisation == "backbone":
        levels = max(levels, len(config.model.localisation_widths))
    unit = 2 ** (levels - 1)
    return _mask_rules(config) | {
        "data.size": (
            lambda size: len(size) == 2 and all(s > 0 and s % unit == 0 for s in size),
            f"two sides divisible by {unit}, for {levels} levels",
        ),
        "data.positive_fraction": (
            lambda share: share is None or 0.0 < share < 1.0,
            "between 0 and 1, or None for the set's own share",
        ),
        "data.mask_threshold": (lambda value: value >= 0, "0 or more"),
        "data.threads": (lambda threads: threads >= 0, "0 or more"),
        "data.workers": (lambda workers: workers >= 0, "0 or more"),
        "data.cache_mb": (lambda megabytes: megabytes >= 0, "0 or more"),
        "data.max_scale": (
            lambda scale: 0.0 <= config.data.min_scale <= scale and scale > 0.0,
            "above 0 and not below data.min_scale",
        ),
        "data.max_stretch": (lambda factor: factor >= 1.0, "at least 1"),
        "data.tile_overlap_px": (
            lambda overlap: overlap % unit == 0 and 0 <= overlap <= min(config.data.size) // 2,
            f"0, or at most half of the smaller data.size and divisible by {unit}, so that all "
            "tiles are halved alike",
        ),
    }


def _mask_rules(config: ConfigDict) -> Rules:
    if "mask_alpha" not in config.data:  # a run from before masks could be drawn in it
        return {}
    return {
        "data.mask_alpha": (
            lambda alpha: not alpha or not config.data.classes,
            "False where config.data.classes names classes, whose ids are the masks' values",
        ),
    }


def _loss_rules(config: ConfigDict) -> Rules:
    return {
        "loss.defect_weight": (lambda weight: weight >= 0.0, "0 or more"),
        "loss.weight_dilation_px": (lambda reach: reach >= 0, "0 or more"),
        "loss.refined_share": (lambda share: 0.0 <= share <= 1.0, "from 0 to 1"),
        "loss.weight_localised": (
            lambda localised: not localised or config.model.localisation != NONE,
            "False where there is no config.model.localisation",
        ),
    }


def _decision_rules() -> Rules:
    share = (lambda rate: 0.0 <= rate <= 1.0, "from 0 to 1")
    inside = (lambda rate: 0.0 < rate < 1.0, "between 0 and 1")
    cost = (lambda cost: cost >= 0.0, "0 or more")
    return {
        "decision.rule": (lambda rule: rule in RULES, f"one of {', '.join(RULES)}"),
        "decision.shots": (lambda s: s in ("", *SHOTS), f"empty or one of {', '.join(SHOTS)}"),
        "decision.min_area_px": (
            lambda area: area is None or area >= 1,
            "at least 1, or None to choose it on validation",
        ),
        **dict.fromkeys(("decision.recall", "decision.false_positive_rate"), share),
        **dict.fromkeys(("decision.miss_rate", "decision.confidence"), inside),
        **dict.fromkeys(("decision.miss_cost", "decision.false_alarm_cost"), cost),
        "decision.defect_rate": share,
    }
