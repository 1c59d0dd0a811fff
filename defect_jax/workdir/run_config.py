"""The resolved config of a workdir: checked, written once, compared with later requests."""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, read_text
from defect_jax.runtime.profiler import span
from defect_jax.workdir.config_rules import rules_of

# Where the data lie, how they are read and on what devices changes no result: a workdir may be
# moved.
FREE_FIELDS = (
    "data.root",
    "data.data_dir",
    "data.threads",
    "data.workers",
    "data.cache_mb",
    "data.max_megapixels",
    "mesh.data",
    "mesh.fsdp",
    "compilation_cache",
    "profile",
)
# What comes after training, and may be chosen anew: what decides, and of which head.
CHOSEN_AFTER = ("decision.", "model.prune")


def check_values(config: ConfigDict) -> None:
    """Refuse values that could only fail later.

    Raises:
        UserError: naming the field and what it may be.
    """
    values = _flat(config)
    span(config.profile)
    for field, (holds, rule) in rules_of(config).items():
        if field not in values:
            raise UserError(f"config.{field} is missing: name the --config that has it")
        if not holds(values[field]):
            raise UserError(f"config.{field} is {values[field]}: it must be {rule}")


def resolve(config: ConfigDict, data_info: Mapping[str, Any]) -> ConfigDict:
    """Add what the prepared data decide, see `prepare.data_info`."""
    resolved = ConfigDict(config.to_dict())
    resolved.data_info = ConfigDict(dict(data_info))
    return resolved


def claim(workdir: AnyPath, config: ConfigDict) -> None:
    """Write config.json into a new workdir, or check that the one there agrees.

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
        _write(path, config)
    except OSError as error:
        raise UserError(f"--workdir {workdir}: cannot be written: {error.strerror}") from error


def load(workdir: AnyPath) -> ConfigDict:
    """Read config.json of a workdir.

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
    """Return all fields that change results, by dotted name."""
    return {field: value for field, value in _flat(config).items() if field not in FREE_FIELDS}


def refuse_differences(kept: ConfigDict, asked: ConfigDict, path: AnyPath) -> None:
    """Compare all fields that change results; `asked` may lack what only the data resolve."""
    before, now = _flat(kept), _flat(asked)
    if not any(field.startswith("data_info.") for field in now):
        before = {f: value for f, value in before.items() if not f.startswith("data_info.")}
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
    """Return dotted field -> value, as JSON has it (tuples are lists)."""

    def walk(node: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(node, dict):
            return {prefix: node}
        leaves: dict[str, Any] = {}
        for name, child in node.items():
            leaves |= walk(child, f"{prefix}.{name}" if prefix else name)
        return leaves

    return walk(json.loads(json.dumps(config.to_dict())), "")


def of_workdir(workdir: AnyPath, asked: ConfigDict | None) -> ConfigDict:
    """Return the workdir's own config, with the free fields (data, devices) of `asked`.

    Raises:
        UserError: `asked` differs in a field that changes results.
    """
    kept = load(workdir)
    if asked is None:
        return kept
    refuse_differences(kept, asked, workdir / "config.json")
    given = _flat(asked)
    kept.update_from_flattened_dict({field: given[field] for field in FREE_FIELDS})
    kept.decision = ConfigDict(asked.decision.to_dict())
    kept.model.prune = asked.model.prune
    return kept


def keep_decision(workdir: AnyPath, config: ConfigDict) -> None:
    """Write what was chosen after training into config.json: the options of decision.json.

    That is `config.decision` and `config.model.prune`.
    """
    kept = load(workdir)
    before = kept.to_dict()
    kept.decision, kept.model.prune = config.decision, config.model.prune
    if kept.to_dict() != before:
        _write(workdir / "config.json", kept)


def renew(workdir: AnyPath, config: ConfigDict) -> None:
    """Let a workdir whose run saved nothing belong to this config: there is nothing to mix."""
    path = workdir / "config.json"
    if path.exists():
        _write(path, config)


def _write(path: AnyPath, config: ConfigDict) -> None:
    atomic_files.write_text(path, json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n")


def _is_free(field: str) -> bool:
    return field in FREE_FIELDS or field.startswith(CHOSEN_AFTER)
