"""A part on the line: its shots one after the other, until its decision is sure."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from defect_jax.decision.apply import Decision
from defect_jax.decision.parts import whole_score
from defect_jax.decision.record import DecisionRule
from defect_jax.decision.sequential import ACCEPT, LOOK_AGAIN, REJECT, Looked, look
from defect_jax.decision.ways import rejects
from defect_jax.runtime.errors import UserError

Verdict = Literal["reject", "accept", "look again"]
WORDS: dict[int, Verdict] = {REJECT: "reject", ACCEPT: "accept", LOOK_AGAIN: "look again"}


class PartVerdict(NamedTuple):
    """What is known of a part after a shot.

    Attributes:
        verdict: reject, accept, or look again.
        score: of the shots so far together; rejected from `PartDecision.threshold` on once no shot
            is left.
        shots: seen so far.
        image: the decision on the last of them by itself.
    """

    verdict: Verdict
    score: float
    shots: int
    image: Decision


class PartInProgress:
    """Decides on one part; made by `Predictor.part`, for one thread."""

    def __init__(self, predict: Callable[[Any, Any], Decision], rule: DecisionRule):
        """Take what decides on an image, and the rule.

        Raises:
            UserError: the rule says nothing of parts.
        """
        if rule.part is None or rule.sequential is None:
            raise UserError(
                "there is no decision on parts: the validation split had no defective image or no "
                "good one; train with both, or decide on images"
            )
        self._predict, self._part, self._test = predict, rule.part, rule.sequential
        self._looked, self._last, self._said = Looked(), None, None

    def look(self, image: Any, ignored: Any = None) -> PartVerdict:
        """Decide on one more shot, and say what is known of the part now.

        Args:
            image: as `Predictor.predict` takes it; shots come in the order of the part's ids.
            ignored: what of it is not to be judged, as of `Predictor.predict`.

        Raises:
            UserError: the part was decided before, or the image cannot be used: then it does not
                count, and another one may be given.
        """
        self._refuse_decided()
        decision = self._predict(image, ignored)
        if not isinstance(decision, Decision):
            raise UserError("a part is looked at one image at a time: give the images in turn")
        name = self._part.shots
        self._looked, verdict = look(self._looked, decision.probability, name, self._test)
        self._last = decision
        return self._say(WORDS[verdict])

    def decide(self) -> PartVerdict:
        """Decide by the threshold of the whole part, since no shot is left.

        Raises:
            UserError: the part was decided before, or has no shot.
        """
        self._refuse_decided()
        if self._last is None:
            raise UserError("a part without an image cannot be decided: look at one first")
        return self._say("reject" if rejects(self._score(), self._part.threshold) else "accept")

    def _refuse_decided(self) -> None:
        if self._said is not None:
            raise UserError(
                f"the part was decided ({self._said.verdict}) after {self._said.shots} shots: take "
                "a new part from the predictor"
            )

    def _score(self) -> float:
        return whole_score(np.array(self._looked.score), self._part)

    def _say(self, verdict: Verdict) -> PartVerdict:
        said = PartVerdict(verdict, self._score(), len(self._looked.score), self._last)
        if verdict != "look again":
            self._said = said
        return said
