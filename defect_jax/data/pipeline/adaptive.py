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

from defect_jax.data.pipeline.sampling import ImageRequest, SamplingPlan, shuffled
from defect_jax.data.prepare.prepared import SplitRow

GOLDEN = (5**0.5 - 1) / 2


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
        wanted, turn = self.plan.turn(position)
        first, order = self._orders[wanted]
        return self.plan[position]._replace(row=int(order[turn - first]))

    @cached_property
    def _orders(self) -> dict[int | None, tuple[int, Int[np.ndarray, " turns"]]]:
        """Return kind -> how many of it came before the stretch, and the rows in it."""
        kinds = (None,) if self.plan.positive_fraction is None else (0, 1)
        return {kind: self._order(kind) for kind in kinds}

    def _order(self, wanted: int | None) -> tuple[int, Int[np.ndarray, " turns"]]:
        first, after = (self._before(wanted, end) for end in (0, len(self.positions)))
        rows, seed = self.plan.candidates(wanted), self.plan.seed
        stream, stretch = 3 + (2 if wanted is None else wanted), self._stretch
        rows = rows[shuffled(seed, stream, 0, len(rows))]
        kind = np.asarray(self.plan.labels)[rows] if wanted is None else wanted
        missed = self.missed[np.asarray(self.parts)[rows], kind].astype(np.float64)
        often = 1.0 + (self.most_often - 1.0) * missed
        turns = systematic(often, after - first, (0.5 + stretch * GOLDEN) % 1.0)
        order = np.repeat(rows, turns)
        return first, order[shuffled(seed, stream + 3, stretch, len(order))]

    def _before(self, wanted: int | None, end: int) -> int:
        """Return how many of a kind come in the run before this place of the stretch."""
        position = self.positions.start + end
        if position == 0:
            return 0
        kind, turn = self.plan.turn(position - 1)
        return turn + 1 if kind == wanted else position - 1 - turn

    @property
    def _stretch(self) -> int:
        return self.positions.start // len(self.positions)


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
