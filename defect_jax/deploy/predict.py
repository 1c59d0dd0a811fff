"""Decides on every image of a folder: the story of --mode=predict."""

import dataclasses
import hashlib
import time
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

import defect_jax
from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.images import inspect_image
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.reading import threaded
from defect_jax.decision.apply import why_undecided
from defect_jax.deploy.gallery import write_page
from defect_jax.deploy.inputs import Input, absolute, open_input
from defect_jax.deploy.outputs import FIELD, Prediction, PredictionFolder, as_prediction
from defect_jax.deploy.predictor import BATCH_SIZE, Predictor, Ready, load
from defect_jax.distributed.sharding import make_mesh
from defect_jax.runtime import signals
from defect_jax.runtime.console import say, track
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.memory import shortage
from defect_jax.runtime.paths import AnyPath, as_path, is_remote


class Read(NamedTuple):
    """An image that was read, or why it was not."""

    id: str
    origin: dict[str, str]  # the file's name and fingerprint
    image: np.ndarray | None = None
    ready: Ready | None = None
    fault: str = ""


class Done(NamedTuple):
    """What is said of an image: nothing where it cannot be used, or was decided on before."""

    read: Read
    prediction: Prediction | None


def predict(input: str, output: str, workdir: AnyPath, max_megapixels: float, strict: bool) -> None:
    """Decide on the images below `input` and write everything into the folder `output`.

    A run that was cut off goes on with the same command: images that have not changed since are
    not decided on again.

    Args:
        workdir: of a trained network.
        max_megapixels: larger images are refused before they are decoded.
        strict: whether the first image that cannot be used ends the run.

    Raises:
        UserError: a path that cannot be used, or, at the end, images that could not be used.
    """
    raw, inputs = open_input(input, max_megapixels)
    folder = as_path(output)
    if is_remote(folder):
        raise UserError(f"{FIELD}: {output} must be a folder of this machine")
    mesh = make_mesh(data=-1, fsdp=1)
    predictor = load(workdir, BATCH_SIZE * mesh.size, mesh)
    classes = list(predictor.config.data_info.classes)
    start = time.monotonic()
    with PredictionFolder(folder, settings(input, workdir, predictor), len(classes)) as outputs:
        known = {id: line["sha256"] for id, line in outputs.lines.items() if "fault" not in line}
        look = partial(read, raw, predictor, known, max_megapixels)
        waiting_most = predictor.spec.framing.most_waiting
        decided = decide_batches(predictor, threaded(look, inputs, waiting_most), waiting_most)
        write = partial(write_files, outputs)
        for done in track(threaded(write, decided, waiting_most), "deciding", len(inputs)):
            record(outputs, done, strict)
        lines = outputs.finish([item.id for item in inputs])
    say_how_many(lines, known, time.monotonic() - start)
    write_page(folder, raw, lines, predictor.rule)
    say(f"wrote {folder}")
    refuse_faults(lines)


def settings(input: str, workdir: AnyPath, predictor: Predictor) -> dict[str, Any]:
    """Return what the results follow from: results of another are not mixed with them."""
    return {
        "input": absolute(input),
        "defect_jax": defect_jax.__version__,
        "workdir": str(workdir),
        "fingerprint": predictor.config.data_info.fingerprint,
        "decision": dataclasses.asdict(predictor.rule),
    }


def read(
    raw: RawFiles,
    predictor: Predictor,
    known: Mapping[str, str],
    max_megapixels: float,
    item: Input,
) -> Read:
    """Read, check and frame an image; what is wrong with it is returned, not raised.

    Args:
        known: id -> fingerprint of the images that were decided on before.
    """
    origin = {"file": item.name}
    try:
        data = raw.read(item.name)
        origin["sha256"] = hashlib.sha256(data).hexdigest()
        if known.get(item.id) == origin["sha256"]:
            return Read(item.id, origin)
        _, image = inspect_image(data, max_megapixels)
        ready = predictor.ready(image, raw.where(item.name))
    except (BadImage, OSError, MemoryError) as error:
        what = shortage(error) or getattr(error, "strerror", None) or error
        return Read(item.id, origin, fault=f"{raw.where(item.name)}: {what}")
    except UserError as error:
        return Read(item.id, origin, fault=str(error))
    return Read(item.id, origin, image, ready)


def decide_batches(
    predictor: Predictor, images: Iterator[Read], most: int | None
) -> Iterator[tuple[Read, Any]]:
    """Yield each image with its decision, in order; None where there is nothing to decide.

    Args:
        most: images taken at once; a batch if not given.
    """
    while batch := list(islice(images, most or predictor.batch_size)):
        signals.check_preemption()
        ready = [item.ready for item in batch if item.ready is not None]
        decisions = iter(predictor.decide_each(ready))
        for item in batch:
            yield item, next(decisions) if item.ready is not None else None


def write_files(outputs: PredictionFolder, decided: tuple[Read, Any]) -> Done:
    """Write the images that belong to a decision; what is no decision is a fault."""
    item, decision = decided
    if decision is None:
        return Done(item, None)
    if why := why_undecided(decision.score, decision.mask_score):
        return Done(item._replace(image=None, ready=None, fault=f"{item.id}: {why}"), None)
    outputs.write_files(item.id, item.image, decision.mask)
    return Done(item._replace(image=None, ready=None), as_prediction(item.id, decision))


def record(outputs: PredictionFolder, done: Done, strict: bool) -> None:
    """Add the line of an image; say what is wrong with it.

    Raises:
        UserError: it cannot be used, and `strict` is set.
    """
    item = done.read
    if item.fault:
        if strict:
            raise UserError(item.fault)
        say(item.fault)
        outputs.add_fault(item.id, item.fault, item.origin)
    elif done.prediction is not None:
        outputs.add(done.prediction, item.origin)


def say_how_many(lines: list[dict[str, Any]], known: Mapping[str, str], seconds: float) -> None:
    """Say how many images were decided on, and how fast."""
    new = sum("fault" not in line and known.get(line["id"]) != line["sha256"] for line in lines)
    before = f", {len(known)} were decided on before" if known else ""
    rate = f"{new / max(seconds, 1e-9):.1f}/s, reading and writing included"
    say(f"{new} images in {seconds:.1f} s: {rate}{before}")


def refuse_faults(lines: list[dict[str, Any]]) -> None:
    """End with exit code 2 where images were skipped.

    Raises:
        UserError: with their number.
    """
    faults = sum("fault" in line for line in lines)
    if faults:
        raise UserError(f"--input: {faults} of {len(lines)} images cannot be used, listed above")
