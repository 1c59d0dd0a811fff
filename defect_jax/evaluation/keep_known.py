"""known.safetensors beside decision.json: made with the first evaluation of a checkpoint."""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.prepare.folds import OUT_OF_FOLD, folds_of
from defect_jax.data.prepare.prepared import Prepared
from defect_jax.decision.unlike import Known
from defect_jax.distributed import processes
from defect_jax.evaluation.known import Looker, in_words, known_of, known_of_folds
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import known_file, locks
from defect_jax.workdir.trained_data import data_to_judge_on

LOOKED_AT = ("train", "val")


def keep_known(
    config: ConfigDict, workdir: AnyPath, step: int, ema: Variables | Ensemble, mesh: Mesh
) -> None:
    """Look at the images of training and validation, or of all folds, and write the file.

    Nothing is done where the workdir has that of this checkpoint. Where the images cannot be had,
    what is unlike them stays unknown, and is said to.
    """
    digest = known_file.digest_of(ema)
    if processes.from_first(lambda: _is_there(config, workdir, step, digest)):
        return
    needed = {OUT_OF_FOLD} if config.data.folds else set(LOOKED_AT)
    try:
        prepared = data_to_judge_on(config, workdir, needed)
    except UserError as error:
        say(f"what is unlike the training images stays unknown: {error}")
        return
    known = look_at(config, prepared, ema, mesh)
    if processes.is_first():
        with locks.results(workdir):
            known_file.write(workdir, known, step, config.model.prune, digest)
        say(in_words(known))


def _is_there(config: ConfigDict, workdir: AnyPath, step: int, digest: bytes) -> bool:
    try:
        return known_file.read(workdir, step, config.model.prune, digest) is not None
    except UserError as error:
        say(f"{error}; it is made anew")
        return False


def look_at(config: ConfigDict, prepared: Prepared, ema: Variables | Ensemble, mesh: Mesh) -> Known:
    """Return what a network knows, or an ensemble, each of whose members looks at all folds."""
    look, spec = Looker(SegmentationNetwork(**config.model), config, mesh), InputSpec.of(config)
    if not config.data.folds:
        return known_of(*(look(ema, prepared.splits[split]) for split in LOOKED_AT), spec)
    folds = [prepared.splits[name] for name in folds_of(prepared.splits)]
    return known_of_folds([[look(member, fold) for fold in folds] for member in ema], spec)
