"""Whether what a checkpoint says of itself is what a run writes; see `checkpoints`."""

from typing import Any

from defect_jax.runtime.field_rules import is_number, is_whole

STEP = "step"  # of which it is; older ones do not say it


def is_record(record: Any) -> bool:
    """Return whether it holds fingerprints by tree and path, numbers of steps by name, its step.

    Its own sum only tells accidents: somebody who writes a record writes its sum as well.

    >>> is_record({"arrays": {"ema": {"params/a": "float32[2] 00"}}, "unlogged": [{"loss": 0.5}]})
    True
    >>> is_record({"arrays": {"ema": {}}, "unlogged": [{"loss": float("nan")}]}), is_record([])
    (False, False)
    """
    if not isinstance(record, dict) or record.keys() - {STEP} != {"arrays", "unlogged"}:
        return False
    arrays, unlogged = record["arrays"], record["unlogged"]
    return (
        isinstance(arrays, dict)
        and is_whole(record.get(STEP, 0))
        and all(_has(sums, str) for sums in arrays.values())
        and all(" " in each for sums in arrays.values() for each in sums.values())
        and isinstance(unlogged, list)
        and all(isinstance(step, dict) and all(map(is_number, step.values())) for step in unlogged)
    )


def _has(values: Any, kind: type) -> bool:
    return isinstance(values, dict) and all(isinstance(value, kind) for value in values.values())
