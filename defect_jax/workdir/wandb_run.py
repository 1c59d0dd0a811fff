"""A run in Weights & Biases, see `trackers`."""

import importlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict


class WandBRun:
    """A run of Weights & Biases; a process of the library's own sends what it is given."""

    # No reports of errors; and no server is waited for, as it would be at the end of a run, for as
    # long as it takes. What is not sent by then stays on disk, for `wandb sync`.
    environment = {
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_LOGIN_TIMEOUT": "60",  # seconds; on a terminal it asks for a key
        "WANDB_INIT_TIMEOUT": "30",
        "WANDB_FINISH_TIMEOUT": "60",
    }

    def __init__(
        self, config: ConfigDict, folder: pathlib.Path, name: str, id: str | None, step: int
    ):
        """Begin a run, or let the one of that id go on from that step."""
        self._library = importlib.import_module("wandb")
        self._run = self._library.init(
            project=os.environ.get("WANDB_PROJECT") or "defect_jax",
            name=os.environ.get("WANDB_NAME") or name,
            id=id,
            resume="allow",  # an id that it does not know is that of a new run
            dir=folder,
            config=config.to_dict(),
            allow_val_change=True,  # a run may become longer
            settings=self._library.Settings(
                console="off",
                reinit="create_new",
                max_end_of_run_history_metrics=0,  # metrics.jsonl and the report have them
                max_end_of_run_summary_metrics=0,
            ),
        )
        self._run.define_metric("*", step_metric="step")
        self.id, self._step = self._run.id, step

    def numbers(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Add numbers at a step.

        W&B's own steps only rise. Online, a run that goes on is told the next free one, and what
        came after its checkpoint is not sent again. At the checkpoint's own step only a validation
        that was cut off comes again, and takes the free step. Offline, nothing is known of earlier
        starts: such lines are doubled, and `wandb sync` counts their steps on. So the charts go by
        a number "step", which is right in any case.
        """
        free = self._run.starting_step
        if step >= free or step == self._step:
            self._run.log({"step": step, **numbers}, step=max(step, free))

    def image(self, step: int, name: str, image: UInt8[np.ndarray, "h w c"]) -> None:
        """Add an image at a step."""
        self.numbers(step, {name: self._library.Image(image)})

    def outcome(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show numbers of the whole run, in place of those of an earlier evaluation."""
        self._run.summary.update(dict(numbers))

    def finish(self, to_the_end: bool) -> None:
        """Close the run; one that was cut off counts as failed until it goes on."""
        self._run.finish(exit_code=0 if to_the_end else 1)
