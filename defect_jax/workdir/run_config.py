"""The resolved config of a workdir: checked, written once, compared with later requests."""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from defect_jax.data.geometry.region import PREFIX
from defect_jax.distributed import processes
from defect_jax.models.pretrained.sources import without_place
from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import read_json
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import config_schema, places
from defect_jax.workdir.config_fields import left_open
from defect_jax.workdir.config_schema import flat, nested

# Where the data lie, how they are read, on what devices and who is told changes no result: a
# workdir may be moved.
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
    "track",
)
# Of this user and this machine: never written into config.json, and never taken from one. Whoever
# names a cache of compiled programs, or prepared data, could have this user run and read them.
OF_THIS_MACHINE = ("data.root", "data.data_dir", "compilation_cache", "profile")
# What comes after training, and may be chosen anew: what decides, and of which head.
CHOSEN_AFTER = ("decision.", "model.prune")
WEIGHTS = "model.weights"  # of a file only its name is kept: its folder is this user's, too
LENGTH = ("train.steps", "train.log_every_steps", "train.eval_every_steps")
MEASURED = "data_info.low"  # earlier versions measured no range


def check_values(config: ConfigDict) -> None:
    """Refuse a config with a field that is missing, not known, or not what it may be.

    Raises:
        UserError: naming the field and what it may be.
    """
    config_schema.check(flat(config))


def resolve(config: ConfigDict, data_info: Mapping[str, Any]) -> ConfigDict:
    """Add what the prepared data decide, see `prepare.data_info`."""
    resolved = ConfigDict(config.to_dict())
    resolved.data_info = ConfigDict(dict(data_info))
    return resolved


def claim(workdir: AnyPath, config: ConfigDict) -> None:
    """Write config.json into a new workdir, or check that the one there agrees, but for more steps.

    Where the data are is kept beside, for this user alone, see `places`.

    Raises:
        UserError: a field that changes results differs.
    """
    path = workdir / "config.json"
    if path.exists():
        kept = load(workdir)
        longer = lengthened(kept, config)
        refuse_differences(longer, config, path)
        if longer is not kept:
            _write(path, longer)
    elif (workdir / "checkpoints").exists():
        raise UserError(f"{workdir}: has checkpoints but no config.json; choose another --workdir")
    else:
        try:
            _write(path, config)
        except OSError as error:
            text = f"--workdir {workdir}: cannot be written: {error.strerror}"
            raise UserError(text) from error
    places.keep(workdir, config.data)


def load(workdir: AnyPath) -> ConfigDict:
    """Read config.json of a workdir, which may be somebody else's; it names no place to look at.

    Raises:
        UserError: it is missing, damaged, or not what a run writes.
    """
    path = workdir / "config.json"
    try:
        values = dict(config_schema.leaves(read_json(path)))
        values = config_schema.filled(values) | dict.fromkeys(OF_THIS_MACHINE, "")
        config_schema.check(values)
        _refuse_named_region(values)
    except FileNotFoundError:
        raise UserError(
            f"{path}: not there; train first, or name the --workdir of a trained network"
        ) from None
    except UserError as error:
        raise UserError(_naming(path, str(error))) from None
    return nested(values)


def _refuse_named_region(values: Mapping[str, Any]) -> None:
    """Refuse a region that is a file's name: it could be any file of this user."""
    region = values.get("data.region", "")
    if region and not region.startswith(PREFIX):
        what = "must be empty, or a region as a run writes it"
        raise UserError(f"config.data.region is {region[:40]!r}: {what}")


def _naming(path: AnyPath, fault: str) -> str:
    return fault if fault.startswith(str(path)) else f"{path}: {fault}"


def refuse_unresolved(config: ConfigDict, workdir: AnyPath) -> None:
    """Refuse a config that knows nothing of the data, without which no image can be read.

    Raises:
        UserError: naming the file.
    """
    if config_schema.DATA_INFO not in config:
        raise UserError(f"{workdir / 'config.json'}: config.data_info is missing: train anew")


def decisive(config: ConfigDict) -> dict[str, Any]:
    """Return all fields that change results, by dotted name."""
    return {field: value for field, value in flat(config).items() if field not in FREE_FIELDS}


def refuse_differences(kept: ConfigDict, asked: ConfigDict, path: AnyPath) -> None:
    """Compare all fields that change results; `asked` may lack what only the data resolve."""
    before, now = _names_alone(flat(kept)), _names_alone(flat(asked))
    now |= {field: before.get(field) for field in left_open(now)}
    if not any(field.startswith("data_info.") for field in now):
        before = {f: value for f, value in before.items() if not f.startswith("data_info.")}
    if MEASURED in now and MEASURED not in before:
        raise UserError(
            f"{path}: an earlier version trained this workdir, when intensities were not measured: "
            "it can be evaluated, but not trained further; choose another --workdir"
        )
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


def lengthened(kept: ConfigDict, asked: ConfigDict) -> ConfigDict:
    """Return the config of a workdir with the steps of `asked`, and what follows them, if more.

    >>> kept, asked = ConfigDict({"train": {"steps": 8}}), ConfigDict({"train": {"steps": 12}})
    >>> lengthened(kept, asked).train.steps, lengthened(asked, kept).train.steps
    (12, 12)
    """
    if asked.train.steps is None or asked.train.steps <= kept.train.steps:
        return kept
    return nested(flat(kept) | {f: value for f, value in flat(asked).items() if f in LENGTH})


def of_workdir(workdir: AnyPath, asked: ConfigDict | None) -> ConfigDict:
    """Return the workdir's own config, with the free fields (data, devices) of `asked`.

    Without it the data are where this user had them when the workdir was trained, see `places`.

    Raises:
        UserError: `asked` differs in a field that changes results.
    """
    kept = load(workdir)
    if asked is None:
        known = processes.from_first(lambda: places.recall(workdir))
        return nested(flat(kept) | known)
    from defect_jax.data.files.region_files import read_region  # a predictor needs no files

    read_region(asked.data)
    refuse_differences(kept, asked, workdir / "config.json")
    given = {field: value for field, value in flat(asked).items() if _is_free(field)}
    if processes.is_first():
        places.keep(workdir, asked.data)
    return nested(flat(kept) | given)


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


def without_places(config: ConfigDict) -> ConfigDict:
    """Return a config as it may be passed on: no path of this machine in it."""
    return nested(_names_alone(flat(config)) | dict.fromkeys(OF_THIS_MACHINE, ""))


def _names_alone(values: dict[str, Any]) -> dict[str, Any]:
    shown = {WEIGHTS: without_place(values[WEIGHTS])} if WEIGHTS in values else {}
    return values | shown


def _write(path: AnyPath, config: ConfigDict) -> None:
    written = without_places(config).to_dict()
    atomic_files.write_text(path, json.dumps(written, indent=2, sort_keys=True) + "\n")


def _is_free(field: str) -> bool:
    return field in FREE_FIELDS or field.startswith(CHOSEN_AFTER)
