"""Which wheels of jax this machine needs: those of CUDA 12 or 13, of a TPU, or of the CPU alone."""

import re
import subprocess
import sys
from pathlib import Path


def wheels_for(answer: str) -> str:
    """Choose the wheels for the GPUs that nvidia-smi lists.

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
    found = f"NVIDIA driver {driver} or GPU {capability[0]}.{capability[1]}"
    print(f"defect_jax: {found} too old for jax: CPU only", file=sys.stderr, flush=True)
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
