"""Decides on every image of a folder: the story of --mode=predict."""

import dataclasses
import time
from collections.abc import Collection, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

import defect_jax
from defect_jax.data.files.file_kinds import BadImage
from defect_jax.data.files.lights import sha256_of
from defect_jax.data.files.raw_files import RawFiles
from defect_jax.data.files.reading import in_threads, threaded
from defect_jax.data.files.region_files import marked
from defect_jax.data.geometry.channels import in_one
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import why_undecided
from defect_jax.decision.unlike import UNLIKE_RATE, digest
from defect_jax.deploy.batch_look import named, warnings
from defect_jax.deploy.gallery import write_page
from defect_jax.deploy.groups import by_name, groups_of
from defect_jax.deploy.inputs import Input, absolute, open_input
from defect_jax.deploy.kept_lines import Line, follows, looks_alike
from defect_jax.deploy.markers import Ready
from defect_jax.deploy.outputs import (
    FAULTS_OF_A_NAME,
    FIELD,
    Prediction,
    PredictionFolder,
    as_prediction,
    writing,
)
from defect_jax.deploy.parts import PARTS, PartRow, in_words, part_rows, write_parts
from defect_jax.deploy.predictor import BATCH_SIZE, Predictor, load
from defect_jax.deploy.read_shot import read_shot
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
    """What is said of an image: its decision, or nothing where it cannot be used."""

    read: Read
    prediction: Prediction | None = None


def predict(
    input: str,
    output: str,
    workdir: AnyPath,
    max_megapixels: float,
    strict: bool,
    group: str | None = None,
    lights: int = 1,
    heat_maps: bool = True,
    unlike_rate: float = UNLIKE_RATE,
) -> None:
    """Decide on the images below `input` and write everything into the folder `output`.

    A run that was cut off goes on with the same command: images that have not changed since, and
    whose files are whole, are not decided on again.

    Args:
        workdir: of a trained network.
        max_megapixels: larger images are refused before they are decoded.
        strict: whether the first image that cannot be used ends the run.
        group: how a part is found by an image's id, see `groups.by_name`.
        lights: of each shot, as `config.data.lights` of the workdir has it.
        heat_maps: whether they are written, and tint the overlays.
        unlike_rate: share of parts like those of validation that may be called unlike.

    Raises:
        UserError: a path or a group that cannot be used, or, at the end, images that could not be
            used.
    """
    given = by_name(group)
    folder = as_path(output)
    if is_remote(folder):
        raise UserError(f"{FIELD}: {output} must be a folder of this machine")
    raw, inputs, notes = open_input(input, folder, max_megapixels, lights)
    groups = groups_of(input, raw, inputs, given)
    mesh = make_mesh(data=-1, fsdp=1)
    predictor = load(workdir, BATCH_SIZE * mesh.size, mesh, unlike_rate)
    classes = list(predictor.config.data_info.classes)
    follow_from = settings(input, workdir, predictor, heat_maps)
    with PredictionFolder(folder, follow_from, len(classes), heat_maps) as outputs:
        for note in notes:
            say(f"--input: {note}")
        before = decided_before(raw, inputs, outputs, predictor)
        todo = [item for item in inputs if item.id not in before]
        start = time.monotonic()
        results = decided(raw, todo, predictor, outputs, max_megapixels)
        for done in track(results, "deciding", len(todo)) if todo else ():
            record(outputs, done, strict)
        lines = outputs.finish([item.id for item in inputs])
        say_how_many(lines, before, time.monotonic() - start)
        said = warnings(lines, groups, predictor.known, predictor.unlike_rate)
        with writing(folder):
            parts = decide_on_parts(folder, lines, groups, predictor.rule)
            write_page(folder, raw, lines, predictor.rule, parts, said)
        for warning in [*named(lines), *said]:
            say(warning)
    say(f"wrote {folder}")
    refuse_faults(lines)


def settings(input: str, workdir: AnyPath, predictor: Predictor, heat_maps: bool) -> dict[str, Any]:
    """Return what the results follow from: results of another are not mixed with them."""
    return {
        "input": absolute(input),
        "defect_jax": defect_jax.__version__,
        "workdir": str(workdir),
        "fingerprint": predictor.config.data_info.fingerprint,
        "decision": dataclasses.asdict(predictor.rule),
        "heatmaps": heat_maps,
        "known": None if predictor.known is None else digest(predictor.known),
        "unlike_rate": predictor.unlike_rate,
    }


