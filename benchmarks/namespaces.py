"""Two hosts on one machine with addresses, names and a network of their own; Linux, as root.

    djx0: eth0 10.99.0.1 ─┐
                          ├─ bridge in djxb
    djx1: eth0 10.99.0.2 ─┘

Nothing of it is seen outside these three network namespaces, and all of it goes when they do.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

NAMES = ("djx0", "djx1")
ADDRESSES = ("10.99.0.1", "10.99.0.2")
SWITCH = "djxb"
RESOLVING = "".join(f"{a} {n}\n" for a, n in zip(ADDRESSES, NAMES, strict=True))
# What Debian's installer writes: a host's name is its own loopback.
LOOPBACK = "127.0.0.1 localhost\n127.0.1.1 {name}\n"


def refusal() -> str | None:
    """Return why there can be no such hosts here, in one line; None if there can."""
    if any(shutil.which(tool) is None for tool in ("ip", "unshare", "mount", "hostname")):
        return "ip, unshare, mount and hostname are needed"
    try:
        with two_hosts():
            return None
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.decode().strip()}"


@contextlib.contextmanager
def two_hosts() -> Iterator[None]:
    """Make two hosts that reach each other, for the block."""
    _remove()
    try:
        for namespace in (*NAMES, SWITCH):
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", SWITCH, "link", "add", "bridge", "type", "bridge")
        _ip("-n", SWITCH, "link", "set", "bridge", "up")
        for index in range(2):
            _plug_in(index)
        yield
    finally:
        _remove()


def _plug_in(index: int) -> None:
    port, name = f"port{index}", NAMES[index]
    end = ("type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("-n", SWITCH, "link", "add", port, *end)
    _ip("-n", SWITCH, "link", "set", port, "master", "bridge", "up")
    _ip("-n", name, "address", "add", f"{ADDRESSES[index]}/24", "dev", "eth0")
    _ip("-n", name, "link", "set", "eth0", "up")


def _remove() -> None:
    for namespace in (*NAMES, SWITCH):
        subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)


def cut(index: int, silently: bool) -> None:
    """Take a host off the network: its own end goes down, or the switch only drops its packets."""
    if silently:
        _ip("-n", SWITCH, "link", "set", f"port{index}", "nomaster")
    else:
        _ip("-n", NAMES[index], "link", "set", "eth0", "down")


def mend(index: int) -> None:
    """Undo `cut`."""
    _ip("-n", NAMES[index], "link", "set", "eth0", "up")
    _ip("-n", SWITCH, "link", "set", f"port{index}", "master", "bridge")


def prefix(index: int, folder: Path, names: str = RESOLVING) -> list[str]:
    """Return words before a command that has it run on a host.

    Args:
        folder: for a file that stands for the host's /etc/hosts.
        names: what is in it; "{name}" is the host's own.
    """
    file = folder / f"hosts-of-{NAMES[index]}"
    file.write_text(names.format(name=NAMES[index]))
    inside = 'mount --bind "$1" /etc/hosts && hostname "$0" && shift && exec "$@"'
    namespace = ["ip", "netns", "exec", NAMES[index], "unshare", "--uts", "--mount"]
    return [*namespace, "sh", "-c", inside, NAMES[index], str(file)]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
