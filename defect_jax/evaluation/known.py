"""Looks at all images of training and validation once, as they are, for what a network knows.

Only the encoder is computed. Images are framed one by one and added up one by one, so that neither
batches nor devices change more than a rounding.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple
from zlib import crc32

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, Float64
from ml_collections import ConfigDict

from defect_jax.data.files.reading import threaded
from defect_jax.data.geometry.input_spec import InputSpec, filled_up
from defect_jax.data.geometry.region import HIDDEN
from defect_jax.data.pipeline.loading import decoded
from defect_jax.data.prepare.prepared import Split
from defect_jax.decision.look import measured, percentiles, watched_of
from defect_jax.decision.unlike import (
    NO_PART,
    UNLIKE_RATE,
    Known,
    distance,
    fewest_parts,
    fit,
    of_parts,
)
from defect_jax.distributed.sharding import replicated, rows_of_process, to_global
from defect_jax.models.appearance import numbers
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import make_probabilities
from defect_jax.runtime import signals
from defect_jax.runtime.compilation import compile_ahead
from defect_jax.runtime.compiler_options import compiler_options

Statistics = Float64[np.ndarray, "images n"]
Shown = tuple[np.ndarray, np.ndarray]  # a frame, and what of it is shown


class Seen(NamedTuple):
    """What some images look like to a member of an ensemble, and which parts they show."""

    statistics: Statistics
    groups: list[str]


class Looker:
    """Looks at splits with a program that is compiled once."""

    def __init__(self, network: SegmentationNetwork, config: ConfigDict, mesh: Mesh):
        self._spec, self._mesh, self._at_once = InputSpec.of(config), mesh, config.train.batch_size
        self._rows = rows_of_process(mesh, self._at_once)
        of_frames = make_probabilities(network, config.data_info, config.evaluation)
        self._program = jax.jit(
            lambda *asked: of_frames(*asked).sums[0],
            out_shardings=replicated(mesh),
            compiler_options=compiler_options(),
        )
        self._compiled = None

    def __call__(self, variables: Variables, split: Split) -> Seen:
        """Return the statistics of each image, in the order of the split's rows.

        Raises:
            signals.Stopped: a signal came.
        """
        total = None
        frames = self._frames(split)
        while batch := list(islice(frames, self._at_once)):
            signals.check_preemption()
            rows, images, shown = zip(*batch, strict=True)
            found = self._sums(variables, np.stack(images), np.stack(shown))
            if total is None:
                total = np.zeros((len(split.rows), found.shape[1]))
            np.add.at(total, list(rows), found[: len(batch)])
        return Seen(numbers(total, self._spec.channels), [row.group for row in split.rows])

    def _frames(self, split: Split) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield each frame with the row that it belongs to; every host reads all of them."""
        rows = range(len(split.rows))
        waiting = self._spec.framing.most_waiting
        framed = threaded(partial(_framed, split, self._spec), rows, waiting and 2 * waiting)
        for row, frames in enumerate(framed):
            for frame, shown in frames:
                yield row, frame, shown

    def _sums(self, variables: Variables, images: np.ndarray, shown: np.ndarray) -> np.ndarray:
        full = [filled_up(array, self._at_once)[self._rows] for array in (images, shown)]
        placed = [to_global(self._mesh)(array) for array in full]
        if self._compiled is None:
            name = "program that looks at images"
            self._compiled = compile_ahead(name, self._program, variables, *placed)
        return np.asarray(jax.device_get(self._compiled(variables, *placed)), np.float64)


def _framed(split: Split, spec: InputSpec, row: int) -> list[Shown]:
    found = decoded(split, row, spec)
    hidden = None if found.ignored is None else found.ignored == HIDDEN
    return list(spec.framing.frames(spec.intensity.shares(found.image), hidden, split.rows[row].id))


def known_of(train: Seen, val: Seen, spec: InputSpec) -> Known:
    """Return what a network knows, of images that it has learnt and of others."""
    return together([_member(train, val, spec)], train.statistics, spec)


def known_of_folds(folds: Sequence[Sequence[Seen]], spec: InputSpec) -> Known:
    """Return what an ensemble knows, of whose members each has learnt all folds but its own.

    Args:
        folds: for each member, of the first fold first, what every fold looks like to it.
    """
    members = []
    for own, seen in enumerate(folds):
        others = [fold for number, fold in enumerate(seen) if number != own]
        statistics = np.concatenate([fold.statistics for fold in others])
        train = Seen(statistics, [group for fold in others for group in fold.groups])
        members.append(_member(train, seen[own], spec))
    # What images look like, features left out, is the same to all members.
    return together(members, np.concatenate([fold.statistics for fold in folds[0]]), spec)


class Member(NamedTuple):
    """What a member of an ensemble knows, or a network alone; the fields of `Known`."""

    centre: Float32[np.ndarray, " n"]
    whitening: Float32[np.ndarray, "n n"]
    distances: list[float]
    watched: Float32[np.ndarray, "parts 4"]


def _member(train: Seen, val: Seen, spec: InputSpec) -> Member:
    fitted = fit(train.statistics)
    # Rounded as they are kept, so that all numbers are of what is used later.
    centre, whitening = (np.float32(array) for array in fitted)
    far = distance(val.statistics[None], centre[None], whitening[None])[0]
    watched = watched_of(measured(val.statistics, spec), far[None])
    return Member(centre, whitening, of_parts(far, val.groups), watched[one_a_part(val.groups)])


def one_a_part(groups: Sequence[str]) -> list[int]:
    """Return the place of one image of each part, drawn by the part's name.

    A line that is watched shows one image of each part, whichever: the mean of several scatters
    less.

    >>> one_a_part(["a", "b", "b", "a", "c"])
    [3, 2, 4]
    """
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    return [shots[crc32(group.encode()) % len(shots)] for group, shots in places.items()]


def together(members: Sequence[Member], looked_at: Statistics, spec: InputSpec) -> Known:
    """Return what all members know, with what training images look like."""
    most = max(len(member.distances) for member in members)
    rows = [each.distances + [NO_PART] * (most - len(each.distances)) for each in members]
    centres, whitenings = (np.stack([member[n] for member in members]) for n in range(2))
    watched = np.concatenate([member.watched for member in members])
    if len(members) > 1:
        watched = watched[:, :-1]  # `look.WATCHED` says why
    return Known(centres, whitenings, np.float32(rows), percentiles(looked_at, spec), watched)


def in_words(known: Known) -> str:
    """Return what was learnt of the images, and what it is too little for.

    >>> import numpy as np
    >>> shapes = (1, 9), (1, 9, 9), (1, 12), (101, 3), (12, 4)
    >>> known = Known(*map(np.ones, shapes))
    >>> in_words(known)
    'what is unlike the training images is known by 9 statistics of each image and 12 parts: too few
    to call any unlike at a rate of 0.05, which takes 19'
    """
    text = (
        f"what is unlike the training images is known by {known.centre.shape[1]} statistics of "
        f"each image and {known.parts} parts"
    )
    needed = fewest_parts(UNLIKE_RATE)
    if known.parts >= needed:
        return text
    return f"{text}: too few to call any unlike at a rate of {UNLIKE_RATE:g}, which takes {needed}"
