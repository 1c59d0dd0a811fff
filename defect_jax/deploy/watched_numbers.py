"""What a monitor is given: finite numbers under their names, or a line that says what is not."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from defect_jax.decision.monitor import Watch
from defect_jax.runtime.errors import UserError

FEWEST_PARTS = 20  # below it even a value beyond the whole reference tells next to nothing
MOST_PARTS = 10_000  # beyond, nothing is left to gain
LARGEST = 1e100  # values beyond count as that: the ranks stay, and no mean leaves its range


def checked_reference(reference: Any) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names, and the values [numbers n].

    Raises:
        UserError: there are too few or too many values, or what is no finite number.
    """
    if not isinstance(reference, Mapping) or not reference:
        raise UserError("reference: give values for each number to watch, by its name")
    rows = {str(name): _row(f"reference: {name}", values) for name, values in reference.items()}
    sizes = {row.size for row in rows.values()}
    if len(sizes) > 1 or not FEWEST_PARTS <= min(sizes) <= MOST_PARTS:
        given = ", ".join(f"{row.size:,} of {name}" for name, row in rows.items())
        raise UserError(
            "reference: each number needs as many values as any other, of "
            f"{FEWEST_PARTS} to {MOST_PARTS:,} parts, not {given[:200]}"
        )
    return tuple(rows), np.stack(list(rows.values()))


def checked_image(values: Mapping[str, Any], names: tuple[str, ...]) -> np.ndarray:
    """Return an image's numbers [numbers] in the order of `names`.

    Raises:
        UserError: one is missing, unknown or no finite number.
    """
    if set(values) != set(names):
        given = ", ".join(map(str, values))[:200] or "nothing"
        raise UserError(f"the monitor watches {', '.join(names)}: give these, not {given}")
    return np.array([_number(name, values[name]) for name in names])


def checked_promise(images: Any) -> int:
    """Return the images to a false alarm; a `UserError` if they are no whole number from 1 on."""
    if isinstance(images, bool) or not isinstance(images, int) or images < 1:
        raise UserError(f"promised_images: give a whole number from 1 on, not {str(images)[:40]}")
    return images


def checked_watch(fields: Any, blank: Watch) -> Watch:
    """Return what JSON holds of a watch; a `UserError` names the field that is not like `blank`."""
    if not isinstance(fields, dict) or set(fields) != set(Watch._fields):
        raise UserError(f"watch: must have the fields {', '.join(Watch._fields)}, and no other")
    kept = {}
    for name, like in blank._asdict().items():
        array, like = _finite(fields[name]), np.asarray(like)
        if array is None or array.shape != like.shape or array.dtype.kind != like.dtype.kind:
            raise UserError(f"watch.{name}: must be numbers of shape {list(like.shape)}")
        kept[name] = array
    if kept["images"] < 0 or (kept["first"] > max(kept["images"], 1)).any():
        raise UserError("watch.first: must be numbers of images that were seen")
    return Watch(**kept)._replace(images=int(kept["images"]))


def _row(name: str, values: Any) -> np.ndarray:
    row = _finite(values)
    if row is None or row.ndim != 1:
        raise UserError(f"{name}: give one list of finite numbers, without gaps")
    return np.clip(row.astype(np.float64), -LARGEST, LARGEST)


def _number(name: str, value: Any) -> float:
    number = _finite(value)
    if number is None or number.ndim:
        raise UserError(f"{name[:100]}: give a finite number, not {str(value)[:40]}")
    return float(np.clip(np.float64(number), -LARGEST, LARGEST))


def _finite(values: Any) -> np.ndarray | None:
    """Return an array of finite numbers; None where something else is given."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        return None
    return array if array.dtype.kind in "fiu" and np.isfinite(array).all() else None
