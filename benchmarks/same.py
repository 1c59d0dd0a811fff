"""Whether two workdirs hold the same bits, and whether what a kill left in one is whole."""

import json
import re
from pathlib import Path

import numpy as np
import tensorstore

SAME_FILES = ("metrics.jsonl", "decision.json", "eval/test/metrics.json", "eval/test/parts.csv")
SAME_FILES += ("eval/test/predictions.csv",)
WHOLE_STEP = re.compile(r"\d+")
# What only a run that was cut off leaves, and a later start should have cleared away.
REMAINS = ("*.partial", "*orbax-checkpoint-tmp*", "eval/.*")


def arrays(step: Path) -> dict[str, np.ndarray]:
    """Return all arrays of a checkpoint, by dotted name, read without the program or Orbax."""
    store = {"driver": "ocdbt", "base": f"file://{step.absolute() / 'state'}/"}
    keys = tensorstore.KvStore.open(store).result().list().result()
    names = sorted(key.decode().removesuffix("/zarr.json") for key in keys if b"zarr.json" in key)
    opened = {
        name: tensorstore.open({"driver": "zarr3", "kvstore": store | {"path": f"{name}/"}})
        for name in names
    }
    return {name: found.result().read().result() for name, found in opened.items()}


def unlogged(step: Path) -> list[dict[str, float]]:
    """Return the numbers of steps that no line holds yet, as the checkpoint has them."""
    return json.loads((step / "_CHECKPOINT_METADATA").read_text())["custom_metadata"]["unlogged"]


def steps(workdir: Path) -> list[int]:
    """Return the steps of all checkpoints that pass for whole."""
    folder = workdir / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if WHOLE_STEP.fullmatch(name))


def differences(reference: Path, workdir: Path) -> list[str]:
    """Return every difference between two runs that have ended: files, and checkpoints of each
    step."""
    found = []
    for name in SAME_FILES:
        want, got = reference / name, workdir / name
        if not got.exists() or want.read_bytes() != got.read_bytes():
            found.append(f"{name} {'differs' if got.exists() else 'is not there'}")
    have, want = steps(workdir), steps(reference)
    if have[-1:] != want[-1:]:
        found.append(f"the last checkpoint is {have[-1:]}, not {want[-1:]}")
    for step in sorted(set(have) & set(want)):
        found += _different_arrays(
            reference / f"checkpoints/{step}", workdir / f"checkpoints/{step}"
        )
    return found


def _different_arrays(reference: Path, other: Path) -> list[str]:
    want, got = arrays(reference), arrays(other)
    names = [
        name
        for name in sorted(want.keys() | got.keys())
        if name not in want or name not in got or _bits(want[name]) != _bits(got[name])
    ]
    found = [f"checkpoint {other.name}: {len(names)} arrays differ: {names[:3]}"] if names else []
    if unlogged(reference) != unlogged(other):
        found.append(f"checkpoint {other.name}: the numbers not logged yet differ")
    return found


def _bits(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return str(array.dtype), array.shape, array.tobytes()


def torn(workdir: Path) -> list[str]:
    """Return what a kill left half-written under a name that says it is whole."""
    found = [f"{path.relative_to(workdir)} is torn" for path in _texts(workdir) if _is_torn(path)]
    for step in steps(workdir):
        try:
            if int(arrays(workdir / f"checkpoints/{step}")["step"]) != step:
                found.append(f"checkpoint {step} holds another step")
        except Exception as error:  # noqa: BLE001  whatever it is, it cannot be read
            found.append(f"checkpoint {step}: {str(error).splitlines()[0][:200]}")
    return found


def _texts(workdir: Path) -> list[Path]:
    """Return files that a reader may open: no part of their path begins with a dot."""
    files = [
        path for kind in ("json", "jsonl", "csv", "html") for path in workdir.rglob(f"*.{kind}")
    ]
    names = {path: path.relative_to(workdir).parts for path in files}
    hidden = {path for path in files if any(n[0] == "." or "-tmp" in n for n in names[path])}
    return [path for path in files if path not in hidden and "checkpoints" not in names[path]]


def _is_torn(path: Path) -> bool:
    text = path.read_text(errors="replace")
    if path.suffix == ".html":
        return not text.rstrip().endswith("</html>")
    if path.suffix == ".csv":
        return not text.endswith("\n")
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    if path.suffix == ".jsonl" and not text.endswith("\n"):
        lines = lines[:-1]  # the last line may be cut off: the next start drops it
    try:
        [json.loads(line) for line in lines]
    except ValueError:
        return True
    return False


def remains(workdir: Path, data_dir: Path) -> list[str]:
    """Return what killed starts left behind that the last one did not clear away."""
    left = [path for kind in REMAINS for path in workdir.rglob(kind)]
    left += [path for path in data_dir.glob("synthetic/.*.partial")]
    return sorted(str(path) for path in set(left))
