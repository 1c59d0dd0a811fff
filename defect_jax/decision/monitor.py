"""Are the images that come one by one still like those of the reference? A test without an end.

For each watched number the rank of a new value among the reference's is bet upon: a `Bet` pays much
where its change would put the rank, and on average 1 where nothing changed. What a bet has won
since each image before is summed up, R_t = (1 + R_{t-1}) e_t, and the mean of these sums over all
bets and numbers is compared with the promise: the Shiryaev-Roberts e-detector of Shin, Ramdas and
Rinaldo ("E-detectors: a nonparametric framework for sequential change detection", 2022).

With E[e_t | past] <= 1 the mean of R_t less t is a supermartingale. So an alarm at R_t >= N is a
false one within T images with a chance of at most T / N, and comes after N images or more on
average.

A reference of n values is not the distribution itself: ranks among it are not uniform, and a bet
may win for ever. What a bet of payoffs f_0 … f_n pays on average, given the reference, is
W = sum f_j S_j, with the spacings S of n uniform values: Dirichlet (1, …, 1), whatever the
distribution is. Payoffs are therefore divided by a `price` that W exceeds only with a small chance
in the draw of the reference. Ties are broken at random, by numbers drawn from the image's number:
so this holds for values of any kind, and each run of a stream says the same.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import integrate, optimize, special

CONFIDENCE = 0.95  # in the draw of the reference: that no bet pays more than its price
TIES = 20_221_122  # the key of the numbers that break ties
REACH, POINTS = 5.0, 65  # of the integral: to 74 widths of its saddle; right to 1e-8 from n = 20 on


class Bet(NamedTuple):
    """What is bet on: normal scores of ranks shifted and spread, in standard deviations."""

    shift: float
    spread: float


SHIFTS = (0.5, 1.0, 2.0, 3.0)
HIGHER = tuple(Bet(shift, 1.0) for shift in SHIFTS)
LOWER = tuple(Bet(-shift, 1.0) for shift in SHIFTS)
BETS = (*HIGHER, *LOWER, Bet(0.0, 2.0), Bet(0.0, 0.5))


class Odds(NamedTuple):
    """What is known before the first image.

    Attributes:
        values: of the reference, each number sorted.
        keys: those with ties broken, in the same order: rising from 0 to n.
        log_payoffs: of each bet at each rank, with its price taken off.
    """

    values: Float[np.ndarray, "numbers n"]
    keys: Float[np.ndarray, "numbers n"]
    log_payoffs: Float[np.ndarray, "bets n+1"]


class Watch(NamedTuple):
    """What is kept of the images so far: always as much. `...` may be streams side by side.

    Attributes:
        images: seen so far.
        log_sum: log(1 + R) of each bet.
        log_run: log of what a bet won since `first`, the image with the most since.
        first: number of that image, from 1.
        mean: of the number's values since then.
    """

    images: int
    log_sum: Float[np.ndarray, "... numbers bets"]
    log_run: Float[np.ndarray, "... numbers bets"]
    first: Int[np.ndarray, "... numbers bets"]
    mean: Float[np.ndarray, "... numbers bets"]


def payoffs(bet: Bet, size: int) -> np.ndarray:
    """Return what a bet pays for each rank among `size` values, from 0 to `size`; the mean is 1.

    It is the mean over a rank's share of (0, 1) of the density that normal scores have after the
    change, by the density before.

    >>> payoffs(Bet(1.0, 1.0), 3).round(3)
    array([0.188, 0.447, 0.855, 2.51 ])
    >>> payoffs(Bet(0.0, 2.0), 3).round(3)
    array([1.472, 0.528, 0.528, 1.472])
    """
    if bet.shift < 0:  # the other end, where no digit is lost near 1
        return payoffs(Bet(-bet.shift, bet.spread), size)[::-1]
    edges = special.ndtri(np.arange(size + 2) / (size + 1))
    paid = np.diff(special.ndtr((edges - bet.shift) / bet.spread)) * (size + 1)
    return paid if bet.shift else (paid + paid[::-1]) / 2  # both ends as alike as they are


def price(payoff: np.ndarray, chance: float) -> float:
    """Return what the bet pays on average or less, but for a `chance` in the draw of the reference.

    >>> [round(price(payoffs(Bet(1.0, 1.0), n), 0.001), 2) for n in (30, 100, 1000)]
    [1.97, 1.54, 1.15]
    """
    scatter = payoff.std() / np.sqrt(payoff.size + 1)  # of what it pays on average
    within = (payoff.mean() + scatter / 2, 0.999 * payoff.max() + 0.001 * payoff.mean())

    def above(bound: float) -> float:
        return np.log(max(exceeds(payoff, bound), 1e-300) / chance)

    return float(optimize.brentq(above, *within, rtol=1e-9))


def exceeds(payoff: np.ndarray, bound: float) -> float:
    """Return the chance that sum f_j S_j is above `bound`, with S Dirichlet (1, …, 1).

    It is P(X > 0) of X = sum (f_j - bound) E_j with exponential E: the moment generating function M
    inverted, the integral of M(s) / s along the vertical line through its saddle point
    (as in Daniels: "Tail probability approximations", 1987).

    >>> round(exceeds(np.array([0.0, 2.0]), 1.5), 6)  # a uniform value above 3/4
    0.25
    """
    d = payoff - bound
    top = (1.0 - 1e-12) / d.max()
    saddle = optimize.brentq(lambda s: (d / (1.0 - s * d)).sum(), 0.0, top)
    scale = 1.0 / np.sqrt(((d / (1.0 - saddle * d)) ** 2).sum())
    u = np.linspace(0.0, REACH, POINTS)
    s = saddle + 1j * scale * np.sinh(u)
    log_m = -np.log(1.0 - s[:, None] * d).sum(axis=1)
    integrand = np.real(np.exp(log_m) / s) * scale * np.cosh(u)
    return float(integrate.trapezoid(integrand, u) / np.pi)


def make_odds(values: np.ndarray) -> Odds:
    """Return the odds of a reference [numbers n] of finite values, one a part."""
    values = np.sort(values, axis=1)
    keys = np.sort(_keys(values, values, 0), axis=1)
    return Odds(values, keys, log_priced(*values.shape))


@functools.lru_cache(maxsize=16)
def log_priced(numbers: int, size: int) -> np.ndarray:
    """Return the log of what each bet pays at each rank [bets size + 1], its price taken off.

    All bets on all numbers keep to their prices with a chance of `CONFIDENCE`.
    """
    chance = (1.0 - CONFIDENCE) / (numbers * len(BETS))
    prices = {bet: price(payoffs(bet, size), chance) for bet in {_upward(bet) for bet in BETS}}
    priced = np.log([payoffs(bet, size) / prices[_upward(bet)] for bet in BETS])
    priced.flags.writeable = False  # it is given to whoever asks
    return priced


def _upward(bet: Bet) -> Bet:
    """Return the bet that costs the same."""
    return Bet(abs(bet.shift), bet.spread)


def start(numbers: int, streams: tuple[int, ...] = ()) -> Watch:
    """Return what is known before the first image."""
    shape = (*streams, numbers, len(BETS))
    return Watch(0, np.zeros(shape), np.zeros(shape), np.ones(shape, np.int64), np.zeros(shape))


def step(watch: Watch, odds: Odds, values: np.ndarray) -> Watch:
    """Add an image.

    Args:
        values: its numbers [... numbers], finite.
    """
    image = watch.images + 1
    won = np.moveaxis(odds.log_payoffs[:, ranks(odds, values, image)], 0, -1)
    begins = watch.log_run <= 0.0
    first = np.where(begins, image, watch.first)
    share = 1.0 / (image - first + 1)
    return Watch(
        image,
        np.logaddexp(0.0, watch.log_sum + won),
        np.maximum(watch.log_run, 0.0) + won,
        first,
        (1.0 - share) * watch.mean + share * values[..., None],
    )


def ranks(odds: Odds, values: np.ndarray, image: int) -> np.ndarray:
    """Return how many values of the reference are below these [... numbers] of an image."""
    keys = _keys(odds.values, np.moveaxis(values, -1, 0), image)
    found = [np.searchsorted(known, new) for known, new in zip(odds.keys, keys, strict=True)]
    return np.stack(found, axis=-1)


def _keys(known: np.ndarray, values: np.ndarray, image: int) -> np.ndarray:
    """Return keys whose order is that of the values [numbers ...]; where `known` has a value too,
    each is drawn from the places between the first and the last of these."""
    pairs = list(zip(known, values, strict=True))
    low = np.stack([np.searchsorted(row, new, "left") for row, new in pairs])
    high = np.stack([np.searchsorted(row, new, "right") for row, new in pairs])
    # The upper words of the counter: draws of one image do not run into those of the next.
    drawn = np.random.Generator(np.random.Philox(key=TIES, counter=image << 64))
    return low + drawn.random(low.shape) * (high - low)


def log_evidence(watch: Watch) -> np.ndarray:
    """Return log(1 + R) of each stream [...], R the mean over numbers and bets."""
    total = special.logsumexp(watch.log_sum, axis=(-2, -1))
    return np.asarray(total - np.log(np.prod(watch.log_sum.shape[-2:])))


def alarms(watch: Watch, promised_images: int) -> np.ndarray:
    """Return whether the images of each stream [...] have changed."""
    return np.asarray(log_evidence(watch) >= np.log1p(promised_images))


def leading(watch: Watch) -> tuple[np.ndarray, np.ndarray]:
    """Return the number and the bet of each stream [...] that won the most since some image."""
    flat = watch.log_run.reshape(*watch.log_run.shape[:-2], -1).argmax(axis=-1)
    number, bet = np.unravel_index(flat, watch.log_run.shape[-2:])
    return np.asarray(number), np.asarray(bet)
