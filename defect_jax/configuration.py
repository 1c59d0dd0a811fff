"""The resolved config of a workdir: checked, written once, compared with later requests."""

import json
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from defect_jax import atomic
from defect_jax.data.intensity import intensity
from defect_jax.data.prepared import Prepared
from defect_jax.decision.rules import RULES
from defect_jax.decision.shots import SHOTS
from defect_jax.errors import UserError
from defect_jax.metrics.slices import size_edges
from defect_jax.paths import AnyPath, read_text
from defect_jax.profile import span

# Where the data lie, how they are read and on what devices changes no result: a workdir may be
# moved.
FREE_FIELDS = (
    "data.root",
    "data.data_dir",
    "data.threads",
    "data.workers",
    "data.max_megapixels",
    "mesh.data",
    "mesh.fsdp",
    "compilation_cache",
    "profile",
)
FREE_GROUP = "decision."  # comes after training, and may be made anew


def check(config: ConfigDict) -> None:
    """Refuses values that could only fail later.

    Raises:
        UserError: naming the field and what it may be.
    """
    values = _flat(config)
    unit = 2 ** (len(config.model.widths) - 1)
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "train.steps": (lambda steps: steps >= 2, "at least 2"),
        "train.batch_size": (lambda size: size >= 1, "at least 1"),
        "train.log_every_steps": (lambda steps: steps >= 1, "at least 1"),
        "train.eval_every_steps": (
            lambda steps: steps >= 1 and steps % max(config.train.log_every_steps, 1) == 0,
            "a multiple of train.log_every_steps, so that a resumed run logs the same lines",
        ),
        "data.size": (
            lambda size: len(size) == 2 and all(s > 0 and s % unit == 0 for s in size),
            f"two sides divisible by {unit}, for {len(config.model.widths)} levels",
        ),
        "data.positive_fraction": (
            lambda share: share is None or 0.0 < share < 1.0,
            "between 0 and 1, or None for the set's own share",
        ),
        "data.threads": (lambda threads: threads >= 0, "0 or more"),
        "data.workers": (lambda workers: workers >= 0, "0 or more"),
        "data.max_scale": (
            lambda scale: 0.0 <= config.data.min_scale <= scale and scale > 0.0,
            "above 0 and not below data.min_scale",
        ),
        "data.max_stretch": (lambda factor: factor >= 1.0, "at least 1"),
        "balance.initial_steps": (lambda steps: steps >= 1, "at least 1"),
        "balance.measure_every_steps": (lambda steps: steps >= 1, "at least 1"),
        "optimizer.learning_rate": (lambda rate: rate > 0.0, "above 0"),
        "optimizer.average_decay": (lambda decay: 0.0 <= decay < 1.0, "from 0 to below 1"),
    }
    rules |= _decision_rules()
    span(config.get("profile", ""))
    for field, (holds, rule) in rules.items():
        if field not in values:
            raise UserError(f"config.{field} is missing: name the --config that has it")
        if not holds(values[field]):
            raise UserError(f"config.{field} is {values[field]}: it must be {rule}")


def _decision_rules() -> dict[str, tuple[Callable[[Any], bool], str]]:
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


def resolve(config: ConfigDict, prepared: Prepared) -> ConfigDict:
    """Adds what the prepared data decide: form and intensity of the pictures, their fingerprint."""
    info, training = prepared.info, intensity(prepared.splits["train"])
    resolved = ConfigDict(config.to_dict())
    resolved.picture = ConfigDict(
        {
            "channels": info.channels,
            "bit_depth": info.bit_depth,
            "mean": training.mean,
            "deviation": training.deviation,
            "fingerprint": info.fingerprint,
            "leaking": info.leaking,
            "defect_edges_px": size_edges([row.defect_px for row in prepared.splits["train"].rows]),
        }
    )
    return resolved


def claim(workdir: AnyPath, config: ConfigDict) -> None:
    """Writes config.json into a new workdir, or checks that the one there agrees.

    Raises:
        UserError: a field that changes results differs.
    """
    path = workdir / "config.json"
    if path.exists():
        refuse_differences(load(workdir), config, path)
        return
    if (workdir / "checkpoints").exists():
        raise UserError(f"{workdir}: has checkpoints but no config.json; choose another --workdir")
    try:
        atomic.write_text(path, json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise UserError(f"--workdir {workdir}: cannot be written: {error.strerror}") from error


def load(workdir: AnyPath) -> ConfigDict:
    """Reads config.json of a workdir.

    Raises:
        UserError: it is missing or damaged.
    """
    path = workdir / "config.json"
    try:
        return ConfigDict(json.loads(read_text(path)))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not there; train first, or name the --workdir of a trained network"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def decisive(config: ConfigDict) -> dict[str, Any]:
    """All fields that change results, by dotted name."""
    return {field: value for field, value in _flat(config).items() if field not in FREE_FIELDS}


def refuse_differences(kept: ConfigDict, asked: ConfigDict, path: AnyPath) -> None:
    """Compares all fields that change results; `asked` may lack what only the data resolve."""
    before, now = _flat(kept), _flat(asked)
    if not any(field.startswith("picture.") for field in now):
        before = {f: value for f, value in before.items() if not f.startswith("picture.")}
    fields = sorted(field for field in before.keys() | now.keys() if not _is_free(field))
    changes = [
        f"{field} was {before.get(field)}, is {now.get(field)}"
        for field in fields
        if before.get(field) != now.get(field)
    ]
    if changes:
        raise UserError(
            f"{path}: this workdir belongs to another config ({'; '.join(changes)}); "
            "choose another --workdir or undo the change"
        )


def _flat(config: ConfigDict) -> dict[str, Any]:
    """Dotted field -> value, as JSON has it (tuples are lists)."""

    def walk(node: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(node, dict):
            return {prefix: node}
        leaves: dict[str, Any] = {}
        for name, child in node.items():
            leaves |= walk(child, f"{prefix}.{name}" if prefix else name)
        return leaves

    return walk(json.loads(json.dumps(config.to_dict())), "")


def of_workdir(workdir: AnyPath, asked: ConfigDict | None) -> ConfigDict:
    """The workdir's own config, with the free fields (data, devices) of `asked`.

    Raises:
        UserError: `asked` differs in a field that changes results.
    """
    kept = load(workdir)
    if asked is None:
        return kept
    refuse_differences(kept, asked, workdir / "config.json")
    kept.update_from_flattened_dict({field: _flat(asked)[field] for field in FREE_FIELDS})
    kept.decision = ConfigDict(asked.decision.to_dict())
    return kept


def keep_decision(workdir: AnyPath, config: ConfigDict) -> None:
    """Writes `config.decision` into config.json: the wish that decision.json now fulfils."""
    kept = load(workdir)
    if kept.to_dict().get("decision") != config.decision.to_dict():
        kept.decision = config.decision
        text = json.dumps(kept.to_dict(), indent=2, sort_keys=True)
        atomic.write_text(workdir / "config.json", text + "\n")


def _is_free(field: str) -> bool:
    return field in FREE_FIELDS or field.startswith(FREE_GROUP)
