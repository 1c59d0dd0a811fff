"""weights.json: what the encoder of a workdir's network began with, for whoever passes it on."""

import json
from typing import NamedTuple

from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import read_json
from defect_jax.runtime.paths import AnyPath

FILE = "weights.json"


class WeightsRecord(NamedTuple):
    """Where the weights of a pretrained encoder came from."""

    encoder: str
    origin: str  # the package, the file's name, or the hub's repository at a revision
    sha256: str  # of the file
    licence: str  # empty: not known


def keep(workdir: AnyPath, record: WeightsRecord) -> None:
    """Write the record into a workdir whose run begins."""
    text = json.dumps(record._asdict(), indent=2) + "\n"
    atomic_files.write_text(workdir / FILE, text)


def read(workdir: AnyPath) -> WeightsRecord | None:
    """Return the record of a workdir; None where the network began from nothing.

    Raises:
        UserError: the file is there and is none.
    """
    path = workdir / FILE
    try:
        fields = read_json(path)
    except FileNotFoundError:
        return None
    texts = isinstance(fields, dict) and all(isinstance(text, str) for text in fields.values())
    if not texts or set(fields) != set(WeightsRecord._fields):
        wanted = ", ".join(WeightsRecord._fields)
        raise UserError(f"{path}: must hold the texts {wanted}, and nothing else")
    return WeightsRecord(**fields)
