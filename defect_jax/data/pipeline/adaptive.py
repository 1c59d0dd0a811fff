"""An order of images that follows what is still missed, for a stretch of the run.

What comes next is still a function of the position alone, given what was missed when the stretch
began: the state of the run holds that, so a resumed run draws the same.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import grain
import numpy as np
from jaxtyping import Float, Int

from defect_jax.data.pipeline.sampling import ALL, ImageRequest, SamplingPlan, shuffled
from defect_jax.data.prepare.prepared import SplitRow

GOLDEN = (5**0.5 - 1) / 2
FIRST_STREAM = 8  # of random numbers, beyond those of `SamplingPlan`


def parts_of(rows: Sequence[SplitRow]) -> tuple[int, ...]:
    """Return the number of each row's part, in the order of the parts' names.

    >>> parts_of([SplitRow(f"{g}_{i}", g, "", 0, 8, 8, 0) for i, g in enumerate("bab")])
    (1, 0, 1)
    """
    number = {group: i for i, group in enumerate(sorted({row.group for row in rows}))}
    return tuple(number[row.group] for row in rows)


@dataclasses.dataclass(frozen=True, eq=False)
class AdaptivePlan:
    """One stretch of a run's order: kinds as `plan` has them, images by what is missed.

    An image is drawn 1 to `most_often` times as often as one of a part that nothing is missed of.
    How often each comes in the stretch is its share of all, rounded down or up; over several
    stretches the roundings even out.

    Attributes:
        plan: of the whole run.
        parts: number of each row's part.
        missed: 0 … 1 of each part, of its elements without a defect and of those with one.
        most_often: how often what is missed wholly comes, against what is not missed.
        positions: of the stretch; all stretches are of one length.
    """

    plan: SamplingPlan
    parts: tuple[int, ...]
    missed: Float[np.ndarray, "parts 2"]
    most_often: float
    positions: range

    def __len__(self) -> int:
        return self.positions.stop

    def __getitem__(self, position: int) -> ImageRequest:
        """Return the request of a position of the stretch."""
        if int(position) not in self.positions:
            raise IndexError(f"position {position} of a plan of {self.positions}")
        row = self._rows[position - self.positions.start]
        return self.plan[position]._replace(row=int(row))

    @cached_property
    def _rows(self) -> Int[np.ndarray, " positions"]:
        """Return the row of each position: what `plan` draws alike is drawn together here."""
        sources = np.array([self.plan.source(position) for position in self.positions])
        rows = np.empty(len(sources), int)
        for source in np.unique(sources):
            places = np.flatnonzero(sources == source)
            rows[places] = self._order(int(source), len(places))
        return rows

    def _order(self, source: int, count: int) -> Int[np.ndarray, " count"]:
        """Return which rows are drawn from a source in the stretch, in their order."""
        rows, seed = self.plan.rows_of(source), self.plan.seed
        stream, stretch = FIRST_STREAM + 2 * source, self.positions.start // len(self.positions)
        rows = rows[shuffled(seed, stream, 0, len(rows))]
        missed = self.missed[np.asarray(self.parts)[rows], self._kind(source, rows)]
        often = 1.0 + (self.most_often - 1.0) * missed.astype(np.float64)
        drawn = np.repeat(rows, systematic(often, count, (0.5 + stretch * GOLDEN) % 1.0))
        return drawn[shuffled(seed, stream + 1, stretch, count)]

    def _kind(self, source: int, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Return of which kind the elements made of these rows are: tiles of any image are good."""
        kinds = np.asarray(self.plan.labels)[rows]
        good_tiles = source == ALL and self.plan.positive_fraction is not None
        return np.zeros_like(kinds) if good_tiles else kinds


def systematic(
    weights: Float[np.ndarray, " n"], count: int, offset: float
) -> Int[np.ndarray, " n"]:
    """Return how often each is drawn, `count` in all: its share, rounded down or up.

    Systematic sampling with unequal probabilities (Madow 1949, Ann. Math. Statist. 20(3)). With
    offsets that go on by the golden ratio, a share of a draw is one draw every so many calls.

    Args:
        offset: 0 ≤ offset < 1.

    >>> systematic(np.array([1.0, 1.0, 2.0]), 8, 0.5), systematic(np.array([1.0, 3.0]), 1, 0.5)
    (array([2, 2, 4]), array([0, 1]))
    """
    edges = np.cumsum(weights)
    edges = np.minimum(edges * (count / edges[-1]), count)
    edges[-1] = count
    return np.diff(np.floor(edges + offset), prepend=0.0).astype(int)


@dataclasses.dataclass(frozen=True)
class NameParts(grain.transforms.RandomMap):
    """Request -> the element that `load` gives it, and the number of its part."""

    load: grain.transforms.RandomMap
    parts: tuple[int, ...]

    def random_map(self, request: ImageRequest, rng: np.random.Generator) -> dict[str, Any]:
        return self.load.random_map(request, rng) | {"part": np.int32(self.parts[request.row])}
