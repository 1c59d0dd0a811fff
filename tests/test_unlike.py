"""Unlike what a network knows: shrinkage, distance and shares against scikit-learn, SciPy and the
promise itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from defect_jax.data.geometry.framing import Letterbox
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.intensity import IntensityRange
from defect_jax.decision.look import MEDIAN, measured, percentiles
from defect_jax.decision.unlike import (
    NO_PART,
    Known,
    distance,
    fewest_parts,
    fit,
    is_unlike,
    ledoit_wolf,
    of_parts,
    share_unlike,
)
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import known_file


def correlated(images, n, seed=0):
    """Statistics of very different size that depend on each other."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(images, n)) @ rng.normal(size=(n, n))
    return mixed * np.geomspace(0.1, 10.0, n) + np.linspace(-5, 5, n)


@pytest.mark.parametrize(("images", "n"), [(200, 5), (40, 12), (10, 30), (2, 3)])
def test_the_covariance_is_that_of_scikit_learn(images, n):
    statistics = correlated(images, n)
    centred = statistics - statistics.mean(axis=0)
    expected = LedoitWolf(assume_centered=True).fit(centred).covariance_
    np.testing.assert_allclose(ledoit_wolf(centred), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("images", "n"), [(200, 5), (40, 12), (10, 30)])
def test_the_distance_is_that_of_scipy_in_units_of_the_deviations(images, n):
    statistics = correlated(images, n)
    fitted = fit(statistics)
    mean, deviation = statistics.mean(axis=0), statistics.std(axis=0)
    scaled = (statistics - mean) / deviation
    inverse = np.linalg.inv(LedoitWolf(assume_centered=True).fit(scaled).covariance_)
    others = correlated(8, n, seed=1)
    expected = [mahalanobis((x - mean) / deviation, np.zeros(n), inverse) for x in others]
    got = distance(others[None], fitted.centre[None], fitted.whitening[None])[0]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_statistics_that_never_vary_are_strange_once_they_do_and_images_alike_have_numbers():
    statistics = np.concatenate([correlated(50, 4), np.full((50, 1), 3.0)], axis=1)
    fitted = fit(statistics)
    there, away = statistics[:1].copy(), statistics[:1].copy()
    away[0, 4] += 0.1
    both = np.concatenate([there, away])[None]
    near, far = distance(both, fitted.centre[None], fitted.whitening[None])[0]
    assert far > 5 * near
    same = fit(np.ones((6, 3)))
    assert np.isfinite(same.whitening).all()


@given(
    st.integers(1, 40),
    st.integers(0, 2**31),
    st.sampled_from([0.02, 0.05, 0.1, 0.25]),
    st.integers(1, 4),
)
def test_at_most_the_promised_share_of_exchangeable_parts_has_an_image_called_unlike(
    parts, seed, rate, shots
):
    """Exact, without chance: each of the parts in turn is the one that was not there before."""
    rng = np.random.default_rng(seed)
    far = rng.integers(1, 30, (parts + 1, shots)).astype(float)  # with many ties
    called = 0
    for left_out in range(parts + 1):
        others = np.delete(far, left_out, axis=0)
        groups = [str(part) for part in range(parts) for _ in range(shots)]
        calibration = np.array([of_parts(others.ravel(), groups)])
        shares = share_unlike(far[left_out][None], calibration)
        called += any(is_unlike(share, rate) for share in shares)
        assert all(share >= 1 / (parts + 1) for share in shares)
    assert called <= rate * (parts + 1) + 1e-9


def test_members_of_an_ensemble_count_their_own_parts_and_all_together():
    calibration = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, NO_PART]])
    shares = share_unlike(np.array([[2.5, 0.0], [15.0, 0.0]]), calibration)
    np.testing.assert_allclose(shares, [(1 + 1 + 1) / 6, 1.0])


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.05, 0.1, 1 / 3, 0.3])
def test_so_many_parts_are_needed_and_one_less_is_too_few(rate):
    needed = fewest_parts(rate)
    strangest = [share_unlike(np.array([[9.0]]), np.ones((1, n)))[0] for n in (needed, needed - 1)]
    assert [bool(is_unlike(share, rate)) for share in strangest] == [True, False]


