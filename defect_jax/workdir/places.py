"""Where the data of a workdir are: kept for each user of a machine, and outside of the workdir.

A workdir may come from somebody else, and what it names must not be read, let alone run, by
whoever evaluates it. So the places that training was given are in a folder of the user's own, one
small file a workdir, named after the path of the workdir:

    $XDG_STATE_HOME/defect_jax/workdirs/<digest>.json       (default ~/.local/state)
"""

import hashlib
import json
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

from defect_jax.runtime import atomic_files
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import read_json
from defect_jax.runtime.paths import AnyPath, as_path, is_remote
from defect_jax.workdir.config_fields import NEEDS_NO_ROOT

STATE = "XDG_STATE_HOME"
KEPT = ("data.root", "data.data_dir")


def keep(workdir: AnyPath, data: ConfigDict) -> None:
    """Keep where the data are, for a later evaluation without --config; a note if that fails.

    Args:
        data: `config.data`.
    """
    values = {"workdir": _resolved(workdir), "data.root": _absolute(data.root)}
    values["data.data_dir"] = _absolute(data.data_dir)
    try:
        path = _file(workdir)
        if not path.exists() or path.read_text("utf-8") != _text(values):
            path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            atomic_files.write_text(path, _text(values))
    except (OSError, UserError, ValueError) as error:  # without a home, or one not to write to
        why = getattr(error, "strerror", None) or error
        say(f"where the data of {workdir} are could not be kept ({why}): evaluate with --config")


def recall(workdir: AnyPath) -> dict[str, Any]:
    """Return the fields that were kept; none where nothing was kept on this machine.

    Raises:
        UserError: what is there is damaged.
    """
    try:
        path = _file(workdir)
        if not path.exists():
            return {}
    except (OSError, UserError):  # without a home, or one not to look into
        return {}
    values = read_json(path)
    if not isinstance(values, dict) or not all(isinstance(values.get(f), str) for f in KEPT):
        raise UserError(f"{path}: is damaged: delete it")
    return {field: values[field] for field in KEPT}


def refuse_unknown(config: ConfigDict, workdir: AnyPath) -> None:
    """Refuse to look for data that nobody has said the place of.

    Raises:
        UserError: saying what to give.
    """
    if not config.data.root and config.data.name not in NEEDS_NO_ROOT:
        raise UserError(
            f"{workdir}: where its data are is not recorded on this machine: give "
            "--config=… --config.data.root=…"
        )


def _file(workdir: AnyPath) -> pathlib.Path:
    """Return the file of a workdir; raises UserError for a user without a home."""
    state = os.environ.get(STATE) or "~/.local/state"
    digest = hashlib.sha256(_resolved(workdir).encode("utf-8", "surrogateescape")).hexdigest()
    return as_path(state) / "defect_jax" / "workdirs" / f"{digest[:32]}.json"


def _resolved(workdir: AnyPath) -> str:
    return str(workdir) if is_remote(workdir) else str(pathlib.Path(workdir).resolve())


def _absolute(place: str) -> str:
    """Return a place that holds from every folder; a bucket's, and none at all, as they are."""
    if not place or is_remote(path := as_path(place)):
        return place
    return str(path.absolute())


def _text(values: dict[str, str]) -> str:
    return json.dumps(values, indent=2) + "\n"
