"""Bring .venv up to date: `run` to use the program, `test` to test it as well.

DEFECT_JAX_EXTRAS=cloud adds what data and workdirs at gs:// and s3:// need, hub what weights at
hf:// need, wandb and mlflow what config.track names; several: cloud,hub.

set_up.sh calls this, with the standard library alone. pip installs the pinned uv, and uv the rest.
A note in .venv, written last, says what .venv was made from. Without one (never made, killed
half-way), and for another Python or place, .venv is made anew, since a half-installed package
passes for a whole one. Other pins are installed in place.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from launch.accelerator import find_accelerator

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("cloud", "hub", "wandb", "mlflow")
DISK_GB = {"cpu": 1.4, "cuda12": 6.2, "cuda13": 5.1, "tpu": 1.6}  # of .venv, tests included
# uv reads no settings of pip's. These choose the package index, and are handed on.
FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}


def say(line: str) -> None:
    print(f"defect_jax: {line}", file=sys.stderr, flush=True)


def requirements(name: str) -> Path:
    return ROOT / "launch" / f"requirements-{name}.txt"


def note() -> Path:
    return ROOT / ".venv" / "made-from.json"


def made_by() -> str:
    return f"{sys._base_executable} {sys.version} in {ROOT}"


def read_note() -> dict[str, str]:
    """Return the digest of each requirement file in .venv; none where .venv has to be made anew."""
    try:
        written = json.loads(note().read_text())
    except (OSError, ValueError):
        return {}
    return written["requirements"] if written["made_by"] == made_by() else {}


def wanted(accelerator: str, extras: Collection[str], made: Collection[str]) -> dict[str, str]:
    """Return what `read_note` has to return. What .venv has, it keeps.

    Wheels for an accelerator serve a machine without one too: a login node must not take .venv away
    from the compute nodes that share the checkout.
    """
    if accelerator == "cpu":
        accelerator = next((name for name in made if name in DISK_GB), "cpu")
    kept = [name for name in ("test", *EXTRAS) if name in extras or name in made]
    names = [accelerator, *kept, "build"]
    return {name: hashlib.sha256(requirements(name).read_bytes()).hexdigest() for name in names}


@contextlib.contextmanager
def locked() -> Iterator[int]:
    """Hold the lock on .venv; give the descriptor to hand on to every child that writes there.

    The lock is free when its last holder has ended, so that an installation that outlived a killed
    set-up is waited for, not raced.
    """
    with (ROOT / ".venv.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of .venv is under way: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            say("no locks on this file system: do not start a second set-up beside this one")
        yield file.fileno()


def settings_for_uv(python: str | Path) -> dict[str, str]:
    """Translate the settings of the pip of that Python; its environment overrides its files."""
    listing = subprocess.check_output([python, "-m", "pip", "config", "list"], text=True)
    lines = sorted(listing.splitlines(), key=lambda line: line.startswith(":env:"))
    found = dict(re.findall(r"""^[^.]*\.([\w-]+)=['"](.*)['"]$""", "\n".join(lines), re.MULTILINE))
    return {
        name: found[option].replace(r"\n", " ").strip()
        for option, name in FROM_PIP.items()
        if option in found
    }


def run(lock: int, *command: str | Path, **settings: str) -> None:
    environment = settings | os.environ  # the caller's own settings for uv come first
    subprocess.run(command, check=True, env=environment, pass_fds=[lock], stdin=subprocess.DEVNULL)


def install(lock: int, names: Collection[str], anew: bool) -> None:
    venv = ROOT / ".venv"
    python, uv, build = venv / "bin" / "python", venv / "bin" / "uv", requirements("build")
    if anew:
        version, disk_gb = sys.version.split()[0], next(DISK_GB[n] for n in names if n in DISK_GB)
        say(f"making .venv with Python {version} ({disk_gb} GB)")
        run(lock, sys._base_executable, "-m", "venv", "--clear", venv)
    say(f"installing the pinned packages for {', '.join(names)} (this can take a minute or more)")
    pinned = ["--quiet", "--require-hashes", "--only-binary=:all:", "-r", build]
    run(lock, python, "-m", "pip", "install", *pinned)
    settings = settings_for_uv(python)
    # promise, the one package without a wheel, and ours are built by the pinned setuptools.
    options = ["--quiet", "--python", python, "--build-constraint", build, "--compile-bytecode"]
    files = [requirements(name) for name in names]
    run(lock, uv, "pip", "sync", *options, "--require-hashes", *files, **settings)
    run(lock, uv, "pip", "install", *options, "--no-deps", "--editable", ROOT, **settings)


def bring_up_to_date(accelerator: str, extras: Collection[str]) -> None:
    made = read_note()
    if made == wanted(accelerator, extras, made):
        return  # without the lock, since the checkout may be read-only
    with locked() as lock:
        made = read_note()
        files = wanted(accelerator, extras, made)
        if made == files:
            return  # made while we waited
        start = time.monotonic()
        note().unlink(missing_ok=True)
        install(lock, files, anew=not made)
        unfinished = note().with_suffix(".tmp")
        unfinished.write_text(json.dumps({"made_by": made_by(), "requirements": files}, indent=2))
        unfinished.replace(note())
        say(f".venv is ready after {time.monotonic() - start:.0f} s")


def main(purpose: str) -> int:
    extras = os.environ.get("DEFECT_JAX_EXTRAS", "").replace(",", " ").split()
    if unknown := [name for name in extras if name not in EXTRAS]:
        say(f"DEFECT_JAX_EXTRAS: {unknown[0]} is none of {', '.join(EXTRAS)}")
        return 2
    try:
        bring_up_to_date(find_accelerator(), [*extras, "test"] if purpose == "test" else extras)
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
