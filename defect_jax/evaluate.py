"""From a trained network to decisions, files and the report: the second half of every run."""

import pathlib
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax import checkpoints, decision
from defect_jax.data.prepare import Split, prepare
from defect_jax.decision import Decision
from defect_jax.metrics import ranking
from defect_jax.metrics.picture import (
    Picture,
    picture_iou,
    picture_metrics,
    write_predictions,
)
from defect_jax.metrics.summary import Metrics, join_metrics, write_metrics
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.optimizer import make_tx
from defect_jax.progress import say
from defect_jax.report.page import Report, write_report
from defect_jax.results import Results, picture_loader
from defect_jax.scoring import Scorer, Scores
from defect_jax.sharding import make_mesh, state_sharding
from defect_jax.steps import create_state
from defect_jax.writers import read_history

LEAKING = {"leaking": 1}  # beside every number from a split that parts straddle
NO_MASK = 2.0  # a mask threshold that no probability reaches: nothing is decided yet


def evaluate(config: ConfigDict, workdir: pathlib.Path) -> dict[str, float | None]:
    """Restores the best checkpoint, decides on every test picture, writes metrics and report.

    Thresholds come from `decision.json`; where that is missing or belongs to another checkpoint, it
    is made first, from the validation split alone. Training pictures are not needed.

    Args:
        config: resolved, as in the workdir's config.json.
        workdir: of a trained network.

    Returns:
        The contents of eval/test/metrics.json.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    step = checkpoints.best_step(workdir)
    made = decided_before(workdir, step)
    prepared = prepare(config.data, needed=("test",) if made else ("val", "test"))
    network = SegmentationNetwork(**config.model)
    average = best_average(network, config, workdir, step, mesh)
    if not made:
        made = decide(network, average, prepared.splits["val"], config, mesh, step)
        made.to_json(workdir / "decision.json")
    test, results = prepared.splits["test"], Results(workdir / "eval" / "test")
    with results:
        scorer = Scorer(network, test, config, mesh)
        say(f"testing step {step}, thresholds from {made.chosen_on}: {shown(made)}")
        scores = scorer(average, made.mask_threshold, made.pixel_threshold, results.mask_of(test))
        pictures = to_pictures(test, scores, made)
        metrics = to_metrics(test, pictures, scores, prepared.info.leaking)
        write_predictions(results.folder / "predictions.csv", pictures)
        write_metrics(results.folder / "metrics.json", metrics)
    report = Report(
        title=f"{config.data.name}, step {step}",
        split="test",
        metrics=metrics,
        decision=made,
        pictures=pictures,
        notes=list(prepared.info.notes),
        history=read_history(workdir),
        config=config.to_dict(),
        load_picture=picture_loader(test, results.final / "masks"),
    )
    write_report(workdir / "eval" / "report.html", report)
    say(f"wrote {results.final} and {workdir / 'eval' / 'report.html'}")
    return metrics


def shown(made: Decision) -> str:
    """The thresholds in a few words."""
    return (
        f"head {made.threshold:.4f}, mask {made.mask_threshold:.4f}, "
        f"pixel {made.pixel_threshold:.4f}"
    )


def to_metrics(split: Split, pictures: list[Picture], scores: Scores, leaking: bool) -> Metrics:
    """Everything in metrics.json; what is null is explained in a line, what leaks is labelled."""
    metrics, reasons = join_metrics(
        picture_metrics(pictures),
        scores.histogram.compute(),
        scores.counts.compute(),
        images=len(split.rows),
        defective=sum(row.label for row in split.rows),
    )
    for reason in reasons:
        say(reason)
    return metrics | LEAKING if leaking else metrics


def validation_numbers(split: Split, scores: Scores, config: ConfigDict) -> dict[str, float | None]:
    """Threshold-free scores of validation, and `selection`, which picks the best checkpoint.

    The two halves of the job count alike: ranking the parts and finding the pixels.
    """
    labels = np.array([row.label for row in split.rows])
    pixels = scores.histogram.compute()
    numbers = {
        "image_ap": ranking.average_precision(labels, scores.pictures["score"]),
        "image_auroc": ranking.auroc(labels, scores.pictures["score"]),
        "mask_image_ap": ranking.average_precision(labels, scores.pictures["mask_score"]),
        "pixel_ap": pixels["pixel_ap"],
    }
    halves = [numbers["image_ap"], numbers["pixel_ap"]]
    numbers |= {"selection": float(np.mean([half or 0.0 for half in halves]))}
    return numbers | LEAKING if config.picture.leaking else numbers


def decided_before(workdir: pathlib.Path, step: int) -> Decision | None:
    """The decision that the workdir has for the checkpoint of `step`, or None."""
    path = workdir / "decision.json"
    if not path.exists():
        return None
    made = Decision.from_json(path)
    return made if made.checkpoint_step == step else None


def best_average(
    network: SegmentationNetwork, config: ConfigDict, workdir: pathlib.Path, step: int, mesh: Mesh
) -> Any:
    """The averaged weights of a checkpoint, on the devices there are now."""
    shape = (1, *config.data.size, config.picture.channels)
    variables = initial_variables(network, shape, config.seed)
    like = jax.eval_shape(lambda tree: create_state(tree, make_tx(config)), variables)
    with checkpoints.open_checkpoints(workdir) as checkpointer:
        return checkpoints.restore(checkpointer, step, like, state_sharding(mesh, like)).average


def decide(
    network: SegmentationNetwork,
    average: Any,
    val: Split,
    config: ConfigDict,
    mesh: Mesh,
    step: int,
) -> Decision:
    """Chooses all thresholds on the validation split."""
    scores = Scorer(network, val, config, mesh)(average, mask=NO_MASK, pixel=NO_MASK)
    labels = np.array([row.label for row in val.rows])
    return decision.choose(
        labels,
        scores.pictures["score"],
        scores.pictures["mask_score"],
        scores.histogram.best_f1_threshold(),
        checkpoint_step=step,
    )


def to_pictures(split: Split, scores: Scores, made: Decision) -> list[Picture]:
    """One row of predictions.csv a picture."""
    columns = [
        scores.pictures[name].tolist()
        for name in ("score", "mask_score", "intersection_px", "true_px", "predicted_px")
    ]
    pictures = []
    for row, score, mask_score, inside, true, predicted in zip(split.rows, *columns, strict=True):
        pictures.append(
            Picture(
                id=row.id,
                group=row.group,
                label=row.label,
                score=score,
                mask_score=mask_score,
                decision=int(score >= made.threshold),
                mask_decision=int(predicted > 0),
                iou=picture_iou(inside, true, predicted),
                intersection_px=inside,
                true_px=true,
                predicted_px=predicted,
            )
        )
    return pictures
