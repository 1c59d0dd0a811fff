"""What every command shares: --config and --workdir, and one line with exit code 2 for a fault."""

import contextlib
import errno
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Collection
from logging import getLogger
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from defect_jax.distributed import cluster, supervisor
from defect_jax.runtime import compilation, scratch, signals
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.escapes import visible
from defect_jax.runtime.paths import AnyPath, as_path, reached

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A config by its name or its path, with :variant if wanted."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; default runs/NAME[-variant].")


CONFIGS = pathlib.Path(__file__).parent / "configs"
CONFIG_FLAGS = ("--config", "-config")
HELP = {"--help", "-help", "-h"}

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # the user's to mend
FULL = ("No space left on device", "Disk quota exceeded")  # of libraries that have no errno


def start(run: Callable[[], None], help_text: str = "", modes: Collection[str] = ()) -> None:
    """Parse the flags and call `run`; a UserError is one line on stderr and exit code 2.

    After SIGTERM, SIGINT or SIGHUP the exit code is 143, 130 or 129.

    Args:
        help_text: printed for --help and where there are no arguments; empty: absl's.
        modes: what the first argument may be, in place of --mode.
    """

    def main(argv: list[str]) -> None:
        try:
            if argv[1:]:
                raise UserError(f"unknown argument {argv[1]}: every option starts with --")
            run()
            cluster.leave()
        except UserError as error:
            _refuse(str(error))
        except signals.Stopped as stop:
            if stop.number != signal.SIGPIPE:  # nobody would read it
                print(f"stopped by signal {stop.number}; the same command goes on", file=sys.stderr)
            cluster.leave()
            _end(stop.code)
        except Exception as error:  # noqa: BLE001
            _refuse_disk(error)
            supervisor.wait_for_verdict(error)
            raise

    signals.watch()
    logging.set_verbosity(logging.WARNING)
    # It tells of each start that a user without a home has no settings of matplotlib.
    getLogger("matplotlib").setLevel("ERROR")
    app.run(main, flags_parser=lambda argv: parse_flags(argv, help_text, modes))


def given_config(example: str = "configs/synthetic.py:cpu") -> ConfigDict:
    """Return the config of --config, for a command that needs one."""
    if CONFIG.value is None:
        raise UserError(f"--config is missing: name a file, such as --config={example}")
    return CONFIG.value


def chosen_workdir() -> AnyPath:
    """Return --workdir, or runs/NAME[-variant] after --config=…/NAME.py[:variant]."""
    if WORKDIR.value is not None:
        return reached(WORKDIR.value)
    given_config()
    path, _, variant = flags.FLAGS["config"].config_filename.partition(":")
    name = pathlib.Path(path).stem
    return pathlib.Path("runs") / (f"{name}-{variant}" if variant else name)


def trained_workdir() -> AnyPath:
    """Return `chosen_workdir` for a command that works on a trained network.

    Raises:
        UserError: neither --workdir nor --config says which.
    """
    if WORKDIR.value is None and CONFIG.value is None:
        raise UserError(
            "--workdir is missing: name the folder of a trained network, such as "
            "--workdir=runs/folder"
        )
    return chosen_workdir()


def parse_flags(argv: list[str], help_text: str = "", modes: Collection[str] = ()) -> list[str]:
    """Parse flags and load the config; what is wrong with either is one line and exit code 2."""
    if help_text and (argv[1:] in ([], ["help"]) or set(argv[1:]) & HELP):
        print(help_text)
        sys.exit(0)
    try:
        rest = flags.FLAGS(_with_config_file(_with_mode(argv, modes)))
        if CONFIG.value is not None:
            CONFIG.value.to_dict()  # a file that could not be loaded only says so when it is used
        return rest
    except Exception as error:  # noqa: BLE001  a config file is code, and may fail in any way
        lines = str(error).strip().splitlines()
        # ml_collections quotes the whole traceback of a config file; its last line is the fault.
        lines = lines[-1:] if "Traceback" in str(error) else lines
        _refuse(" ".join(lines).removeprefix("ValueError: "))


def _with_mode(argv: list[str], modes: Collection[str]) -> list[str]:
    """Return `argv` with --mode=MODE where its first word is one."""
    if not modes or not argv[1:] or argv[1].startswith("-"):
        return argv
    program, word, *rest = argv
    if word not in modes:
        raise UserError(f"unknown mode {word!r}: there are {', '.join(modes)}")
    if any(argument.startswith(("--mode", "-mode")) for argument in rest):
        raise UserError(f"the mode is given twice: leave out {word} or --mode")
    return [program, f"--mode={word}", *rest]


def _with_config_file(argv: list[str]) -> list[str]:
    """Return `argv` with the file of --config=NAME, and with `~` in its path as the home folder.

    The other flags are paths of `as_path`.
    """
    resolved = []
    for before, argument in zip(argv, argv[1:], strict=False):
        flag, equals, value = argument.partition("=")
        if equals and flag in CONFIG_FLAGS:
            argument = f"{flag}={_config_file(value)}"
        elif before in CONFIG_FLAGS:
            argument = _config_file(argument)
        resolved.append(argument)
    return [argv[0], *resolved]


def _config_file(value: str) -> str:
    """Return FILE[:VARIANT] of the value of --config: a path stays, a name is one of ours.

    Raises:
        UserError: there is no such file.
    """
    name, colon, variant = value.partition(":")
    if "/" not in name and not name.endswith(".py"):
        path = CONFIGS / f"{name}.py"
        if not path.exists() or name == "base":
            raise UserError(f"--config: no config {name!r}; there are {', '.join(config_names())}")
    else:
        path = as_path(name)
        if not path.exists():
            ours = f"; the one that comes with defect_jax is --config={path.stem}{colon}{variant}"
            known = path.stem in config_names()
            raise UserError(f"--config: {name} is not there{ours if known else ''}")
    return f"{path}{colon}{variant}"


def config_names() -> list[str]:
    """Return the names of the configs that come with the package, those of ablations left out."""
    names = sorted(path.stem for path in CONFIGS.glob("*.py"))
    return [name for name in names if name != "base" and not name.endswith("_ablation")]


def _refuse_disk(error: BaseException | None) -> None:
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK:
            name = error.filename or "the disk"
            _refuse(
                f"{name}: cannot be written or read ({error.strerror}); mend it and start again"
            )
        if any(words in str(error) for words in FULL):
            _refuse(f"the disk is full ({str(error)[:400]}); make room and start again")
        error = error.__cause__ or error.__context__


def _refuse(message: str) -> NoReturn:
    line = " ".join(f"defect_jax: {message}".split())
    with contextlib.suppress(OSError):  # a reader that has gone does not hear why
        print(visible(line, sys.stderr.encoding), file=sys.stderr, flush=True)
    _end(2)


def _end(code: int) -> NoReturn:
    """End at once where a compiler's thread, or another host, would hold this process up."""
    if not compilation.under_way() and not supervisor.is_worker():
        sys.exit(code)
    scratch.clear()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
