"""A run in MLflow, see `trackers`."""

import importlib
import os
import pathlib
import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from defect_jax.workdir.config_schema import flat


class MLflowRun:
    """A run of MLflow; a call returns when the server, or a file, has what it was given."""

    # No telemetry; and a server that does not answer is waited for half a minute, not an hour.
    environment = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_ALLOW_FILE_STORE": "true",  # its other store without a server needs SQLAlchemy
    }

    def __init__(
        self, config: ConfigDict, folder: pathlib.Path, name: str, id: str | None, step: int
    ):
        """Begin a run, or let the one of that id go on; what it has from after `step` it tells."""
        self._library = importlib.import_module("mlflow")
        files = (folder / "mlruns").as_uri()
        place = os.environ.get("MLFLOW_TRACKING_URI") or files
        self._client = self._library.MlflowClient(place)
        run = (self._known(id) if id else None) or self._begun(config, name)
        self.id, self._goes_on = run.info.run_id, run.info.run_id == id
        self._last_steps: dict[str, int] = {}
        # Files say where images go: those of another folder, or person, may name any place.
        own = f"{files}/{run.info.experiment_id}/{self.id}/artifacts"
        if place == files and run.info.artifact_uri != own:
            raise ValueError(f"{folder / 'mlruns'} was in another folder before: move it away")

    def _known(self, id: str) -> Any:
        """Return the run of that id, open again; None where there is none, or it was deleted."""
        try:
            run = self._client.get_run(id)
        except self._library.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if run.info.lifecycle_stage != "active":
            return None
        self._client.update_run(id, "RUNNING")
        return run

    def _begun(self, config: ConfigDict, name: str) -> Any:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "defect_jax"
        try:  # not looked for first: several runs may begin at once
            where = self._client.create_experiment(experiment)
        except self._library.MlflowException:
            where = self._client.get_experiment_by_name(experiment).experiment_id
        run = self._client.create_run(where, run_name=name)
        # They cannot be changed: those of a run that becomes longer are those of its beginning.
        given = [self._library.entities.Param(f, str(value)) for f, value in flat(config).items()]
        self._client.log_batch(run.info.run_id, params=given)
        return run

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add numbers at a step, but for those that the run has, from after its checkpoint."""
        new = {name: value for name, value in numbers.items() if step > self._last_step(name)}
        if new:
            self.outcome(step, new)

    def _last_step(self, name: str) -> int:
        """Return the last step of a number before this start; -1 where there is none."""
        if self._goes_on and name not in self._last_steps:
            history = self._client.get_metric_history(self.id, metric_name(name))
            self._last_steps[name] = max((metric.step for metric in history), default=-1)
        return self._last_steps.get(name, -1)

    def image(self, step: int, name: str, image: UInt8[np.ndarray, "h w c"]) -> None:
        """Add an image at a step."""
        key = re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)  # less than a metric's name may have
        self._client.log_image(self.id, image, key=key, step=step)

    def outcome(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add numbers at a step; of two evaluations at one step the newer counts."""
        now, metric = int(time.time() * 1000), self._library.entities.Metric
        metrics = [metric(metric_name(name), value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self.id, metrics=metrics)

    def finish(self, to_the_end: bool) -> None:
        """Close the run; one that was cut off counts as failed until it goes on."""
        self._client.set_terminated(self.id, "FINISHED" if to_the_end else "FAILED")


def metric_name(name: str) -> str:
    """Return the name of a number as MLflow takes it.

    >>> metric_name("test/iou/Riß (fein)")
    'test/iou/Riß _fein_'
    """
    return re.sub(r"[^\w\-. :/]", "_", name)