def decided_before(
    raw: RawFiles, inputs: list[Input], outputs: PredictionFolder, predictor: Predictor
) -> set[str]:
    """Return the ids of the images that have not changed since a run before decided on them.

    This comes first, so that the time still left is that of deciding.
    """

    def is_same(item: Input) -> bool:
        line = outputs.lines[item.id]
        try:
            same = sha256_of([raw.read(name) for name in item.files]) == line["sha256"]
            own = None if item.ignore is None else sha256_of([raw.read(item.ignore)])
            same = same and own == line.get("ignored_sha256")
        except (OSError, MemoryError):
            return False  # what is wrong is said when it is decided on
        ours = line["file"] == item.name and follows(line, predictor.rule)
        ours = ours and looks_alike(line, rate)
        return same and ours and outputs.is_whole(item.id)

    lines, rate = outputs.lines, None if predictor.known is None else predictor.unlike_rate
    known = [i for i in inputs if i.id in lines and "fault" not in lines[i.id] and not i.fault]
    if not known:
        return set()
    same = in_threads(is_same, known, "comparing with what was decided before")
    return {item.id for item, is_same in zip(known, same, strict=True) if is_same}


def decided(
    raw: RawFiles,
    todo: list[Input],
    predictor: Predictor,
    outputs: PredictionFolder,
    max_megapixels: float,
) -> Iterator[Done]:
    """Read, decide and write; each several at a time, and in order."""
    waiting_most = predictor.spec.framing.most_waiting
    images = threaded(partial(read, raw, predictor, max_megapixels), todo, waiting_most)
    decisions = decide_batches(predictor, images, waiting_most)
    return threaded(partial(write_files, outputs), decisions, waiting_most)


def read(raw: RawFiles, predictor: Predictor, max_megapixels: float, item: Input) -> Read:
    """Read, check and frame an image; what is wrong with it is returned, not raised."""
    origin, where = {"file": item.name}, raw.where(item.name)
    if item.fault:
        return Read(item.id, origin, fault=f"{where}: {item.fault}")
    lights = len(predictor.spec.channels_of_lights)
    try:
        ends = predictor.spec.float_range
        shot = read_shot(raw, item.files, lights, max_megapixels, ends)
        origin |= {"sha256": shot.sha256} if shot.sha256 else {}
        if shot.fault:
            return Read(item.id, origin, fault=shot.fault)
        image, ignored = predictor.spec.shot(shot.lights, where), None
        if item.ignore is not None:
            where = raw.where(item.ignore)
            drawn = raw.read(item.ignore)
            origin["ignored_sha256"] = sha256_of([drawn])
            ignored = marked(drawn, max_megapixels)
        return Read(item.id, origin, in_one(shot.lights), predictor.ready(image, where, ignored))
    except (BadImage, OSError, MemoryError) as error:
        fault = f"{where}: {shortage(error) or getattr(error, 'strerror', None) or error}"
    except UserError as error:
        fault = str(error)
    return Read(item.id, origin, fault=fault)


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
        return Done(item)
    said = item._replace(image=None, ready=None)
    if why := why_undecided(decision.score, decision.mask_score):
        return Done(said._replace(fault=f"{item.origin['file']}: {why}"))
    try:
        outputs.write_files(item.id, item.image, decision)
    except MemoryError as error:
        return Done(said._replace(fault=f"{item.origin['file']}: {shortage(error)}"))
    except OSError as error:
        if error.errno not in FAULTS_OF_A_NAME:
            raise
        what = f"the files of its decision cannot be written ({error.strerror}): rename it"
        return Done(said._replace(fault=f"{item.origin['file']}: {what}"))
    return Done(said, as_prediction(item.id, decision))


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
    else:
        outputs.add(done.prediction, item.origin)


def decide_on_parts(
    folder: AnyPath, lines: list[Line], groups: dict[str, str] | None, rule: DecisionRule
) -> list[PartRow]:
    """Write parts.csv, anew from the lines of all images; no such file where no parts are known."""
    if groups is None:
        (folder / PARTS).unlink(missing_ok=True)
        return []
    parts = part_rows(lines, groups, rule)
    write_parts(folder, parts)
    say(in_words(parts))
    return parts


def say_how_many(lines: list[Line], before: Collection[str], seconds: float) -> None:
    """Say how many images were decided on, and how fast."""
    new = sum("fault" not in line and line["id"] not in before for line in lines)
    known = f", {len(before)} were decided on before" if before else ""
    rate = f"{new / max(seconds, 1e-9):.1f}/s, reading and writing included"
    say(f"{new} images in {seconds:.1f} s: {rate}{known}")


def refuse_faults(lines: list[Line]) -> None:
    """End with exit code 2 where images were skipped.

    Raises:
        UserError: with their number.
    """
    faults = sum("fault" in line for line in lines)
    if faults:
        raise UserError(f"--input: {faults} of {len(lines)} images cannot be used, listed above")
