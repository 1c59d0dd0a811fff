"""The command line: flags in, one function a mode, faults of the input as one line and exit code 2.

python -m defect_jax.main --config=configs/synthetic.py:cpu
"""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from defect_jax import runtime
from defect_jax.errors import UserError

MODES = ("train", "evaluate", "check")
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with :variant if wanted."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; default runs/NAME[-variant].")
MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")


def main(argv: list[str]) -> None:
    """Runs the mode; a UserError becomes one line on standard error and exit code 2."""
    try:
        if argv[1:]:
            raise UserError(f"unknown argument {argv[1]}: every option starts with --")
        run(MODE.value)
    except UserError as error:
        print(" ".join(f"defect_jax: {error}".split()), file=sys.stderr)
        sys.exit(2)


def run(mode: str) -> None:
    """Starts the runtime the config asks for, then hands over to the mode's own module.

    Each mode imports its own module: a bad flag is answered at once, and `check` waits for no more
    than it needs.
    """
    workdir = chosen_workdir()
    if mode == "evaluate":
        from defect_jax import configuration
        from defect_jax.evaluate import evaluate

        config = configuration.of_workdir(workdir, CONFIG.value)
        runtime.start(config)
        evaluate(config, workdir)
        return
    config = given_config()
    runtime.start(config)
    if mode == "check":
        from defect_jax.data.check import report_faults

        report_faults(config.data)
        return
    from defect_jax.train import train

    train(config, workdir)


def given_config() -> ConfigDict:
    """The config of --config, which this mode needs."""
    if CONFIG.value is None:
        raise UserError(
            "--config is missing: name a file, such as --config=configs/synthetic.py:cpu"
        )
    return CONFIG.value


def chosen_workdir() -> pathlib.Path:
    """--workdir, or runs/NAME[-variant] after --config=…/NAME.py[:variant]."""
    if WORKDIR.value is not None:
        return pathlib.Path(WORKDIR.value)
    given_config()
    path, _, variant = flags.FLAGS["config"].config_filename.partition(":")
    name = pathlib.Path(path).stem
    return pathlib.Path("runs") / (f"{name}-{variant}" if variant else name)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses flags and loads the config; what is wrong with either is one line and exit code 2."""
    try:
        rest = flags.FLAGS(argv)
        if CONFIG.value is not None:
            CONFIG.value.to_dict()  # a file that could not be loaded only says so when it is used
        return rest
    except Exception as error:  # noqa: BLE001  a config file is code, and may fail in any way
        lines = str(error).strip().splitlines()
        # ml_collections quotes the whole traceback of a config file; its last line is the fault.
        told = lines[-1:] if "Traceback" in str(error) else lines
        print(" ".join(" ".join(["defect_jax:", *told]).split()), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    app.run(main, flags_parser=parse_flags)
