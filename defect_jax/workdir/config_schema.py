"""Whether a config is one: every field known, there, and what it may be.

The same for a config that a run begins with and for a config.json that was found: in every mode,
before anything is computed.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from defect_jax.models.fields import check_fields
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.profiler import span
from defect_jax.workdir.config_before import BEFORE_IT_WAS
from defect_jax.workdir.config_fields import (
    DATA_SETS,
    FIELDS,
    NOT_ALWAYS,
    OF_A_DATA_SET,
    left_open,
)
from defect_jax.workdir.config_rules import data_info_rules, rules_of

SECTIONS = {field.rsplit(".", n)[0] for field in FIELDS for n in range(1, field.count(".") + 1)}
DATA_INFO = "data_info"
# Older workdirs have none of the first two, and the third is of shots of several lights alone.
ADDED_LATER = ("data_info.low", "data_info.high", "data_info.lights")


def flat(config: ConfigDict) -> dict[str, Any]:
    """Return dotted field -> value, as JSON has it (tuples are lists)."""
    return dict(leaves(json.loads(json.dumps(config.to_dict(), default=str))))


def leaves(node: Any, inside: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of an object that was read; objects are where the table has them.

    Raises:
        UserError: a field that there is not, or no object where there must be one.
    """
    if not isinstance(node, Mapping):
        raise UserError(f"{_called(inside)} must be an object with fields in it")
    for name, value in node.items():
        field = f"{inside}.{name}" if inside else name
        if "." in name:
            raise UserError(f"{_called(field[:100])} is not known: take it away")
        if field in SECTIONS:
            yield from leaves(value, field)
        elif field in FIELDS:
            yield field, value
        else:
            raise UserError(f"{_called(field[:100])} is not known: take it away")


def check(values: Mapping[str, Any]) -> None:
    """Check all fields of a config, flat.

    Where a plan has still to fill some in, what fields must be to each other is checked after that.

    Raises:
        UserError: naming the field and what it may be.
    """
    for field in _needed(values):
        if field not in values:
            raise UserError(f"config.{field} is missing: name the --config that has it")
    still_open = left_open(values)
    for field, value in values.items():
        if field not in still_open:
            _refuse(field, value, FIELDS[field].holds, FIELDS[field].words)
    if still_open:
        return
    config = nested(values)
    rules = rules_of(config) | (data_info_rules(config) if DATA_INFO in config else {})
    for field, (holds, words) in rules.items():
        if field not in values:
            raise UserError(f"config.{field} is missing")
        _refuse(field, values[field], holds, words)
    span(config.profile)
    check_fields(config.model.to_dict())


def _needed(values: Mapping[str, Any]) -> Iterator[str]:
    resolved = any(field.startswith(f"{DATA_INFO}.") for field in values)
    name = values.get("data.name")
    own = DATA_SETS.get(name, ()) if isinstance(name, str) else ()
    for field in FIELDS:
        of_info = field.startswith(f"{DATA_INFO}.")
        if field in OF_A_DATA_SET:
            if field in own:
                yield field
        elif of_info and resolved and field not in ADDED_LATER or field not in NOT_ALWAYS:
            yield field


def _refuse(field: str, value: Any, holds: Any, words: str) -> None:
    if not holds(value):
        raise UserError(wrong(field, value, words))


def wrong(field: str, value: Any, words: str) -> str:
    """Return what to say of a field whose value is not what it must be."""
    shown = repr(value) if isinstance(value, str) else str(value)
    return f"config.{field} is {shown[:100]}: it must be {words}"


def nested(values: Mapping[str, Any]) -> ConfigDict:
    """Return a config from its flat fields; what is written 1 where 1.0 is meant is a float."""
    typed = {
        field: _as_float(value) if FIELDS[field].is_float and value is not None else value
        for field, value in values.items()
    }
    return ConfigDict(unflatten_dict(typed, sep="."))


def _as_float(value: Any) -> float | list[float]:
    return [float(each) for each in value] if isinstance(value, list) else float(value)


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the fields that are younger than a config.json, as it was trained with."""
    return BEFORE_IT_WAS | dict(values)


def _called(field: str) -> str:
    return f"config.{field}" if field else "the file"
