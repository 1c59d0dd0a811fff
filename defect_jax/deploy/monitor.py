"""Watches the images of a line, and says when they have changed, in what, and since when."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from defect_jax.decision.monitor import (
    BETS,
    Bet,
    Odds,
    Watch,
    alarms,
    leading,
    make_odds,
    start,
    step,
)
from defect_jax.deploy.watched_numbers import (
    checked_image,
    checked_promise,
    checked_reference,
    checked_watch,
)
from defect_jax.runtime import atomic_files
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.json_files import read_json
from defect_jax.runtime.paths import AnyPath, as_path

MOST_BYTES = 1 << 26  # of a monitor's file
FIELDS = ("promised_images", "reference", "watch")


class Alarm(NamedTuple):
    """The images have changed.

    Attributes:
        image: the number of the image that shows it, from 1.
        since: the first image that is likely to be changed.
        name: what has changed the most clearly, one of the watched numbers.
        bet: how: shifted (to higher values above 0), or spread (scattering more above 1).
        before: mean of the reference.
        now: mean since `since`.
    """

    image: int
    since: int
    name: str
    bet: Bet
    before: float
    now: float

    @property
    def text(self) -> str:
        """Return one line for the operator.

        >>> Alarm(1040, 1013, "brightness", Bet(1.0, 1.0), 104.0, 122.7).text
        'since image 1,013: brightness +18 % (104 to 122.7)'
        >>> Alarm(70, 41, "unlike", Bet(0.0, 2.0), 0.5, 0.5).text
        'since image 41: unlike scatters more'
        """
        return f"since image {self.since:,}: {self.name} {self._what()}"

    def _what(self) -> str:
        if self.bet.shift == 0.0:
            return "scatters more" if self.bet.spread > 1.0 else "scatters less"
        change = (self.now - self.before) / abs(self.before) if self.before else math.inf
        # The mean may say otherwise than ranks, where a few values of the reference are far off.
        agrees = change * self.bet.shift > 0 and abs(change) < 100
        by = f"{change:+.0%}".replace("%", " %") if agrees else _direction(self.bet)
        return f"{by} ({self.before:.4g} to {self.now:.4g})"


def _direction(bet: Bet) -> str:
    return "is higher" if bet.shift > 0 else "is lower"


class Monitor:
    """Watches some numbers of each image; for one thread.

    Without a change, and as far as parts come independently of each other and like those of the
    reference, the chance of an alarm within T images is at most T / `promised_images`, and an alarm
    comes after `promised_images` images or more on average. This holds for 95 of 100 references.

    >>> validation = {"brightness": np.linspace(90.0, 110.0, 50)}
    >>> monitor = Monitor.of(validation, promised_images=10_000)
    >>> monitor.see({"brightness": 103.0}) is None
    True
    >>> alarms = [monitor.see({"brightness": 118.0}) for _ in range(12)]
    >>> next(alarm for alarm in alarms if alarm).text
    'since image 2: brightness +18 % (100 to 118)'
    """

    def __init__(self, names: tuple[str, ...], reference: np.ndarray, promised_images: int):
        """Take the reference [numbers n] as it was checked; `of` and `from_json` do."""
        self._names, self._reference, self._promised = names, reference, promised_images
        self._odds: Odds = make_odds(reference)
        self._watch: Watch = start(len(names))

    @classmethod
    def of(cls, reference: Mapping[str, Any], promised_images: int) -> "Monitor":
        """Return a monitor that has seen no image.

        Args:
            reference: the values of each watched number, one a part: of parts that were used for
                nothing else, as those of the validation split, each number's in the same order.
            promised_images: images without a change for each false alarm, at most.

        Raises:
            UserError: what is given is not that.
        """
        return cls(*checked_reference(reference), checked_promise(promised_images))

    @property
    def images(self) -> int:
        """Return how many images were seen."""
        return self._watch.images

    def see(self, values: Mapping[str, Any]) -> Alarm | None:
        """Add an image, and return the alarm if images have changed. It stays until `reset`, or
        until enough images are as before.

        Args:
            values: the image's numbers, each named as in the reference.

        Raises:
            UserError: a number is missing, unknown or no number; the image does not count then.
        """
        self._watch = step(self._watch, self._odds, checked_image(values, self._names))
        return self._alarm() if alarms(self._watch, self._promised) else None

    def reset(self) -> None:
        """Forget what the images have shown, since the cause is mended. Their count goes on."""
        self._watch = start(len(self._names))._replace(images=self.images)

    def to_json(self, path: AnyPath | str) -> None:
        """Write the monitor with its reference and what it has seen, whole or not at all."""
        watch = {name: np.asarray(kept).tolist() for name, kept in self._watch._asdict().items()}
        reference = dict(zip(self._names, self._reference.tolist(), strict=True))
        fields = dict(zip(FIELDS, (self._promised, reference, watch), strict=True))
        atomic_files.write_text(path, json.dumps(fields, allow_nan=False) + "\n")

    @classmethod
    def from_json(cls, path: AnyPath | str) -> "Monitor":
        """Return the monitor as it was when it was written, to the last bit.

        Raises:
            UserError: the file cannot be read, or is no monitor's.
        """
        try:
            fields = read_json(as_path(path), MOST_BYTES)
        except FileNotFoundError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        if not isinstance(fields, dict) or set(fields) != set(FIELDS):
            raise UserError(f"{path}: must have the fields {', '.join(FIELDS)}, and no other")
        promised, reference, watch = (fields[name] for name in FIELDS)
        try:
            monitor = cls(*checked_reference(reference), checked_promise(promised))
            monitor._watch = checked_watch(watch, monitor._watch)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        return monitor

    def _alarm(self) -> Alarm:
        number, bet = (int(index) for index in leading(self._watch))
        return Alarm(
            image=self.images,
            since=int(self._watch.first[number, bet]),
            name=self._names[number],
            bet=BETS[bet],
            before=float(self._reference[number].mean()),
            now=float(self._watch.mean[number, bet]),
        )
