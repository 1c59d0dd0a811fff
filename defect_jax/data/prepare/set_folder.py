"""Where a prepared set is: in `<data_dir>/<name>/<digest>`.

The digest covers all that the set is made from: the options, the state of the raw files, the splits
and the version of what is stored. So a change of any of them is another set.
"""

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.sources import supervision
from defect_jax.data.sources.records import DataSet
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path, is_remote

# Raised when what is stored or how it is split changes, so that older folders are not used.
LAYOUT = 4
ONE_LIGHT = ("lights", 1)  # as every image has where nothing is asked for


def origin_of(
    data: ConfigDict, chosen: DataSet, raw: RawFiles, splits: Collection[str]
) -> dict[str, Any]:
    """Return all that a prepared set depends on."""
    return {
        "layout": LAYOUT,
        "options": options_of(data, chosen),
        "raw": raw.stamp(),
        "splits": list(splits),
    }


def directory_of(data: ConfigDict, origin: dict[str, Any]) -> Path:
    """Return where the set that was made from `origin` is, or would be."""
    return cache_folder(data) / data.name / _digest(origin)


def cache_folder(data: ConfigDict) -> Path:
    """Return the folder of all prepared sets, which is never in the raw data.

    Raises:
        UserError: `config.data.data_dir` is there, or in a bucket.
    """
    if data.data_dir:
        folder = as_path(data.data_dir)
        if is_remote(folder):
            raise UserError(f"config.data.data_dir: {folder} is no local folder: give one")
        folder = folder.absolute()
    else:
        folder = _user_cache() / "defect_jax"
    root = as_path(data.root) if data.root else None
    if root is None or is_remote(root):
        return folder
    root = root.resolve()
    if root.is_dir() and folder.resolve().is_relative_to(root):
        raise UserError(f"config.data.data_dir: {folder} is in the raw data: choose another")
    return folder


def _user_cache() -> Path:
    try:
        return as_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    except UserError as error:  # a user without a home, as containers have
        raise UserError(f"config.data.data_dir: not set, and {error}") from error


def options_of(data: ConfigDict, chosen: DataSet) -> dict[str, Any]:
    """Return what was asked for, in a form that survives JSON.

    What is empty or off is left out, since the config.json and the prepared sets of an older run
    lack the newer fields.
    """
    common = (*supervision.OPTIONS, "ignore_value", "region", "float_range")
    options = {name: data.get(name) for name in (*chosen.options, *common)}
    if data.root:
        root = as_path(data.root)
        options["root"] = str(root if is_remote(root) else root.resolve())
    options = json.loads(json.dumps(options))
    return {
        name: value
        for name, value in options.items()
        if value not in (None, [], "")
        and value is not False  # a 0 stays
        and (name, value) != ONE_LIGHT
    }


def _digest(origin: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]
