"""How large a reference the monitor needs, and what correlated images do to its promise.

    launch/module.sh benchmarks.monitor_references

Simulated numbers, four a image, independent and normal. For each size of the reference: of streams
without a change the share that alarms within 1,000 images, promised to be at most 10 %, and of the
references those that break the promise by more than chance explains (promised: at most 5 %); then
how many images it takes until a change of one number by 1, 2 and 3 standard deviations alarms
(median over references and streams, – where fewer than half do within 500). The rivals are Page's
CUSUM with the same promise: `known` knows mean, deviation and the shift; `estimated` takes mean and
deviation from the reference. The second table has streams whose images are correlated with their
neighbours, rho^k at a distance of k images; `thinned` takes every tenth image of these.
"""

from collections.abc import Sequence

import numpy as np
from absl import app, flags
from scipy import stats

from benchmarks.page_cusum import NEVER, Found, cusum
from benchmarks.unlike_streams import monitored
from defect_jax.decision.monitor import make_odds

REFERENCES = flags.DEFINE_integer("references", 10, "Drawn for each size.", lower_bound=1)
STREAMS = flags.DEFINE_integer("streams", 80, "For each reference.", lower_bound=1)
SIZES, NUMBERS, SHIFTS = (30, 100, 300, 1000), 4, (1.0, 2.0, 3.0)
IMAGES, PROMISED, LONGEST = 1000, 10_000, 500
RHOS, SPACING = (0.0, 0.3, 0.6, 0.9), 10
CHANCE = 0.999  # that chance alone explains no more alarms, where a promise counts as broken


def quiet(generator: np.random.Generator, images: int, rho: float = 0.0) -> np.ndarray:
    """Return streams [images streams numbers] without a change."""
    noise = generator.normal(size=(images, STREAMS.value, NUMBERS))
    for image in range(1, images if rho else 0):
        noise[image] = rho * noise[image - 1] + np.sqrt(1.0 - rho**2) * noise[image]
    return noise


def shifted(generator: np.random.Generator) -> np.ndarray:
    """Return streams [images, shifts x streams, numbers], changed in one number from the first."""
    streams = np.stack([quiet(generator, LONGEST) for _ in SHIFTS], axis=1)
    streams[..., 0] += np.array(SHIFTS)[:, None]
    return streams.reshape(LONGEST, -1, NUMBERS)


def scaled(streams: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return streams in the standard deviations of a reference [numbers n]."""
    return (streams - reference.mean(axis=1)) / reference.std(axis=1, ddof=1)


def alarmed(found: Found) -> float:
    """Return the share of streams with an alarm."""
    return float((found.image < NEVER).mean())


def delays(found: Sequence[Found]) -> list[str]:
    """Return the median images to an alarm for each shift."""
    images = np.stack([each.image.reshape(len(SHIFTS), -1) for each in found]).swapaxes(0, 1)
    medians = [float(np.median(of_shift.astype(np.float64))) for of_shift in images]
    return [f"{median:.0f}" if median <= LONGEST else "–" for median in medians]


def known_shift(streams: np.ndarray) -> Found:
    """Return what the CUSUM finds that knows all but the image."""
    apart = streams.reshape(LONGEST, len(SHIFTS), -1, NUMBERS).swapaxes(0, 1)
    found = [cusum(each, PROMISED, shift) for each, shift in zip(apart, SHIFTS, strict=True)]
    return Found(*map(np.concatenate, zip(*found, strict=True)))


def size_row(size: int) -> str:
    """Return the cells of one size of the reference."""
    ours, estimated, late, known = [], [], [], []
    for seed in range(REFERENCES.value):
        generator = np.random.default_rng([size, seed])
        reference = generator.normal(size=(NUMBERS, size))
        odds, calm, changed = make_odds(reference), quiet(generator, IMAGES), shifted(generator)
        ours.append(alarmed(monitored(odds, calm, PROMISED)))
        estimated.append(alarmed(cusum(scaled(calm, reference), PROMISED, 1.0)))
        late.append(monitored(odds, changed, PROMISED))
        known.append(known_shift(changed))
    cells = [rates(ours), *delays(late), rates(estimated), *delays(known)]
    return " | ".join(cells)


def rates(shares: Sequence[float]) -> str:
    """Return the mean share of streams that alarm, and how many references break the promise."""
    most = stats.binom.ppf(CHANCE, STREAMS.value, IMAGES / PROMISED) / STREAMS.value
    broken = sum(share > most for share in shares)
    return f"{np.mean(shares):.1%} | {broken} of {len(shares)}"


def rho_row(rho: float) -> str:
    """Return the cells of one correlation, with a reference of 300 independent images."""
    whole, thinned = [], []
    for seed in range(REFERENCES.value):
        generator = np.random.default_rng([300, seed])
        odds = make_odds(generator.normal(size=(NUMBERS, 300)))
        streams = quiet(generator, IMAGES * SPACING, rho)
        whole.append(alarmed(monitored(odds, streams[:IMAGES], PROMISED)))
        thinned.append(alarmed(monitored(odds, streams[::SPACING], PROMISED)))
    return f"{rates(whole)} | {rates(thinned)}"


def main(_: Sequence[str]) -> None:
    """Print both tables."""
    print("| n | alarms | broken | 1 sd | 2 sd | 3 sd | estimated: alarms | broken |", end="")
    print(" known: 1 sd | 2 sd | 3 sd |\n|" + " --- |" * 11)
    for size in SIZES:
        print(f"| {size} | {size_row(size)} |", flush=True)
    print("\n| rho | alarms | broken | thinned: alarms | broken |\n|" + " --- |" * 5)
    for rho in RHOS:
        print(f"| {rho} | {rho_row(rho)} |", flush=True)


if __name__ == "__main__":
    app.run(main)
