"""The command line: flags in, one function a mode.

python -m defect_jax.main --config=configs/synthetic.py:cpu
"""

import pathlib

from absl import flags

from defect_jax import command_line, runtime
from defect_jax.command_line import CONFIG, WORKDIR, chosen_workdir, given_config

SPLITS = ("train", "val", "test")
SPLIT = flags.DEFINE_enum("split", "test", SPLITS, "Judged by --mode=evaluate and compare.")
WORKDIRS = flags.DEFINE_list("workdirs", [], "Of --mode=compare: the first is the reference.")


# Each mode imports its own module: a bad flag is answered at once, and `check` waits for no more
# than it needs.


def train() -> None:
    """Trains, evaluates the best checkpoint and writes the report."""
    workdir, config = chosen_workdir(), given_config()
    runtime.start(config)
    from defect_jax.train import train

    train(config, workdir)


def evaluate() -> None:
    """Evaluates the best checkpoint of a workdir, with the config that lies there."""
    from defect_jax import configuration
    from defect_jax.evaluate import evaluate

    workdir = chosen_workdir()
    config = configuration.of_workdir(workdir, CONFIG.value)
    configuration.check(config)
    runtime.start(config)
    evaluate(config, workdir, SPLIT.value)


def check() -> None:
    """Lists every fault of a data set."""
    config = given_config()
    runtime.start(config)
    from defect_jax.data.check import report_faults

    report_faults(config.data)


def compare() -> None:
    """Compares the evaluations of several workdirs."""
    from defect_jax.compare import compare

    output = pathlib.Path(WORKDIR.value or "runs/compare")
    compare([pathlib.Path(workdir) for workdir in WORKDIRS.value], output, SPLIT.value)


RUN = {"train": train, "evaluate": evaluate, "check": check, "compare": compare}
MODE = flags.DEFINE_enum("mode", "train", list(RUN), "What to do.")


if __name__ == "__main__":
    command_line.start(lambda: RUN[MODE.value]())
