"""What a run ends with: the averaged weights of its best whole checkpoint, and their decision."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.decision import DecisionRule
from defect_jax.decision.unlike import Known
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import state_sharding
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.field_rules import is_number, is_plain, is_whole
from defect_jax.runtime.json_files import NotJson, parse, read_limited
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import checkpoint_mirror, known_file, run_config, saved_checkpoints
from defect_jax.workdir.config_before import BEFORE_IT_WAS
from defect_jax.workdir.config_fields import MOST_STEPS
from defect_jax.workdir.known_file import digest_of
from defect_jax.workdir.members import restore_members
from defect_jax.workdir.saved_checkpoints import EMA
from defect_jax.workdir.weight_shapes import ema_shapes, image_shape

TRIES = 5  # a training beside that deletes what is read has saved something better meanwhile
SELECTION = "selection"  # the number by which checkpoints are compared
HISTORY_SPLITS = ("train", "val")
MOST_HISTORY_BYTES = 64 << 20
OF_DECISIONS = "decision."  # how fields of a config begin that are options of a decision


class Trained(NamedTuple):
    """A trained network and how it decides."""

    network: SegmentationNetwork
    config: ConfigDict  # resolved
    ema: Variables | Ensemble  # the latter of a config with data.folds
    rule: DecisionRule


def restore_trained(workdir: AnyPath, mesh: Mesh) -> Trained:
    """Restore the best checkpoint of a workdir and the decision made for it.

    Of a workdir with `config.data.folds` it is the last one of each fold: an ensemble.

    Raises:
        UserError: there is no trained network, or no decision for its best checkpoint.
    """
    config = run_config.load(workdir)
    run_config.refuse_unresolved(config, workdir)
    network = SegmentationNetwork(**config.model)
    scores = selection_scores(read_history(workdir))
    step, ema = restore_shipped(config, workdir, scores, mesh)
    rule = decision_for(workdir, step, config.model.prune, config.decision.to_dict())
    if rule is None:
        raise UserError(
            f"{workdir}: holds no decision for its checkpoint {step}; run --mode=evaluate first"
        )
    return Trained(network, config, ema, rule)


def restore_known(workdir: AnyPath, trained: Trained) -> Known | None:
    """Return what unlike images are told by; None where the workdir has it not, or for another
    checkpoint.

    Raises:
        UserError: the file is there and is none.
    """
    of = trained.rule.checkpoint_step, trained.config.model.prune, digest_of(trained.ema)
    return known_file.read(workdir, *of)


def restore_shipped(
    config: ConfigDict, workdir: AnyPath, scores: Mapping[int, float], mesh: Mesh
) -> tuple[int, Variables | Ensemble]:
    """Restore step and averaged weights of what a workdir decides with: its best checkpoint, or
    the members of its ensemble.

    Args:
        config: resolved.
        scores: step -> validation score; of no use to an ensemble.

    Raises:
        UserError: as `restore_best` and `restore_members`.
    """
    if config.data.folds:
        return restore_members(config, workdir, mesh)
    network = SegmentationNetwork(**config.model)
    return restore_best(network, image_shape(config), workdir, scores, mesh)


def read_history(workdir: AnyPath) -> list[dict[str, Any]]:
    """Read all whole lines of `metrics.jsonl`; a last line cut off by a kill is left out.

    Raises:
        UserError: another line is none that a run writes; the line is named.
    """
    path = workdir / "metrics.jsonl"
    lines = read_limited(path, MOST_HISTORY_BYTES).splitlines() if path.exists() else []
    history = []
    for place, text in enumerate(lines, 1):
        try:
            history.append(_checked_line(parse(text)))
        except NotJson as error:
            if place < len(lines):
                raise UserError(f"{path}, line {place}: cannot be read: {error}") from None
    return history


def _checked_line(line: Any) -> dict[str, Any]:
    """Return what was read if it has a step, a split, and else only numbers and null.

    Raises:
        NotJson: it has not.
    """
    if not isinstance(line, dict):
        raise NotJson("it must be an object")
    step, split = line.get("step"), line.get("split")
    if not (is_whole(step) and 0 <= step <= MOST_STEPS) or split not in HISTORY_SPLITS:
        raise NotJson(f"it must have a step, and a split of {', '.join(HISTORY_SPLITS)}")
    for name, value in line.items():
        if len(name) > 200 or not is_plain(name):
            raise NotJson(f"{name[:40]!r} is no name of a number")
        if name != "split" and not (value is None or is_number(value)):
            raise NotJson(f"{name} must be a number or null")
    if split == "val" and SELECTION not in line:
        raise NotJson(f"it must have {SELECTION}")
    return line


def selection_scores(history: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Return step -> the number by which checkpoints are compared, of lines of metrics.jsonl; what
    is no number is never the best."""
    scored = [line for line in history if line["split"] == "val"]
    return {line["step"]: float(line[SELECTION]) for line in scored if line[SELECTION] is not None}


