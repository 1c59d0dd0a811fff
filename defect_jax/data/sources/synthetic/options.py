"""The fields of `config.data` that decide what is generated, and what they may be."""

from typing import Any, NamedTuple

from defect_jax.data.sources.synthetic import defects, gappy_defects
from defect_jax.runtime.errors import UserError

LIMITS = {"parts": (1, 1_000_000), "shots": (1, 1000), "seed": (0, 2**63 - 1)}
IMAGE_LIMITS_PX = (64, 4096)
DEFECTS = defects.KINDS | gappy_defects.KINDS
DEFAULT_KINDS = tuple(sorted(defects.KINDS))


class Options(NamedTuple):
    """The fields of `config.data` that decide what is generated."""

    seed: int
    parts: int
    shots: int
    defective_fraction: float
    picture_size: tuple[int, int]  # height, width in px
    defect_kinds: tuple[str, ...] = DEFAULT_KINDS  # sorted


# Fields that a prepared set is looked up by; the kinds are left to the stamp, which names them
# only where they are not the default, so that sets prepared before there was a choice still serve.
OPTIONS = tuple(field for field in Options._fields if field != "defect_kinds")


def checked(data: Any) -> Options:
    """Read the options from `config.data`.

    Raises:
        UserError: a field is out of its range.
    """
    for field, (low, high) in LIMITS.items():
        if not low <= data[field] <= high:
            raise UserError(f"config.data.{field} is {data[field]}: give {low} to {high}")
    fraction = float(data["defective_fraction"])
    if not 0 <= fraction <= 1:
        raise UserError(f"config.data.defective_fraction is {fraction}: give a share from 0 to 1")
    size = tuple(data["picture_size"])
    low, high = IMAGE_LIMITS_PX
    if len(size) != 2 or not all(isinstance(px, int) and low <= px <= high for px in size):
        raise UserError(
            f"config.data.picture_size is {size}: give height and width, each {low} to {high} px"
        )
    numbers = (int(data[field]) for field in ("seed", "parts", "shots"))
    return Options(*numbers, fraction, size, class_names(data))


def class_names(data: Any) -> tuple[str, ...]:
    """Return the kinds of defect that are drawn, sorted: class 1, 2, ….

    Args:
        data: `config.data`, of which `defect_kinds` is read; without it, the default kinds.

    Raises:
        UserError: `config.data.defect_kinds` names none, one twice, or one that there is not.
    """
    kinds = data.get("defect_kinds", DEFAULT_KINDS)
    names = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if not names or len(set(names)) < len(names) or not set(names) <= set(DEFECTS):
        raise UserError(
            f"config.data.defect_kinds is {names}: give one or more of {', '.join(sorted(DEFECTS))}"
            ", each once"
        )
    return tuple(sorted(names))
