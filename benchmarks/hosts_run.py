"""One run of several processes as several hosts, all with one workdir."""

import contextlib
import os
import random
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.phases import Watch
from benchmarks.runs import Run, alive, kill_all

TIMEOUT_S = 10
END_WITHIN_S = 900
LOOK_EVERY_S = 0.01


class Hosts:
    """Starts the same command on all hosts, as often as wanted; a context manager.

    Attributes:
        faults: what was found wrong so far.
    """

    def __init__(
        self,
        home: Path,
        name: str,
        prefixes: Sequence[Sequence[str]] | None = None,
        address: str = "127.0.0.1",
    ):
        """Take words before the command of each host, and the first one's address."""
        self.home, self.folder, self.prefixes = home, home / name, prefixes
        self.workdir, self.mark = self.folder / "workdir", f"{os.getpid()}/{name}/"
        self.coordinator = f"{address}:{_free_port()}"
        self.runs: list[Run] = []
        self.faults: list[str] = []
        self._starts = 0

    def __enter__(self) -> "Hosts":
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *exception: object) -> None:
        kill_all(self.mark)

    def start(self, count: int) -> None:
        """Start `count` processes; with one, no host is spoken of."""
        self._starts += 1
        self.runs = [self._start(index, count) for index in range(count)]

    def _start(self, index: int, count: int) -> Run:
        arguments = [
            f"--workdir={self.workdir}",
            f"--config.data.data_dir={self.home / 'data'}",
            f"--config.compilation_cache={self.home / 'cache'}",
        ]
        if count > 1:
            arguments += [
                f"--coordinator_address={self.coordinator}",
                f"--num_processes={count}",
                f"--process_id={index}",
                f"--host_timeout_s={TIMEOUT_S}",
            ]
        log = self.folder / f"start-{self._starts}-process-{index}.txt"
        prefix = self.prefixes[index] if self.prefixes else ()
        return Run(self.home, self.mark, log, arguments, prefix)

    def wait_for(self, phase: str, times: int = 1) -> None:
        """Wait until the first host has come to a phase, and a bit longer: up to 0.2 s."""
        watch = Watch(self.runs[0].log, self.workdir, self.home / "data")
        with contextlib.closing(watch):
            while watch.times(phase) < times:
                if self.runs[0].process.poll() is not None:
                    self.faults.append(f"ended before it came to {phase}")
                    return
                watch.look()
                time.sleep(LOOK_EVERY_S)
        time.sleep(random.random() * 0.2)

    def workers(self, index: int) -> list[int]:
        """Return processes of a host other than its parent."""
        wanted = f"--process_id={index}".encode()
        pids = [pid for pid in alive(self.mark) if pid != self.runs[index].process.pid]
        return [pid for pid in pids if wanted in _words(pid)]

    def hit(self, index: int, number: int, parent: bool = True) -> None:
        """Send a signal to a host's worker, and to its parent too as if it were the whole host."""
        pids = [self.runs[index].process.pid] * parent + self.workers(index)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def codes(self, within_s: float = END_WITHIN_S) -> list[int | None]:
        """Return the exit codes of all processes; None where one had to be killed after
        `within_s`."""
        until = time.time() + within_s
        return [run.code(max(0.1, until - time.time())) for run in self.runs]

    def to_the_end(self, count: int) -> None:
        """Start the command again and let it end."""
        self.start(count)
        self.expect_codes([0] * count)

    def expect_codes(self, wanted: list[int], within_s: float = END_WITHIN_S) -> None:
        """Wait for the end of all and note a fault where an exit code is another."""
        codes = self.codes(within_s)
        if codes != wanted:
            last = [run.last_words for run in self.runs]
            self.faults.append(f"start {self._starts}: exit codes {codes}, not {wanted}: {last}")


def _words(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
