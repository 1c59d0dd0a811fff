"""What a run ends with: its evaluation, and the commands that may come next."""

from ml_collections import ConfigDict

from defect_jax.distributed import processes
from defect_jax.evaluation.evaluate import evaluate
from defect_jax.runtime.console import own_command, say
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import kept_split, run_config
from defect_jax.workdir.metrics_writer import write_outcome


def judge(config: ConfigDict, workdir: AnyPath) -> None:
    """Evaluate a trained workdir on each split that it ends with, and say what may come next."""
    for split in kept_split.judged(workdir):
        metrics = evaluate(config, workdir, split)
        if metrics is not None:
            shown = run_config.without_places(config)
            write_outcome(workdir, config.train.steps, shown, metrics, split)
    if not processes.is_first():
        return
    for arguments in ("predict --input=IMAGES --output=DECIDED", "export --output=EXPORTED"):
        mode, *rest = arguments.split()
        say(" ".join(["next:", own_command(), mode, f"--workdir={workdir}", *rest]))
