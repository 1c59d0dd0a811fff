"""The program as processes that can be watched, killed and compared, for `kill` and `hosts`."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = "DEFECT_JAX_BENCHMARK"  # in the environment of every process of a run, children included
GONE_WITHIN_S = 10

# Small, but each phase lasts long enough to be hit: batches of validation, saves, steps.
ARGUMENTS = (
    "--config=configs/synthetic.py:debug",
    "--config.data.parts=240",
    "--config.data.picture_size=(128,128)",
    "--config.data.size=(64,64)",
    "--config.model.widths=(4,8)",
    "--config.evaluation.flips=True",
    "--config.balance.method=gradnorm",
    "--config.balance.measure_every_steps=3",
    "--config.train.steps=24",
    "--config.train.batch_size=4",
    "--config.train.log_every_steps=2",
    "--config.train.eval_every_steps=4",
)


def copy_code(folder: Path) -> Path:
    """Copy the program, so that editing it meanwhile changes no run; return a folder of its own.

    The folder is named after what the code says: other code never meets the runs of this one.
    """
    files = sorted(f for part in ("defect_jax", "configs") for f in (ROOT / part).rglob("*.*"))
    files = [file for file in files if file.is_file() and "__pycache__" not in file.parts]
    digest = hashlib.sha256(repr(ARGUMENTS).encode())
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    home = folder / digest.hexdigest()[:8]
    for file in files if not home.exists() else ():
        target = home / "code" / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return home


class Run:
    """One start of the program; `mark` is the same for all starts of one trial."""

    def __init__(
        self,
        home: Path,
        mark: str,
        log: Path,
        arguments: Sequence[str],
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ):
        """Start it in a session of its own, with the copied code of `home`.

        Args:
            log: what it says; each start begins it anew.
            prefix: words before the command, as `ip netns exec`.
        """
        self.log, self.mark, self.began = log, mark, time.time()
        command = [*prefix, sys.executable, "-m", "defect_jax.main", *ARGUMENTS, *arguments]
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=home / "code",
                env=os.environ | {"JAX_PLATFORMS": "cpu", MARK: mark} | dict(environment or {}),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def send(self, number: int, to_group: bool) -> None:
        """Send a signal to the main process, or to its group, as a Ctrl-C does."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if to_group else os.kill)(self.process.pid, number)

    def code(self, within_s: float) -> int | None:
        """Return the exit code as a shell tells it, None if the run had to be killed after
        `within_s`."""
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            kill_all(self.mark)
            self.process.wait()
            return None
        return 128 - code if code < 0 else code

    @property
    def said(self) -> str:
        """Return all of its lines so far."""
        return self.log.read_text(errors="replace")

    @property
    def last_words(self) -> str:
        """Return the start of its last line."""
        return (self.said.splitlines() or ["no word"])[-1][:200]


def alive(mark: str) -> list[int]:
    """Return processes whose mark begins like this, zombies apart: they have no environment
    left."""
    wanted = f"{MARK}={mark}".encode()
    return [
        pid
        for pid, environment in _environments()
        if any(variable.startswith(wanted) for variable in environment.split(b"\0"))
    ]


def _environments() -> Iterator[tuple[int, bytes]]:
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            yield int(path.name), (path / "environ").read_bytes()


def survivors(mark: str) -> list[str]:
    """Return the command lines of the processes that are still there after GONE_WITHIN_S; they are
    killed."""
    until = time.monotonic() + GONE_WITHIN_S
    while alive(mark) and time.monotonic() < until:
        time.sleep(0.1)
    return kill_all(mark)


def kill_all(mark: str) -> list[str]:
    """Kill what is left of a trial and return the command lines."""
    lines = []
    for pid in alive(mark):
        with contextlib.suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
            os.kill(pid, signal.SIGKILL)
    return lines
