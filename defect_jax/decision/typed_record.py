"""From JSON to a dataclass: every field known, there, and of its type."""

import dataclasses
import json
import math
import types
import typing
from typing import Any

from defect_jax.runtime.errors import UserError
from defect_jax.runtime.field_rules import is_plain
from defect_jax.runtime.paths import AnyPath

MOST_CHARACTERS = 4096
WORDS = {float: "a number", int: "a whole number", str: "text", dict: "an object"}


def typed_record(path: AnyPath | str, kind: type, fields: Any, inside: str = "") -> Any:
    """Return a dataclass from the object that was read, every field with its type.

    Args:
        path: named where a field is missing, not known, or of another type.
        kind: of the dataclass; its fields may be dataclasses again, and optional.
        fields: what JSON holds.
        inside: names of the fields that the object is in, each with a dot.

    Raises:
        UserError: naming file and field.
    """
    if not isinstance(fields, dict):
        raise UserError(f"{path}: {inside or 'the file'} must hold one JSON object")
    hints = typing.get_type_hints(kind)
    for name in fields:
        if name not in hints:
            raise UserError(f"{path}: unknown field {inside + name[:100]!r}")
    values = {}
    for field in dataclasses.fields(kind):
        name = inside + field.name
        if field.name in fields:
            values[field.name] = _typed(path, name, fields[field.name], hints[field.name])
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise UserError(f"{path}: field {name!r} is missing; evaluate the workdir again")
    return kind(**values)


def _typed(path: AnyPath | str, name: str, value: Any, kind: Any) -> Any:
    optional = isinstance(kind, types.UnionType)
    if optional:
        if value is None:
            return None
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    if dataclasses.is_dataclass(kind):
        return typed_record(path, kind, value, f"{name}.")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number and math.isfinite(value):
        return float(value)
    if kind is int and number and isinstance(value, int) and value >= 0:
        return value
    if kind is dict and isinstance(value, dict):
        return value
    if kind is str and isinstance(value, str) and len(value) <= MOST_CHARACTERS:
        if is_plain(value):
            return value
    words = WORDS[kind] + " or null" * optional
    raise UserError(f"{path}: {name} must be {words}, not {json.dumps(value)[:100]}")
