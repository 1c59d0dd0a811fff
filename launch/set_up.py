"""Brings .venv up to date: `set_up.py run` to use the program, `set_up.py test` to test it as well.

DEFECT_JAX_EXTRAS=cloud adds what data and workdirs at gs:// and s3:// need.

Needs the standard library alone; local.sh and test.sh call it. A stamp, written last, says what
.venv was made from: without one that fits (never made, killed half-way, other pins, another Python,
another accelerator, a moved checkout) everything is made anew. Nothing is mended in place, since
pip takes a half-installed package for a whole one.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = VENV / "lock"
EXTRAS = ("cloud",)
DISK_GB = {"cpu": 1.4, "cuda12": 6.2, "cuda13": 5.1, "tpu": 1.6}  # of .venv, tests included


def say(line: str) -> None:
    print(f"defect_jax: {line}", file=sys.stderr, flush=True)


def wheels_for(answer: str) -> str:
    """Chooses the wheels for the GPUs that nvidia-smi lists.

    Args:
        answer: A line `driver version, compute capability` a GPU, such as `580.65.06, 9.0`.

    Returns:
        cuda13 for driver 580 or later and compute capability 7.5 or higher, cuda12 for driver 525
        or later and 5.2 or higher, else cpu: what jax asks for. The least capable GPU decides.
    """
    gpus = re.findall(r"^\s*(\d+)[\d.]*\s*,\s*(\d+)\.(\d+)\s*$", answer, re.MULTILINE)
    if not gpus:
        return "cpu"
    driver = min(int(major) for major, _, _ in gpus)
    capability = min((int(major), int(minor)) for _, major, minor in gpus)
    if driver >= 580 and capability >= (7, 5):
        return "cuda13"
    if driver >= 525 and capability >= (5, 2):
        return "cuda12"
    say(f"NVIDIA driver {driver} or GPU {capability[0]}.{capability[1]} too old for jax: CPU only")
    return "cpu"


def ask_nvidia() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def has_tpu() -> bool:
    # Google's network cards have its PCI vendor number too, and other makers' devices such files.
    files = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
    return bool(files) and any(file.read_text().strip() == "0x1ae0" for file in vendors)


def find_accelerator() -> str:
    if sys.platform != "linux":
        return "cpu"
    found = wheels_for(ask_nvidia())
    return "tpu" if found == "cpu" and has_tpu() else found


def requirements(name: str) -> Path:
    return ROOT / "launch" / f"requirements-{name}.txt"


def fingerprint(accelerator: str) -> str:
    """Says what .venv is made from, as one line."""
    digest = hashlib.sha256(f"{ROOT}\n{sys._base_executable}\n{sys.version}".encode())
    for name in ("build", accelerator, *EXTRAS, "test"):
        digest.update(requirements(name).read_bytes())
    return f"{accelerator} {sys.version.split()[0]} {digest.hexdigest()}"


def stamp(purpose: str) -> Path:
    return VENV / f"ready-to-{purpose}"


def is_ready(purpose: str, accelerator: str) -> bool:
    try:
        made_from = stamp(purpose).read_text()
    except OSError:
        return False
    # Wheels for an accelerator serve a machine without one too: a login node must not take .venv
    # away from the compute nodes that share the checkout.
    fitting = list(DISK_GB) if accelerator == "cpu" else [accelerator]
    return any(made_from == fingerprint(name) for name in fitting)


@contextlib.contextmanager
def locked() -> Iterator[int]:
    """Holds the lock on .venv; gives the descriptor to hand on to every child that writes there.

    The lock is free when its last holder has ended, so that a pip that outlived a killed set-up is
    waited for, not raced.
    """
    VENV.mkdir(exist_ok=True)
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of .venv is under way: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            say("no locks on this file system: do not start a second set-up beside this one")
        yield file.fileno()


def clear() -> None:
    for path in VENV.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != LOCK:
            path.unlink()


def run(lock: int, *command: str | Path) -> None:
    subprocess.run(command, check=True, pass_fds=[lock], stdin=subprocess.DEVNULL)


def install(lock: int, *arguments: str | Path) -> None:
    # No build isolation: pip would fetch the newest setuptools, unpinned, to build promise, the one
    # package without a wheel. No compiling: all is compiled at the end, on all cores.
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--use-pep517", "--no-compile"]
    run(lock, PYTHON, "-m", "pip", "install", *options, *arguments)


def install_pinned(lock: int, names: Sequence[str]) -> None:
    files = [argument for name in names for argument in ("-r", requirements(name))]
    install(lock, "--require-hashes", *files)


def make(lock: int, purposes: Sequence[str], accelerator: str) -> None:
    """Makes .venv anew, or adds what is missing to a whole one."""
    start = time.monotonic()
    made_from = fingerprint(accelerator)
    if is_ready("run", accelerator):
        made_from = stamp("run").read_text()
        missing = [name for name in purposes if not is_ready(name, accelerator)]
        say(f"adding the {' and '.join(missing)} requirements to .venv")
        stamp("run").unlink()
        install_pinned(lock, missing)
    else:
        python = sys.version.split()[0]
        say(f"making .venv with Python {python} for {accelerator} ({DISK_GB[accelerator]} GB)")
        clear()
        run(lock, sys._base_executable, "-m", "venv", VENV)
        say("installing the pinned packages (this can take a minute or more)")
        install_pinned(lock, ["build"])
        install_pinned(lock, [accelerator, *purposes[1:]])
        install(lock, "--editable", ROOT)
    say("compiling them to bytecode")
    with contextlib.suppress(subprocess.CalledProcessError):  # some files are for other Pythons
        run(lock, PYTHON, "-m", "compileall", "-qq", "-j", "0", VENV / "lib")
    for name in purposes:
        unfinished = stamp(name).with_suffix(".tmp")
        unfinished.write_text(made_from)
        unfinished.replace(stamp(name))
    say(f".venv is ready after {time.monotonic() - start:.0f} s")


def wanted(purpose: str) -> list[str]:
    """All that .venv must be ready for; "run" comes first."""
    extras = os.environ.get("DEFECT_JAX_EXTRAS", "").replace(",", " ").split()
    unknown = [name for name in extras if name not in EXTRAS]
    if unknown:
        raise ValueError(f"DEFECT_JAX_EXTRAS: {unknown[0]} is none of {', '.join(EXTRAS)}")
    return ["run", *(["test"] if purpose == "test" else []), *dict.fromkeys(extras)]


def main(purpose: str) -> int:
    try:
        purposes = wanted(purpose)
    except ValueError as error:
        say(str(error))
        return 2
    accelerator = find_accelerator()

    def whole() -> bool:
        return all(is_ready(name, accelerator) for name in purposes)

    if whole():
        return 0
    try:
        with locked() as lock:
            if not whole():  # else made while we waited
                make(lock, purposes, accelerator)
    except subprocess.CalledProcessError:
        say("set-up failed, see the message above: mend that and start again")
        return 2
    except OSError as error:
        say(f"set-up failed: {error}: mend that and start again")
        return 2
    except KeyboardInterrupt:
        say("set-up interrupted: start again to make .venv whole")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
