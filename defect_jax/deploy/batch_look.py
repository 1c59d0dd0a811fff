"""Whether the images of one prediction look as those of training did, all together: what to say.

Images one by one are called unlike at a rate that is promised, so some of many always are. Here
they are counted against that promise, and against what training images look like: each warning is
one that chance would give once in a thousand predictions whose images are as those of training.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32
from scipy import special

from defect_jax.decision.look import MEDIAN, PERCENTILES, Look, against, in_words
from defect_jax.decision.unlike import Known, fewest_parts
from defect_jax.deploy.kept_lines import Line

MOST_CHANCE = 1e-3
LEAST_CHANGE = 0.05  # of a median: less is no cause of anything
MOST_NAMED = 20  # images; predictions.csv has all of them
CHANGED = {
    "brightness": "the light has changed",
    "contrast": "the contrast has changed",
    "sharpness": "the sharpness has changed",
}
NOT_KNOWN = (
    "which images are unlike the training images is not known: the workdir has no "
    "known.safetensors for its checkpoint, which --mode=evaluate makes"
)


def chance_of(count: int, of: int, share: float) -> float:
    """Return how probable so many are, or more, where each is one with a probability of `share`.

    >>> round(chance_of(2, 2, 0.05), 6), round(chance_of(1, 10, 0.05), 4), chance_of(0, 5, 0.05)
    (0.0025, 0.4013, 1.0)
    """
    return 1.0 if count == 0 else float(special.bdtrc(count - 1, of, share))


def warnings(
    lines: Sequence[Line], groups: Mapping[str, str] | None, known: Known | None, rate: float
) -> list[str]:
    """Return what is to be said of all images together, one line each.

    Args:
        lines: of predictions.jsonl.
        groups: the part of each image, by its id; each part counts once. None: each image does.
        known: of the predictor.
        rate: at which images are called unlike.
    """
    if known is None:
        return [NOT_KNOWN]
    decided = [line for line in lines if "fault" not in line]
    parts: dict[str, list[Line]] = {}
    for line in decided:
        parts.setdefault(line["id"] if groups is None else groups[line["id"]], []).append(line)
    shown = list(parts.values())
    too_many = _too_many(shown, groups is not None, rate)
    return [*_too_few_to_tell(known, rate), *too_many, *_changes(shown, known)]


def _too_few_to_tell(known: Known, rate: float) -> list[str]:
    if known.parts >= (needed := fewest_parts(rate)):
        return []
    return [
        f"no image can be called unlike the training images at a rate of {rate:g}: that takes "
        f"{needed} validation parts, and there were {known.parts}"
    ]


def _too_many(parts: Sequence[Sequence[Line]], are_parts: bool, rate: float) -> list[str]:
    unlike = sum(any(line["is_unlike"] for line in part) for part in parts)
    if chance_of(unlike, len(parts), rate) >= MOST_CHANCE:
        return []
    what = "parts have an image that is" if are_parts else "images are"
    return [
        f"{unlike / len(parts) * 100:.0f} % of these {what} unlike the training images ({unlike} "
        f"of {len(parts)}; of such as were validated it would be {rate * 100:g} %): do not rely on "
        "the decisions on them"
    ]


def _changes(parts: Sequence[Sequence[Line]], known: Known) -> list[str]:
    """Return what has changed of light and lens; a part counts by the median of its images."""
    looks = [np.median([list(line["look"].values()) for line in part], axis=0) for part in parts]
    usual = against(known.looks, known.looks[MEDIAN])
    found = []
    for place, name in enumerate(Look._fields):
        values = np.array([look[place] for look in looks])
        if has_changed(values, usual[:, place]):
            change = in_words(name, float(np.median(values)))
            found.append(f"{CHANGED[name]}: {change}, the median against the training images'")
    return found


def has_changed(values: Float[np.ndarray, " parts"], usual: Float32[np.ndarray, "101"]) -> bool:
    """Return whether the mean rank of some values among training images is no chance, and their
    median is off by `LEAST_CHANGE`.

    Of m values as those of training the ranks are uniform, so their mean is about normal, with a
    variance of 1/(12 m): the test of Wilcoxon (1945) and of Mann and Whitney (1947), where one of
    the two samples is so large that its own chance counts for nothing.

    Args:
        usual: percentiles of the training images.

    >>> usual = np.linspace(-0.5, 0.5, 101, dtype=np.float32)
    >>> bright, few = np.linspace(-0.2, 0.5, 50), np.array([0.2, 0.2, 0.2])
    >>> has_changed(bright, usual), has_changed(few, usual), has_changed(bright - 0.15, usual)
    (True, False, False)
    """
    if values.size == 0 or abs(np.median(values)) < LEAST_CHANGE:
        return False
    rank = np.interp(values, usual, PERCENTILES / 100)
    deviations = (rank.mean() - 0.5) * np.sqrt(12 * values.size)
    return bool(2 * special.ndtr(-abs(deviations)) < MOST_CHANCE)


def named(lines: Sequence[Line]) -> list[str]:
    """Return a line on each image that is called unlike, and how many more there are.

    >>> look = {"brightness": 0.18, "contrast": 0.0, "sharpness": -0.25}
    >>> named([{"file": "a.png", "is_unlike": 1, "unlike": 0.012, "look": look}])
    ['a.png: unlike the training images: at most 1.2 % of parts look as strange; brightness +18 %,
    contrast +0 %, sharpness -25 %']
    """
    unlike = [line for line in lines if line.get("is_unlike")]
    said = [
        f"{line['file']}: unlike the training images: at most {line['unlike'] * 100:.1f} % of "
        f"parts look as strange; {look_in_words(line)}"
        for line in unlike[:MOST_NAMED]
    ]
    more = len(unlike) - len(said)
    return said + (
        [f"{more} more are unlike the training images, see predictions.csv"] * (more > 0)
    )


def look_in_words(line: Line) -> str:
    """Return brightness, contrast and sharpness of an image against the training images'."""
    return ", ".join(in_words(name, change) for name, change in line["look"].items())
