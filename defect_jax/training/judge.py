"""What a run ends with: its evaluation, and the commands that may come next."""

from ml_collections import ConfigDict

from defect_jax.evaluation.evaluate import evaluate
from defect_jax.runtime.console import own_command, say
from defect_jax.runtime.paths import AnyPath
from defect_jax.workdir import run_config
from defect_jax.workdir.metrics_writer import write_outcome


def judge(config: ConfigDict, workdir: AnyPath, split: str = "test") -> None:
    """Evaluate a trained workdir on a split, and say what can be done with it next."""
    metrics = evaluate(config, workdir, split)
    if metrics is None:
        return
    write_outcome(workdir, config.train.steps, run_config.without_places(config), metrics, split)
    for arguments in ("predict --input=IMAGES --output=DECIDED", "export --output=EXPORTED"):
        mode, *rest = arguments.split()
        say(" ".join(["next:", own_command(), mode, f"--workdir={workdir}", *rest]))
