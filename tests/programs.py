"""Starts `python -m defect_jax.main` for the tests, and others like it."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
MAIN = "defect_jax.main"
CONFIG = "--config=configs/synthetic.py:debug"
# The least network, where another thing is tested.
ROWS = "--config.model.widths=(4, 8)"
SMALL = ("--config.model.decoder=unet", "--config.model.attention=none", ROWS)
# A run that a test ends, with lines and checkpoints from the first steps on.
LONG = (
    "--config.train.steps=100000",
    "--config.train.log_every_steps=2",
    "--config.train.eval_every_steps=4",
)
# Learnt weights are part of what must be resumed; every third step measures, the others do not.
GRADNORM = ("--config.balance.method=gradnorm", "--config.balance.measure_every_steps=3")


def environment(devices=1, compiler=None):
    """What the environment of a program has beyond that of the tests.

    Args:
        devices: of the CPU.
        compiler: XLA_FLAGS; those of conftest.py if None.
    """
    flags = os.environ["XLA_FLAGS"] if compiler is None else compiler
    flags += f" --xla_force_host_platform_device_count={devices}"
    return {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def start(*arguments, module=MAIN, **options):
    """Starts a program as a user does, but for what the compiler is told, see conftest.py."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | environment(**options), **pipes)


def run(*arguments, **options):
    """Starts a program as a user does and waits for its end."""
    with start(*arguments, **options) as process:
        stdout, stderr = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def lines(workdir):
    """What metrics.jsonl holds."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


class Forks:
    """Runs programs in forks of one process that has imported the libraries, see forked.py."""

    def __init__(self, folder):
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        self._bytecode = folder / "bytecode"
        self._process = None

    def run(self, *arguments, module=MAIN, **options):
        """Does what `run` above does, in less time."""
        if sys.platform != "linux":  # elsewhere a fork may not use what was loaded before it
            return run(*arguments, module=module, **options)
        self._stdout.write_text("")
        self._stderr.write_text("")
        asked = {
            "module": module,
            "arguments": list(map(str, arguments)),
            "environment": environment(**options),
            "stdout": str(self._stdout),
            "stderr": str(self._stderr),
        }
        process = self._started()
        print(json.dumps(asked), file=process.stdin, flush=True)
        code = int(process.stdout.readline())
        texts = self._stdout.read_text(), self._stderr.read_text()
        return subprocess.CompletedProcess([module, *arguments], code, *texts)

    def close(self):
        """Ends the process."""
        if self._process is not None:
            self._process.communicate(timeout=60)

    def _started(self):
        if self._process is None:
            command = [sys.executable, str(ROOT / "tests" / "forked.py"), str(self._bytecode)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            surroundings = os.environ | environment()
            self._process = subprocess.Popen(command, cwd=ROOT, env=surroundings, **pipes)
        return self._process