def test_another_number_of_statistics_is_one_line():
    with pytest.raises(UserError, match="known.safetensors: holds 3 statistics .* has 4"):
        distance(np.zeros((1, 2, 4)), np.zeros((1, 3)), np.zeros((1, 3, 3)))


# Of two channels whose ranges are not the same.
RANGE = IntensityRange((10, 0), (110, 200))
SPEC = InputSpec(Letterbox((8, 8), 0.0, 1.0, 1.0), 2, 8, 1, RANGE, (0.5, 0.25), (0.1, 0.2))


def test_brightness_is_in_counts_and_contrast_a_geometric_mean():
    statistics = np.zeros((1, 6 + 3))
    statistics[0, :6] = [1.0, -1.0, np.log(0.5), np.log(2.0), np.log(3.0), np.log(3.0)]
    # 10 + 100 (0.5 + 0.1) = 70 and 200 (0.25 - 0.2) = 10
    np.testing.assert_allclose(measured(statistics, SPEC), [[40.0, 1.0, 3.0]])
    three = np.concatenate([statistics * 0, statistics, statistics])
    np.testing.assert_allclose(percentiles(three, SPEC)[MEDIAN], [40.0, 1.0, 3.0])


DIGEST = bytes(range(32))


def known(members=2, n=4, parts=3):
    rng = np.random.default_rng(0)
    shapes = (members, n), (members, n, n), (members, parts), (101, 3), (members * parts, 3)
    return Known(*(rng.uniform(size=shape).astype(np.float32) for shape in shapes))


def test_the_file_gives_back_what_was_written_for_its_own_checkpoint_alone(tmp_path):
    assert known_file.read(tmp_path, 8, 0, DIGEST) is None
    known_file.write(tmp_path, known(), 8, 0, DIGEST)
    for got, want in zip(known_file.read(tmp_path, 8, 0, DIGEST), known(), strict=True):
        np.testing.assert_array_equal(got, want)
    for other in ((9, 0, DIGEST), (8, 1, DIGEST), (8, 0, DIGEST[::-1])):
        assert known_file.read(tmp_path, *other) is None
    assert [path.name for path in tmp_path.iterdir()] == [known_file.FILE]


def test_weights_have_a_digest_of_their_own():
    one = {"params": {"kernel": np.arange(6, dtype=np.float32)}}
    other = {"params": {"kernel": np.arange(6, dtype=np.float32)[::-1].copy()}}
    digests = {known_file.digest_of(tree) for tree in (one, other, (one, other), (other, one))}
    assert len(digests) == 4 and all(len(digest) == 32 for digest in digests)


BROKEN = {
    "is not a whole .safetensors file": lambda arrays: None,
    "later version": lambda arrays: arrays.update(version=np.array([2])),
    "'weights' is missing or not known": lambda arrays: arrays.update(weights=np.zeros(1)),
    "'whitening' is missing": lambda arrays: arrays.pop("whitening"),
    "whitening must be float32": lambda arrays: arrays.update(
        whitening=np.zeros((2, 4, 5), np.float32)
    ),
    "centre must be float32": lambda arrays: arrays.update(centre=np.zeros((2, 4))),
    "a row a member": lambda arrays: arrays.update(centre=np.zeros(4, np.float32)),
    "digest must be uint8": lambda arrays: arrays.update(digest=np.zeros(3, np.uint8)),
    "watched must be float32": lambda arrays: arrays.update(watched=np.zeros((5, 3), np.float32)),
    "looks holds what is no number": lambda arrays: arrays["looks"].fill(np.nan),
    "no validation part": lambda arrays: arrays["distances"].fill(NO_PART),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_one_line_that_says_what_to_do(what, tmp_path):
    import safetensors.numpy

    known_file.write(tmp_path, known(), 8, 0, DIGEST)
    path = tmp_path / known_file.FILE
    arrays = {name: array.copy() for name, array in safetensors.numpy.load_file(path).items()}
    if BROKEN[what](arrays) is None and what.startswith("is not"):
        path.write_bytes(path.read_bytes()[:-7])
    else:
        safetensors.numpy.save_file(arrays, path)
    with pytest.raises(UserError, match=f"{what}.*delete it, and run --mode=evaluate again") as e:
        known_file.read(tmp_path, 8, 0, DIGEST)
    assert str(path) in str(e.value) and "\n" not in str(e.value)
