"""The command line: flags in, one function a mode.

python -m defect_jax.main --config=configs/synthetic.py:cpu
"""

from absl import flags

from defect_jax import command_line, runtime
from defect_jax.command_line import CONFIG, chosen_workdir, given_config

MODES = ("train", "evaluate", "check")
MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")


def run() -> None:
    """Starts the runtime the config asks for, then hands over to the mode's own module.

    Each mode imports its own module: a bad flag is answered at once, and `check` waits for no more
    than it needs.
    """
    workdir = chosen_workdir()
    if MODE.value == "evaluate":
        from defect_jax import configuration
        from defect_jax.evaluate import evaluate

        config = configuration.of_workdir(workdir, CONFIG.value)
        runtime.start(config)
        evaluate(config, workdir)
        return
    config = given_config()
    runtime.start(config)
    if MODE.value == "check":
        from defect_jax.data.check import report_faults

        report_faults(config.data)
        return
    from defect_jax.train import train

    train(config, workdir)


if __name__ == "__main__":
    command_line.start(run)
