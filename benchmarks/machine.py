"""What a benchmark's figures depend on, for its JSON."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def machine(threads: int) -> dict[str, Any]:
    """Return the processor, how many threads may use it, and how busy it is already."""
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu,
        "processors": os.cpu_count(),
        "threads": threads,
        "system": platform.platform(),
        "load_before": load,
    }


def joined(versions: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return versions of packages, with both where two contenders differ."""
    packages = sorted({package for each in versions.values() for package in each})
    found = {p: {each[p] for each in versions.values() if p in each} for p in packages}
    return {package: ", ".join(sorted(values)) for package, values in found.items()}
