"""What a run begins with: its data, its plan, its config with the facts of the data, its files."""

import dataclasses

from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.geometry.input_spec import framing_of
from defect_jax.data.pipeline.decoded_cache import with_decoded_cache
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.folds import dealt_out
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.prepared import Prepared, Split
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import make_mesh
from defect_jax.evaluation.validation import compared_checkpoints, refuse_empty_promise
from defect_jax.plan.plan import Plan, filled_as_before, filled_in, is_open, make_plan
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, exists
from defect_jax.training.fit import check_batch_size, make_network
from defect_jax.training.optimizer import make_tx
from defect_jax.training.stages import FIRST_STAGE
from defect_jax.workdir import checkpoints, kept_split, run_config
from defect_jax.workdir.fold_folders import fold_folders
from defect_jax.workdir.kept_split import KeptRow
from defect_jax.workdir.trained_data import data_to_go_on_with


def has_saved(workdir: AnyPath) -> bool:
    """Return whether a run saved something in a workdir: of its network, of a stage, of a fold."""
    below = [workdir / FIRST_STAGE, *fold_folders(workdir)]
    return any(checkpoints.exist(folder) for folder in (workdir, *below))


def read_data(
    config: ConfigDict, workdir: AnyPath, must_resume: bool
) -> tuple[Prepared, bool, Mesh]:
    """Return the data of a run, whether it has saved something before, and its mesh.

    Raises:
        UserError: nothing was saved where something must be; or as `data_to_train_on`.
    """
    saved = processes.from_first(lambda: has_saved(workdir))
    if must_resume and not saved:
        raise UserError(f"--resume=must: {workdir} holds no checkpoint to go on from")
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    if not is_open(config):
        refuse_unbuildable(config, mesh)  # before data are read
    return data_to_train_on(config, workdir, saved), saved, mesh


def data_to_train_on(config: ConfigDict, workdir: AnyPath, saved: bool) -> Prepared:
    """Prepare the data; where the run has saved something, with the split that it began with.

    The split is one into folds where `config.data.folds` asks for them.

    Raises:
        UserError: the workdir's run has another config or other data.
    """
    path = workdir / "config.json"
    kept = processes.from_first(
        lambda: run_config.load(workdir).to_dict() if saved and exists(path) else None
    )
    if kept is None:
        return dealt_out(prepare(config.data), config.data)
    kept = ConfigDict(kept)
    run_config.refuse_differences(run_config.lengthened(kept, config), config, path)
    if run_config.lengthened(kept, config) is not kept:
        say(f"{kept.train.steps} steps become {config.train.steps}: the learning rate rises again")
    now = data_to_go_on_with(config, workdir, kept.data_info.fingerprint)
    # Runs of earlier versions saw grey images that were saved as RGB as such, and go on so.
    channels = max(now.info.channels, kept.data_info.channels)
    return dataclasses.replace(now, info=dataclasses.replace(now.info, channels=channels))


def planned(
    config: ConfigDict, workdir: AnyPath, prepared: Prepared, saved: bool
) -> tuple[ConfigDict, Plan | None]:
    """Fill in what the config leaves open: by a plan, or as the plan of the run once did.

    Returns:
        The config, and the plan if one was made.
    """
    if not is_open(config):
        return config, None
    if saved:
        kept = processes.from_first(lambda: run_config.load(workdir).to_dict())
        return filled_as_before(config, ConfigDict(kept)), None
    plan = make_plan(config, prepared)
    for line in plan.lines():
        say(line)
    config = filled_in(config, plan)
    run_config.check_values(config)
    return config, plan


def agreed(config: ConfigDict, prepared: Prepared, mesh: Mesh) -> tuple[ConfigDict, Prepared]:
    """Return the config with the facts of the data, and the data as they are read.

    Raises:
        UserError: something cannot be built, or is not the same on all hosts.
    """
    refuse_unbuildable(config, mesh)
    prepared = with_decoded_cache(prepared, config.data, ("train", "val"))
    refuse_empty_promise(config, prepared.splits["val"], compared_checkpoints(config))
    return resolved(config, prepared, kept_split.rows_of(prepared)), prepared


def resolved(config: ConfigDict, prepared: Prepared, kept: list[KeptRow]) -> ConfigDict:
    """Return the config with the facts of the data's training split.

    Args:
        kept: the images and their splits, see `kept_split`.

    Raises:
        UserError: they are not the same on all hosts.
    """
    config = run_config.resolve(config, data_info(prepared, config.model.num_classes))
    decisive = [run_config.decisive(config), kept]
    processes.refuse_disagreement("the config or the data", decisive)
    if without := not_trained_on(config, prepared.splits["train"]):
        say(
            f"{without} defective images without a mask do not train: of tiles a label says nothing"
        )
    return config


def not_trained_on(config: ConfigDict, train: Split) -> int:
    """Return how many training images nothing is learnt from: without a mask, where they are cut
    into tiles."""
    if framing_of(config.data).needs_good_images:
        return 0
    return sum(not row.masked for row in train.rows)


def refuse_unbuildable(config: ConfigDict, mesh: Mesh) -> None:
    """Refuse a batch, a network or an optimizer that cannot be made.

    Raises:
        UserError: naming the field.
    """
    check_batch_size(config.train.batch_size, mesh)
    make_network(config), make_tx(config)


def claim(config: ConfigDict, workdir: AnyPath, prepared: Prepared, saved: bool) -> None:
    """Write a run's config and split into its workdir; over those of a run that saved nothing.

    Raises:
        UserError: the workdir's run has another config.
    """
    if not saved:
        run_config.renew(workdir, config)
    run_config.claim(workdir, config)
    kept_split.keep(workdir, prepared, anew=not saved)