def decision_for(
    workdir: AnyPath, step: int, prune: int, options: Mapping[str, Any]
) -> DecisionRule | None:
    """Return the decision that the workdir has for a checkpoint, pruned so, and these options.

    Args:
        prune: `config.model.prune`.
        options: `config.decision`.

    Returns:
        None where there is none, or it is of another checkpoint or other options.
    """
    path = workdir / "decision.json"
    fields = processes.from_first(
        lambda: dataclasses.asdict(DecisionRule.from_json(path)) if path.exists() else None
    )
    if fields is None:
        return None
    made = DecisionRule.from_fields(path, fields)
    before = {
        field.removeprefix(OF_DECISIONS): value
        for field, value in BEFORE_IT_WAS.items()
        if field.startswith(OF_DECISIONS)
    }
    made_with = before | made.options
    return made if (made.checkpoint_step, made.prune, made_with) == (step, prune, options) else None


def restore_best(
    network: SegmentationNetwork,
    shape: tuple[int, ...],
    workdir: AnyPath,
    scores: Mapping[int, float],
    mesh: Mesh,
) -> tuple[int, Variables]:
    """Restore step and averaged weights of the best whole checkpoint onto the devices there are.

    Changes nothing. A training that writes there meanwhile deletes checkpoints, when there are
    better ones: these are looked for then.

    Args:
        shape: `(b, h, w, c)` of images that the network takes.
        scores: step -> validation score.

    Raises:
        UserError: there is none.
    """
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        raise UserError(f"{folder}: no checkpoint there; train first, or name another --workdir")
    like = {EMA: ema_shapes(network, shape)}
    for _ in range(TRIES):
        try:
            if found := _restore_best_of(folder, like, scores, mesh):
                return found
            gone = None
        except saved_checkpoints.Gone as error:
            gone = error
        newer = selection_scores(processes.from_first(lambda: read_history(workdir)))
        if gone is None and newer == scores:
            break
        scores = newer
    raise gone or UserError(
        f"{folder}: no whole and validated checkpoint there; train on with the same command, or "
        "name another --workdir"
    )


def _restore_best_of(
    folder: AnyPath, like: saved_checkpoints.Trees, scores: Mapping[int, float], mesh: Mesh
) -> tuple[int, Variables] | None:
    try:
        directory = checkpoint_mirror.local(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be used: {error.strerror or error}") from error
    shardings = state_sharding(mesh, like)
    for step in saved_checkpoints.best_first(directory, scores):
        try:
            return step, saved_checkpoints.restore(directory, step, like, shardings).trees[EMA]
        except saved_checkpoints.Damaged as damage:
            say(f"{damage}; taking the next best one")
    return None


def restore_step(
    network: SegmentationNetwork, shape: tuple[int, ...], workdir: AnyPath, step: int, mesh: Mesh
) -> Variables | None:
    """Restore the averaged weights of one step; None where its checkpoint is not there, or damaged.

    Args:
        shape: `(b, h, w, c)` of images that the network takes.
    """
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        return None
    try:
        directory = checkpoint_mirror.local(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be used: {error.strerror or error}") from error
    if not saved_checkpoints.best_first(directory, {step: 0.0}):
        return None
    like = {EMA: ema_shapes(network, shape)}
    try:
        shardings = state_sharding(mesh, like)
        return saved_checkpoints.restore(directory, step, like, shardings).trees[EMA]
    except saved_checkpoints.Damaged as damage:
        say(str(damage))
        return None
