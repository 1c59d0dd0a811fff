"""Which image comes when: a pure function of the position, so any position can be resumed."""

import dataclasses
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

ALL = 2  # kind of all rows; 0 and 1: of the good ones, of the defective ones with a mask
MASKED_SHARE = 0.5  # fewest of the defective elements that have a mask, where both kinds are
UNMASKED = 3  # kind of the defective rows without a mask


class ImageRequest(NamedTuple):
    """Which image a training element is made of.

    Attributes:
        row: of the image.
        defective: whether the element shall show a defect; None: as it comes.
    """

    row: int
    defective: bool | None


@dataclasses.dataclass(frozen=True)
class SamplingPlan:
    """The whole run's order of images as a random-access source of requests.

    With a `positive_fraction` the stream holds that share of defective images, spread evenly, and
    both kinds are taken least-used first: one kind goes through all its images, reshuffled,
    before any of them comes again (method of the official KolektorSDD2 sampling, for both kinds).
    Of the defective ones at least `MASKED_SHARE` have a mask, so that every batch teaches masks,
    labels and good surface.
    Without a fraction, every image comes once an epoch, in a new order each epoch.

    Nothing is stored but the arguments: element `i` is computed from `i` alone, so a run resumes at
    any position, and the order does not depend on workers, threads or the number of processes.

    Where elements are tiles, those without a defect are of any image, since the surface beside a
    defect is good: sets without a single good image can be learnt from.

    Attributes:
        labels: 1 for defective, 0 for good, one for each row.
        length: number of images of the run.
        positive_fraction: share of defective images in the stream, or None for the set's own.
        seed: of the order.
        good_are_of_good: whether elements without a defect are of good images alone.
        masked: 0 for a defective row without a mask; empty where all have one.
    """

    labels: tuple[int, ...]
    length: int
    positive_fraction: float | None
    seed: int
    good_are_of_good: bool = True
    masked: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> ImageRequest:
        wanted, turn = self.turn(position)
        kind = wanted if wanted or self.good_are_of_good else None
        row = self.row(*self._defective(turn)) if kind else self.row(kind, turn)
        return ImageRequest(row, None if wanted is None else bool(wanted))

    def turn(self, position: int) -> tuple[int | None, int]:
        """Return which kind comes at a position, and how many of that kind came before.

        The kind is a label, or None where there is no `positive_fraction`.
        """
        if not 0 <= position < self.length:
            raise IndexError(f"position {position} of a plan of {self.length} images")
        if self.positive_fraction is None:
            return None, position
        before = int(np.floor(position * self.positive_fraction + 1e-9))
        after = int(np.floor((position + 1) * self.positive_fraction + 1e-9))
        wanted = int(after > before)
        return wanted, before if wanted else position - before

    def _defective(self, turn: int) -> tuple[int, int]:
        """Return whether the defective image after `turn` of them has a mask, as its kind, and how
        many of that kind came before."""
        drawn, undrawn = len(self._rows[1]), len(self._rows[UNMASKED])
        if not undrawn:
            return 1, turn
        share = max(MASKED_SHARE, drawn / (drawn + undrawn)) if drawn else 0.0
        before = int(np.floor(turn * share + 1e-9))
        is_drawn = int(np.floor((turn + 1) * share + 1e-9)) > before
        return (1, before) if is_drawn else (UNMASKED, turn - before)

    def row(self, kind: int | None, turn: int) -> int:
        """Return the image of a kind, or of all, that comes after `turn` of them."""
        if kind is None:
            return self._take(self._rows[2], turn, stream=0)
        return self._take(self._rows[kind], turn, stream=1 + kind)

    @cached_property
    def _rows(self) -> tuple[np.ndarray, ...]:
        """Return rows of the good images, of the defective ones with a mask, all, and of the
        defective ones without a mask."""
        labels = np.asarray(self.labels)
        masked = np.asarray(self.masked or [1] * len(labels))
        kinds = labels == 0, (labels == 1) & (masked == 1), labels >= 0, masked == 0
        return tuple(np.flatnonzero(kind) for kind in kinds)

    def _take(self, rows: np.ndarray, turn: int, stream: int) -> int:
        cycle, place = divmod(turn, len(rows))
        return int(rows[shuffled(self.seed, stream, cycle, len(rows))[place]])

    def source(self, position: int) -> int:
        """Return which rows the one at a position is of, for `rows_of`."""
        wanted, turn = self.turn(position)
        if wanted:
            return self._defective(turn)[0]
        return 0 if wanted == 0 and self.good_are_of_good else ALL

    def rows_of(self, source: int) -> np.ndarray:
        """Return the rows that are drawn from alike."""
        return self._rows[source]


@lru_cache(maxsize=16)
def shuffled(seed: int, stream: int, cycle: int, length: int) -> np.ndarray:
    """Return the `cycle`-th shuffle of one stream; Philox gives the same one on every machine."""
    key = np.random.SeedSequence([seed, stream, cycle])
    return np.random.Generator(np.random.Philox(key)).permutation(length)
