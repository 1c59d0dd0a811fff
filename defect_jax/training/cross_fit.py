"""The story of a cross-fitted run: a network for each fold of the parts, trained on the others.

    <workdir>/config.json, split.csv, plan.json, decision.json      of all networks together
    <workdir>/folds/<number>/...                                    each network, an ordinary run

Each part is scored by the one network that has not seen it. So all parts, and not a fifth of them,
choose the thresholds and carry the guarantee, and each is reported once. What is one for all
networks is made of all parts without their labels: range, mean and deviation of intensities.
"""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.pipeline.decoded_cache import with_decoded_cache
from defect_jax.data.prepare.folds import held_out, in_words, pooled
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.distributed import processes
from defect_jax.evaluation.validation import refuse_empty_promise
from defect_jax.runtime import signals
from defect_jax.runtime.console import say
from defect_jax.runtime.paths import AnyPath
from defect_jax.training.begin import (
    claim,
    planned,
    read_data,
    refuse_unbuildable,
    resolved,
)
from defect_jax.training.fit import fit, make_network
from defect_jax.training.judge import judge
from defect_jax.training.pretrained import pretrained_encoder
from defect_jax.training.programs import StepPrograms
from defect_jax.workdir import checkpoints, kept_split
from defect_jax.workdir.best_weights import (
    read_history,
    restore_step,
    selection_scores,
)
from defect_jax.workdir.fold_folders import fold_folder
from defect_jax.workdir.weight_shapes import image_shape

ALL_PARTS = 1  # choices on the parts: no checkpoint is compared on them


def cross_fit(config: ConfigDict, workdir: AnyPath, must_resume: bool) -> None:
    """Train `config.data.folds` networks, and evaluate; the same command goes on where it ended.

    Args:
        must_resume: refuse to begin anew.

    Raises:
        as `train`.
    """
    dealt, saved, mesh = read_data(config, workdir, must_resume)
    whole = pooled(dealt)
    config, plan = planned(config, workdir, whole, saved)
    say(in_words(dealt))
    refuse_unbuildable(config, mesh)
    refuse_empty_promise(config, whole.splits["train"], ALL_PARTS)
    config = resolved(config, whole, kept_split.rows_of(dealt))
    if processes.is_first():
        claim(config, workdir, dealt, saved)
        if plan is not None:
            plan.write(workdir)
    train_networks(config, workdir, dealt, mesh)
    judge(config, workdir)


def train_networks(config: ConfigDict, workdir: AnyPath, dealt: Prepared, mesh: Mesh) -> None:
    """Train the networks that have not come to their end, with programs compiled once."""
    programs = None
    for number in range(config.data.folds):
        signals.check_preemption()
        folder, name = fold_folder(workdir, number), f"network {number + 1} of {config.data.folds}"
        if is_finished(config, folder, mesh):
            say(f"{name}: trained before")
            continue
        say(f"{name}: all parts but those of fold {number}, in {folder}")
        programs = train_network(config, folder, held_out(dealt, number), mesh, programs)


def is_finished(config: ConfigDict, folder: AnyPath, mesh: Mesh) -> bool:
    """Return whether a network has come to its last step, and its checkpoint is whole."""
    steps = config.train.steps
    if steps not in selection_scores(processes.from_first(lambda: read_history(folder))):
        return False
    return restore_step(make_network(config), image_shape(config), folder, steps, mesh) is not None


def train_network(
    config: ConfigDict,
    folder: AnyPath,
    prepared: Prepared,
    mesh: Mesh,
    programs: StepPrograms | None,
) -> StepPrograms:
    """Train one network as an ordinary run of its own, but for the facts of all data.

    Args:
        config: resolved, of all networks.
        folder: its workdir.
        prepared: train and val.
        programs: of a network before.

    Returns:
        The programs, for the next network.
    """
    own = ConfigDict(config.to_dict())
    own.data.folds = 0
    begun = processes.from_first(lambda: checkpoints.exist(folder))
    prepared = with_decoded_cache(prepared, own.data, ("train", "val"))
    if processes.is_first():
        claim(own, folder, prepared, begun)
    learnt = {} if begun else pretrained_encoder(own, folder)
    return fit(own, folder, prepared, mesh, learnt, programs)
