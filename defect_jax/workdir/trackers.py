"""A run's numbers and images in Weights & Biases or MLflow as well, as `config.track` asks.

Each is an extra, and its library is imported only where it is asked for. Neither stops a training:
after its first error the run goes on without it, and metrics.jsonl and TensorBoard have all of it.
"""

import importlib.util
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from defect_jax.runtime import atomic_files
from defect_jax.runtime.console import say
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import read_json
from defect_jax.runtime.paths import AnyPath, is_remote
from defect_jax.workdir.mlflow_run import MLflowRun
from defect_jax.workdir.run_config import without_places
from defect_jax.workdir.wandb_run import WandBRun

TRACKERS = {"wandb": WandBRun, "mlflow": MLflowRun}  # the names are also those of the extras
IDS = "trackers.json"  # of a workdir: the id of its run, by tracker
ID = re.compile("[a-zA-Z0-9_-]{1,64}")

Run = WandBRun | MLflowRun


class Tracker:
    """A run in a tracker, until its first error; without one it does nothing."""

    def __init__(self, name: str = "", run: Run | None = None):
        self._name, self._run = name, run

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add numbers at a step."""
        self._tell(lambda run: run.numbers(step, numbers))

    def image(self, step: int, name: str, image: UInt8[np.ndarray, "h w c"]) -> None:
        """Add an image at a step."""
        self._tell(lambda run: run.image(step, name, image))

    def outcome(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add numbers of the whole run, at its last step."""
        self._tell(lambda run: run.outcome(step, numbers))

    def finish(self, to_the_end: bool) -> None:
        """Close the run, which may have been cut off."""
        self._tell(lambda run: run.finish(to_the_end))

    def _tell(self, what: Callable[[Run], None]) -> None:
        if self._run is not None:
            try:
                what(self._run)
            except Exception as error:  # noqa: BLE001  its own, its HTTP client's, the disk's
                self._run = None
                _say_without(self._name, error)


def refuse_missing(name: str) -> None:
    """Refuse a tracker whose library is not installed.

    Raises:
        UserError: with what installs it.
    """
    spec = importlib.util.find_spec(name) if name else None
    if name and (spec is None or spec.origin is None):  # a folder of that name has no origin
        raise UserError(
            f"config.track is {name!r}, which is not installed: pip install 'defect_jax[{name}]', "
            f"or start launch/local.sh with DEFECT_JAX_EXTRAS={name}"
        )


def open_tracker(config: ConfigDict, workdir: AnyPath, step: int) -> Tracker:
    """Return the tracker that a config asks for; the run in it goes on with that of the workdir.

    Args:
        step: that training goes on from; at 0 a run begins.
    """
    name = config.track
    if not name:
        return Tracker()
    try:
        return Tracker(name, _opened(name, config, workdir, step))
    except Exception as error:  # noqa: BLE001  as in `Tracker`
        _say_without(name, error)
        return Tracker()


def _opened(name: str, config: ConfigDict, workdir: AnyPath, step: int) -> Run:
    for variable, value in TRACKERS[name].environment.items():
        os.environ.setdefault(variable, value)
    ids = _read_ids(workdir)
    known = ids.get(name) if step > 0 else None
    given = without_places(config)
    run = TRACKERS[name](given, _folder(workdir), workdir.name, known, step)
    if run.id != known:
        atomic_files.write_text(workdir / IDS, json.dumps(ids | {name: run.id}) + "\n")
    return run


def _read_ids(workdir: AnyPath) -> dict[str, str]:
    """Return the ids of the workdir's runs; none where the file is lost or damaged."""
    try:
        ids = read_json(workdir / IDS)
    except (FileNotFoundError, UserError):
        return {}
    pairs = ids.items() if isinstance(ids, dict) else ()
    return {name: id for name, id in pairs if isinstance(id, str) and ID.fullmatch(id)}


def _folder(workdir: AnyPath) -> pathlib.Path:
    """Return where the library may keep files of its own."""
    if not is_remote(workdir):
        return pathlib.Path(workdir).resolve()
    folder = tempfile.mkdtemp(prefix="defect_jax-track-")
    say(f"{workdir} is in a bucket: what the tracker keeps on disk is in {folder}")
    return pathlib.Path(folder)


def _say_without(name: str, error: Exception) -> None:
    lines = str(error).strip().splitlines() or [""]
    say(f"{name}: the run goes on without it ({type(error).__name__}: {lines[0][:200]})")
