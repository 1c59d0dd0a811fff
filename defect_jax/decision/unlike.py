"""How many validation parts look as strange to the network as an image does: its share `unlike`.

A network has an answer for every image, and is sure of it where it has seen nothing of the kind.
What an image looks like (`models.appearance`) is compared with the training images: its distance
is Mahalanobis's, with the covariance shrunk as Ledoit and Wolf do it, and what is far is said by
validation parts, which the network has not learnt. This is a conformal p-value (Vovk, Gammerman and
Shafer 2005, Algorithmic Learning in a Random World, section 2): of parts made and photographed as
those of validation, at most a share of a has an image with `unlike <= a`, however the distances
are distributed.

A part of validation counts once, by its strangest image. So the promise is for all images of a part
together, as far as parts have as many images as those of validation, and an image alone keeps it
all the more.

The same lines run on NumPy arrays and inside JAX programs.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy import linalg

from defect_jax.runtime.errors import UserError

UNLIKE_RATE = 0.05  # share of good and bad parts alike that may be called unlike, if not asked for
NO_PART = -1.0  # fills up the distances of a member with fewer validation parts than another
LEAST_SHARE = 0.01  # of the median deviation: a feature that varies less counts as if it did
LEAST_DEVIATION = 1e-6


class Known(NamedTuple):
    """What a network knows, of each member of an ensemble; a network alone has one member.

    The ensemble's parts are each seen by the one member that has not learnt them.
    """

    centre: Float32[np.ndarray, "members n"]  # mean statistics of the training images
    whitening: Float32[np.ndarray, "members n n"]  # makes their covariance that of independent ones
    distances: Float32[np.ndarray, "members parts"]  # of validation parts, `NO_PART` behind them
    looks: Float32[np.ndarray, "101 3"]  # of training images: percentile, then the fields of `Look`
    watched: Float32[np.ndarray, "parts w"]  # of an image of each validation part: `look.WATCHED`

    @property
    def parts(self) -> int:
        """Return the number of validation parts."""
        return int(np.count_nonzero(self.distances >= 0))


def digest(known: Known) -> str:
    """Return a SHA-256 of all numbers: results of others are not mixed with those that follow from
    them."""
    return hashlib.sha256(b"".join(np.float32(array).tobytes() for array in known)).hexdigest()


class Fitted(NamedTuple):
    """Where training images lie, and how far apart."""

    centre: Float64[np.ndarray, " n"]
    whitening: Float64[np.ndarray, "n n"]


def ledoit_wolf(centred: Float64[np.ndarray, "images n"]) -> Float64[np.ndarray, "n n"]:
    """Return the covariance, drawn towards a multiple of the identity as far as pays most.

    O. Ledoit and M. Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
    matrices", Journal of Multivariate Analysis 88, lemma 3.2 and theorem 3.2. It has an inverse
    however few images there are.

    >>> centred = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.2], [0.0, -0.2]])
    >>> ledoit_wolf(centred).round(3).tolist()  # of variances 0.5 and 0.02
    [[0.37, 0.0], [0.0, 0.15]]
    """
    images, n = centred.shape
    covariance = centred.T @ centred / images
    scale = np.trace(covariance) / n
    spread = np.sum(covariance**2) - n * scale**2  # how far it is from that multiple
    squares = np.sum(np.sum(centred**2, axis=1) ** 2)
    error = (squares / images - np.sum(covariance**2)) / images  # how unsure the covariance is
    shrinkage = 0.0 if spread <= 0 else min(max(error, 0.0) / spread, 1.0)
    return (1.0 - shrinkage) * covariance + shrinkage * scale * np.eye(n)


def fit(statistics: Float[np.ndarray, "images n"]) -> Fitted:
    """Return centre and whitening of training images, from their statistics.

    Each statistic is first divided by its deviation, or a feature of large numbers would say how
    far all others are drawn to each other.

    >>> statistics = np.array([[9.0, 5.0], [11.0, 5.2], [10.0, 4.9], [10.0, 5.1]])
    >>> fit(statistics).centre.tolist()
    [10.0, 5.05]
    """
    statistics = np.asarray(statistics, np.float64)
    centre, deviation = statistics.mean(axis=0), statistics.std(axis=0)
    least = max(LEAST_SHARE * float(np.median(deviation)), LEAST_DEVIATION)
    deviation = np.maximum(deviation, least)
    covariance = ledoit_wolf((statistics - centre) / deviation)
    scale = np.trace(covariance) / len(covariance)
    covariance += 1e-9 * max(scale, 1e-3) * np.eye(len(covariance))  # of images that are all alike
    lower = linalg.cholesky(covariance, lower=True)
    inverse = linalg.solve_triangular(lower, np.eye(len(lower)), lower=True)
    return Fitted(centre, inverse.T / deviation[:, None])


def distance(
    statistics: Float[Any, "members b _"],
    centre: Float[Any, "members n"],
    whitening: Float[Any, "members n n"],
) -> Float[Any, "members b"]:
    """Return how far images are from the training images of each member.

    Raises:
        UserError: there are more or fewer statistics than the network has.

    >>> fitted = fit(np.array([[0.0, 1.0], [0.0, -1.0], [3.0, 0.0], [-3.0, 0.0]]))
    >>> away = distance(np.array([[[0.0, 2.0], [6.0, 0.0]]]), *(each[None] for each in fitted))
    >>> away.round(4).tolist()
    [[2.8284, 2.8284]]
    """
    if statistics.shape[-1] != centre.shape[-1]:
        raise UserError(
            f"known.safetensors: holds {centre.shape[-1]} statistics of an image, but the network "
            f"has {statistics.shape[-1]}: delete it, and run --mode=evaluate again"
        )
    xp = statistics.__array_namespace__()
    with jax.default_matmul_precision("highest"):  # TPUs and GPUs would round the factors
        white = xp.matmul(statistics - centre[:, None], whitening)
    return xp.sqrt((white * white).sum(axis=-1))


def of_parts(distances: Float[np.ndarray, " images"], groups: Sequence[str]) -> list[float]:
    """Return the distance of each part's strangest image, the smallest first.

    >>> of_parts(np.array([1.0, 3.0, 2.0]), ["a", "b", "a"])
    [2.0, 3.0]
    """
    strangest: dict[str, float] = {}
    for group, each in zip(groups, distances.tolist(), strict=True):
        strangest[group] = max(strangest.get(group, 0.0), each)
    return sorted(strangest.values())


def share_unlike(
    distances: Float[Any, "members b"], calibration: Float[Any, "members parts"]
) -> Float[Any, " b"]:
    """Return the share of parts at least as strange as each image, itself counted among them.

    Of the members of an ensemble each compares an image with the parts that it has not learnt, and
    all comparisons count together: a cross-conformal p-value (Vovk 2015, Annals of Mathematics and
    Artificial Intelligence 74, 9-28). At most 2a of parts is then promised to have `unlike <= a`
    (Barber et al. 2021, Annals of Statistics 49, 486-507), and about a is what there are.

    What is no number is as strange as can be.

    >>> calibration = np.array([[1.0, 2.0, 3.0, 4.0]])
    >>> share_unlike(np.array([[0.5, 2.5, 9.0, np.nan]]), calibration).tolist()
    [1.0, 0.6, 0.2, 0.2]
    """
    xp = distances.__array_namespace__()
    as_strange = calibration[:, None, :] >= distances[:, :, None]
    parts = (calibration >= 0).sum()
    share = (1 + as_strange.sum(axis=(0, 2))) / (1 + parts)
    return share if xp is np else share.astype(xp.float32)


def is_unlike(unlike: Any, rate: float) -> Any:
    """Return whether so few validation parts look stranger that an image is called unlike.

    >>> is_unlike(0.04, 0.05), is_unlike(0.06, 0.05), is_unlike(None, 0.05)
    (True, False, None)
    """
    return None if unlike is None else unlike <= rate


def fewest_parts(rate: float) -> int:
    """Return how many validation parts it takes to call anything unlike at a rate.

    >>> fewest_parts(0.05), fewest_parts(0.02)
    (19, 49)
    """
    return math.ceil(1 / rate - 1e-9) - 1
