"""The story of a run: data, network, state, what was saved, the loop, the final evaluation."""

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.files.region_files import read_region
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.distributed import processes
from defect_jax.distributed.sharding import replicated
from defect_jax.models.initialise import Variables
from defect_jax.runtime.console import say
from defect_jax.runtime.paths import AnyPath
from defect_jax.training.begin import (
    agreed,
    claim,
    planned,
    read_data,
)
from defect_jax.training.cross_fit import cross_fit
from defect_jax.training.fit import fit, make_network
from defect_jax.training.judge import judge
from defect_jax.training.pretrained import pretrained_encoder
from defect_jax.training.stages import FIRST_STAGE, first_stage, has_first_stage, with_learnt
from defect_jax.workdir import checkpoints, locks, run_config
from defect_jax.workdir.best_weights import (
    read_history,
    restore_best,
    selection_scores,
)
from defect_jax.workdir.trackers import refuse_missing
from defect_jax.workdir.weight_shapes import image_shape


def train(config: ConfigDict, workdir: AnyPath, must_resume: bool = False) -> None:
    """Train from the newest whole checkpoint, or from the start, and evaluate the best one.

    Where localisation learns first, its stage is a run of its own before. With `config.data.folds`
    there are several networks, see `cross_fit`.

    Args:
        must_resume: refuse to begin anew.

    Raises:
        UserError: something the user can mend, see the message.
        SystemExit: 128 + signal, after SIGTERM, SIGINT or SIGHUP, with a checkpoint saved.
    """
    run_config.check_values(config)
    refuse_missing(config.track)
    read_region(config.data)
    with locks.training(workdir):
        (cross_fit if config.data.folds else train_alone)(config, workdir, must_resume)


def train_alone(config: ConfigDict, workdir: AnyPath, must_resume: bool) -> None:
    """Do what `train` does, while nobody else trains in the workdir."""
    begun = processes.from_first(lambda: checkpoints.exist(workdir))
    prepared, saved, mesh = read_data(config, workdir, must_resume)
    config, plan = planned(config, workdir, prepared, saved)
    config, prepared = agreed(config, prepared, mesh)
    if processes.is_first():
        claim(config, workdir, prepared, saved)
        if plan is not None:
            plan.write(workdir)
    learnt = {} if begun else pretrained_encoder(config, workdir)
    if has_first_stage(config) and not begun:
        learnt = with_learnt(
            learnt, learn_first_stage(config, workdir / FIRST_STAGE, prepared, mesh)
        )
    fit(config, workdir, prepared, mesh, learnt)
    judge(config, workdir)


def learn_first_stage(
    config: ConfigDict, workdir: AnyPath, prepared: Prepared, mesh: Mesh
) -> Variables:
    """Train localisation alone and return the variables of its best checkpoint, on the host."""
    stage = first_stage(config)
    say(f"stage one: localisation, {stage.train.steps} steps, in {workdir}")
    if processes.is_first():
        claim(stage, workdir, prepared, checkpoints.exist(workdir))
    fit(stage, workdir, prepared, mesh, pretrained_encoder(stage, workdir))
    scores = selection_scores(processes.from_first(lambda: read_history(workdir)))
    step, ema = restore_best(make_network(stage), image_shape(stage), workdir, scores, mesh)
    say(f"stage two begins with localisation of step {step}")
    return jax.device_get(jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(ema))
