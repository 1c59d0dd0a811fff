"""Sequential tests on parts whose shots are correlated: do their rates hold?

    launch/module.sh benchmarks.correlated_shots

Each test is made from simulated validation parts and judged on fresh ones; no network takes part. A
line of the table is a kind of correlation, its strength and a test. `miss` and `alarm` are the
shares of defective parts accepted and of good parts rejected before the last shot, which are
promised to be at most --rate; `all` are the same with what the whole part's threshold decides in
the end. Mean ± standard deviation over --draws of the validation parts, and the number of draws in
which a rate was above the promise by more than the chance of the fresh parts explains.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from absl import app, flags
from scipy import special, stats

from defect_jax.configs.base import base
from defect_jax.decision import PartDecision, SequentialTest
from defect_jax.decision.choose import SEQUENTIAL
from defect_jax.decision.sequential import decide_shots
from defect_jax.metrics.ranking import best_f1_threshold

PARTS = flags.DEFINE_integer("parts", 60, "Validation parts of each kind.", lower_bound=2)
FRESH = flags.DEFINE_integer("fresh", 2000, "Fresh parts of each kind.", lower_bound=1)
SHOTS = flags.DEFINE_integer("shots", 12, "Of a part.", lower_bound=2)
DRAWS = flags.DEFINE_integer("draws", 20, "Of the validation parts.", lower_bound=2)
RATE = flags.DEFINE_float("rate", 0.05, "Promised, of both mistakes.", 0.0, 0.5)
APART = flags.DEFINE_float("apart", 2.0, "Distance of the means, in standard deviations.")
CORRELATIONS = (0.0, 0.3, 0.6, 0.9)
CHANCE = 0.999  # that fresh parts alone do not take a rate above its bound

Draw = Callable[[np.random.Generator, int, int, float], np.ndarray]


class Outcome(NamedTuple):
    """What a test does to fresh parts; rates of each kind."""

    miss: float
    alarm: float
    all_miss: float
    all_alarm: float
    looks: float


def exchangeable(generator: np.random.Generator, parts: int, shots: int, rho: float) -> np.ndarray:
    """Return noise of unit variance, any two shots of a part correlated by `rho`."""
    own, shared = generator.normal(size=(parts, shots)), generator.normal(size=(parts, 1))
    return np.sqrt(1.0 - rho) * own + np.sqrt(rho) * shared


def neighbours(generator: np.random.Generator, parts: int, shots: int, rho: float) -> np.ndarray:
    """Return noise of unit variance, shots k apart correlated by rho^k: an AR(1) sequence."""
    noise = generator.normal(size=(parts, shots))
    for shot in range(1, shots):
        noise[:, shot] = rho * noise[:, shot - 1] + np.sqrt(1.0 - rho**2) * noise[:, shot]
    return noise


KINDS: dict[str, Draw] = {"exchangeable": exchangeable, "AR(1)": neighbours}


def every_shot(label: np.ndarray, shots: int, generator: np.random.Generator) -> np.ndarray:
    """Return how far each shot is above good ones: the defect shows in all shots of its part."""
    return np.repeat(label[:, None], shots, axis=1)


def some_shots(label: np.ndarray, shots: int, generator: np.random.Generator) -> np.ndarray:
    """Return the same where it shows in each shot with a chance of one third."""
    return label[:, None] * (generator.random((label.size, shots)) < 1 / 3)


def glare(label: np.ndarray, shots: int, generator: np.random.Generator) -> np.ndarray:
    """Return the same where a tenth of all shots, of good parts too, are raised twice as far."""
    return label[:, None] + 2.0 * (generator.random((label.size, shots)) < 0.1)


SHOWN = {
    "every shot": every_shot,
    "a third of the shots": some_shots,
    "every shot, and a tenth of all shots glare": glare,
}


def main(_: Sequence[str]) -> None:
    """Print the table."""
    for shown in SHOWN:
        print(f"\nThe defect shows in {shown}.\n")
        print("| shots | rho | test | miss | alarm | miss, all | alarm, all | looks | broken |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for kind in KINDS:
            for rho in CORRELATIONS:
                for name, outcomes in trials(kind, rho, shown).items():
                    print(f"| {kind} | {rho} | {name} | {row(outcomes)} |", flush=True)


def trials(kind: str, rho: float, shown: str) -> dict[str, list[Outcome]]:
    """Return what each test does to fresh parts, for each draw of the validation parts."""
    found: dict[str, list[Outcome]] = {}
    for seed in range(DRAWS.value):
        generator = np.random.default_rng(seed)
        label, score = draw(generator, PARTS.value, kind, rho, shown)
        part = decision(label, score)
        fresh = draw(generator, FRESH.value, kind, rho, shown)
        for name, test in tests(label, score, part).items():
            found.setdefault(name, []).append(judge(*fresh, part, test))
    return found


def draw(
    generator: np.random.Generator, parts: int, kind: str, rho: float, shown: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels [2 parts] and calibrated-looking probabilities [2 parts, shots]."""
    label = np.repeat([0, 1], parts)
    noise = KINDS[kind](generator, 2 * parts, SHOTS.value, rho)
    seen = SHOWN[shown](label, SHOTS.value, generator)
    return label, special.expit(APART.value * (noise + APART.value * (seen - 0.5)))


def decision(label: np.ndarray, score: np.ndarray) -> PartDecision:
    """Return the threshold of whole parts, best F1 of the mean."""
    whole = score.mean(axis=1)
    return PartDecision("mean", best_f1_threshold(label, whole), label.size, int(label.sum()))


def tests(label: np.ndarray, score: np.ndarray, part: PartDecision) -> dict[str, SequentialTest]:
    """Return the naive test, ours, and the empirical bounds."""
    rates = {"early_miss_rate": RATE.value, "early_false_alarm_rate": RATE.value}
    options = base().decision.to_dict() | rates
    made = {
        name: choose(label, list(score), part, options, may_accept=True)
        for name, choose in SEQUENTIAL.items()
    }
    naive = dataclasses.replace(made["wald"], correlation=0.0)
    return {"naive": naive, **made}


def judge(
    label: np.ndarray, score: np.ndarray, part: PartDecision, test: SequentialTest
) -> Outcome:
    """Return rates and mean looks on these parts."""
    decided = np.array([decide_shots(shots, part, test) for shots in score])
    rejected, looks = decided[:, 0].astype(bool), decided[:, 1]
    early = looks < score.shape[1]
    bad = label == 1
    return Outcome(
        miss=float((early & ~rejected)[bad].mean()),
        alarm=float((early & rejected)[~bad].mean()),
        all_miss=float((~rejected)[bad].mean()),
        all_alarm=float(rejected[~bad].mean()),
        looks=float(looks.mean()),
    )


def row(outcomes: Sequence[Outcome]) -> str:
    """Return the cells of one test."""
    table = np.array(outcomes)
    most = stats.binom.ppf(CHANCE, FRESH.value, RATE.value) / FRESH.value
    broken = int((table[:, :2].max(axis=1) > most).sum())
    cells = [f"{100 * m:.1f} ± {100 * s:.1f} %" for m, s in zip(
        table[:, :4].mean(axis=0), table[:, :4].std(axis=0), strict=True
    )]  # fmt: skip
    return " | ".join([*cells, f"{table[:, 4].mean():.1f}", f"{broken} of {len(outcomes)}"])


if __name__ == "__main__":
    app.run(main)
