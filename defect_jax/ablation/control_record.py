"""control.json: what a control's cell was made from, written last, so that it marks the end."""

import hashlib
import json
import pathlib
from typing import Any

from defect_jax import atomic
from defect_jax.ablation.controls import Control

FILE = "control.json"
OF_THE_NETWORK = ("metrics.jsonl", "decision.json")  # another training, another checkpoint


def write_record(
    workdir: pathlib.Path, base: pathlib.Path, control: Control, **chosen: Any
) -> None:
    """Marks the cell as finished.

    Args:
        workdir: of the control.
        base: workdir of the network that it took.
        chosen: what else is worth knowing, such as the threshold.
    """
    text = json.dumps(_origin(base, control) | chosen, indent=2, allow_nan=False)
    atomic.write_text(workdir / FILE, text + "\n")


def is_recorded(workdir: pathlib.Path, base: pathlib.Path, control: Control) -> bool:
    """Whether the cell is finished, with this control and with the network as it is now."""
    path = workdir / FILE
    if not path.exists():
        return False
    kept = json.loads(path.read_text())
    return all(kept.get(name) == value for name, value in _origin(base, control).items())


def _origin(base: pathlib.Path, control: Control) -> dict[str, str]:
    digest = hashlib.sha256()
    for name in OF_THE_NETWORK:
        path = base / name
        digest.update(path.read_bytes() if path.exists() else b"")
    return {"of": base.name, **control.described(), "network": digest.hexdigest()}
