"""The running monitor: what its bets pay, what it promises, what it finds, and what it keeps."""

import itertools
import json
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from defect_jax.decision import monitor as rule
from defect_jax.decision.monitor import BETS, Bet, Odds, exceeds, make_odds, payoffs, price
from defect_jax.deploy.monitor import Alarm, Monitor
from defect_jax.runtime.errors import UserError

SIZES = (1, 3, 20, 2000)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def free_odds(size):
    """Bets without a price, among the values 1 to `size`."""
    values = np.arange(1.0, size + 1)[None]
    log_payoffs = np.log([payoffs(bet, size) for bet in BETS])
    return Odds(values, np.arange(size)[None] + 0.5, log_payoffs)


def run(odds, values):
    """All that is kept after each of the images [images, ..., numbers]."""
    watch = rule.start(values.shape[-1], values.shape[1:-1])
    return [watch := rule.step(watch, odds, row) for row in values]


@pytest.mark.parametrize("size", SIZES)
def test_a_bet_pays_1_on_average_and_more_where_its_change_puts_ranks(size):
    for bet in BETS:
        paid = payoffs(bet, size)
        assert paid.shape == (size + 1,) and (paid > 0).all()
        assert math.fsum(paid) / (size + 1) == pytest.approx(1.0, abs=1e-12)
        if bet.shift:
            assert (np.diff(paid * np.sign(bet.shift)) > 0).all()
        else:
            np.testing.assert_array_equal(paid, paid[::-1])
            assert size < 3 or (paid[0] > paid[size // 2]) == (bet.spread > 1)


def test_sums_are_martingales_under_uniform_ranks_for_every_past():
    """Exact: all 4^3 sequences of ranks among three values; E[R_t | past] = 1 + R_(t-1)."""
    odds = free_odds(3)
    sequences = np.array(list(itertools.product(range(4), repeat=3)))
    kept = [np.expm1(watch.log_sum[:, 0]) for watch in run(odds, sequences.T[..., None] + 0.5)]
    for images in (1, 2, 3):
        grouped = kept[images - 1].reshape(4 ** (images - 1), 4, -1, len(BETS)).mean(axis=(1, 2))
        before = np.zeros(len(BETS))
        if images > 1:
            before = kept[images - 2].reshape(4 ** (images - 1), -1, len(BETS))[:, 0]
        np.testing.assert_allclose(grouped, 1.0 + np.broadcast_to(before, grouped.shape))


def hypoexponential(paid, bound):
    """P(sum d_j E_j > 0) of exponential E in whole fractions; all d differ."""
    d = [Fraction(float(payoff)) - Fraction(float(bound)) for payoff in paid]
    terms = (math.prod((a / (a - b) for b in d if b != a), start=Fraction(1)) for a in d if a > 0)
    return float(sum(terms))


@pytest.mark.parametrize("bet", [bet for bet in BETS if bet.shift > 0])
@pytest.mark.parametrize("chance", [0.1, 1e-3])
def test_a_price_is_exceeded_with_its_chance(bet, chance):
    paid = payoffs(bet, 20)
    assert hypoexponential(paid, price(paid, chance)) == pytest.approx(chance, rel=1e-6)


@pytest.mark.parametrize("size", [20, 50])
def test_the_largest_share_of_one_value_has_a_closed_form(size):
    """(n + 1) times one Dirichlet share: Beta(1, n)."""
    paid = np.append(np.zeros(size), size + 1.0)
    for bound in (1.5, 3.0, 6.0):
        expected = (1.0 - bound / (size + 1)) ** size
        assert exceeds(paid, bound) == pytest.approx(expected, rel=1e-6)


def test_prices_hold_jointly_for_the_promised_share_of_references():
    generator, size = np.random.default_rng(3), 40
    odds = make_odds(generator.normal(size=(1, size)))
    shares = generator.dirichlet(np.ones(size + 1), size=4000)
    broken = (shares @ np.exp(odds.log_payoffs).T > 1.0).any(axis=1).mean()
    assert 0.005 < broken < 0.05  # the confidence is 0.95


def test_ranks_count_values_below_and_ties_are_drawn_from_their_places():
    odds = make_odds(np.array([[1.0, 2.0, 2.0, 2.0, 3.0, *range(4, 19)]]))
    plain = np.array([[0.0], [1.5], [2.5], [99.0]])
    assert rule.ranks(odds, plain, 7)[:, 0].tolist() == [0, 1, 4, 20]
    drawn, again, next_one = (
        rule.ranks(odds, np.full((4000, 1), 2.0), image)[:, 0] for image in (7, 7, 8)
    )
    assert (drawn == again).all() and (drawn != next_one).any()
    assert set(drawn) == {1, 2, 3, 4}
    # What is drawn is uniform, as are the three keys among which it is: each share is a spacing.
    edges = np.diff([1.0, *odds.keys[0, 1:4], 4.0]) / 3
    np.testing.assert_allclose(np.bincount(drawn)[1:] / 4000, edges, atol=0.03)


def test_sums_and_change_points_are_those_of_their_definitions():
    generator = np.random.default_rng(0)
    odds = make_odds(generator.normal(size=(2, 30)))
    values = generator.normal(size=(40, 2)) + np.r_[np.zeros(25), np.full(15, 1.5)][:, None]
    won = np.stack(
        [odds.log_payoffs[:, rule.ranks(odds, row, i)].T for i, row in enumerate(values, 1)]
    )
    for images, watch in enumerate(run(odds, values), 1):
        products = won[:images][::-1].cumsum(axis=0)[::-1]  # from each image to the last
        np.testing.assert_allclose(np.expm1(watch.log_sum), np.exp(products).sum(axis=0))
        won_by_all = np.exp(products).sum(axis=0).mean()
        for promised in (1, 10, 100, 1000):
            assert rule.alarms(watch, promised) == (won_by_all >= promised)
        np.testing.assert_allclose(watch.log_run, products.max(axis=0), atol=1e-12)
        np.testing.assert_array_equal(watch.first, products.argmax(axis=0) + 1)
        for number, bet in np.ndindex(watch.first.shape):
            since = values[watch.first[number, bet] - 1 : images, number]
            assert watch.mean[number, bet] == pytest.approx(since.mean())


def false_alarms(odds_of, references, promised, images, streams):
    """The share of streams with an alarm, for each reference."""
    found = []
    for seed in range(references):
        generator = np.random.default_rng(seed)
        odds = odds_of(generator.normal(size=(2, 30)))
        alarmed = np.zeros(streams, bool)
        for watch in run(odds, generator.normal(size=(images, streams, 2))):
            alarmed |= rule.alarms(watch, promised)
        found.append(alarmed.mean())
    return np.array(found)


def test_false_alarms_keep_the_promise_given_the_reference_and_without_prices_do_not():
    promised = 60 / 120
    priced = false_alarms(make_odds, 12, 120, 60, 200)
    assert (priced <= promised).all() and priced.mean() < promised / 2

    def free(values):
        odds = make_odds(values)
        return odds._replace(log_payoffs=np.log([payoffs(bet, 30) for bet in BETS]))

    assert (false_alarms(free, 12, 120, 60, 200) > promised).mean() > 0.2


def test_streams_side_by_side_are_the_same_as_one_by_one():
    generator = np.random.default_rng(5)
    odds = make_odds(generator.normal(size=(3, 25)))
    values = generator.normal(size=(12, 4, 3))
    together = run(odds, values)[-1]
    for stream in range(4):
        alone = run(odds, values[:, stream])[-1]
        for name in ("log_sum", "log_run", "first", "mean"):
            np.testing.assert_array_equal(getattr(together, name)[stream], getattr(alone, name))
    assert rule.alarms(together, 10).shape == (4,)


REFERENCE = {
    "brightness": np.linspace(90.0, 110.0, 60),
    "sharpness": np.random.default_rng(1).permutation(np.linspace(-1.0, 1.0, 60)),
}


def stream(images, light=1.0, blur=0.0, seed=0):
    generator = np.random.default_rng(seed)
    for _ in range(images):
        bright, sharp = generator.uniform(90, 110), generator.uniform(-1, 1)
        yield {"brightness": bright * light, "sharpness": sharp - blur}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"light": 1.18}, r"brightness \+1[0-9] % \(100 to 11[0-9](\.[0-9])?\)"),
        ({"light": 0.7}, r"brightness -[23][0-9] % \(100 to [67][0-9](\.[0-9]+)?\)"),
        ({"blur": 1.5}, r"sharpness is lower \(\S+ to -1\.[0-9]+\)"),
    ],
)
def test_an_alarm_names_the_change_and_its_image(change, says):
    monitor = Monitor.of(REFERENCE, promised_images=10_000)
    assert not any(monitor.see(values) for values in stream(300))
    alarm = next(filter(None, map(monitor.see, stream(60, **change, seed=1))))
    assert 301 < alarm.image <= 330 and alarm.image == monitor.images
    assert abs(alarm.since - 301) <= 3
    assert re.fullmatch(f"since image {alarm.since}: {says}", alarm.text)


def test_a_camera_that_hangs_and_one_that_flickers_are_found():
    for brightness, says in (
        ([100.3] * 60, "less"),
        ([60, 140] * 30, "more"),
    ):
        monitor = Monitor.of({"brightness": REFERENCE["brightness"]}, promised_images=1000)
        alarm = next(filter(None, (monitor.see({"brightness": b}) for b in brightness)))
        assert alarm.since == 1
        assert alarm.text == f"since image 1: brightness scatters {says}"


def test_a_reset_forgets_the_change_and_counts_on():
    monitor = Monitor.of(REFERENCE, promised_images=1000)
    seen = [monitor.see(values) for values in stream(30, light=1.3)]
    assert seen[-1] and seen[-1].since == 1
    monitor.reset()
    assert monitor.images == 30 and not any(monitor.see(values) for values in stream(20))
    again = next(filter(None, map(monitor.see, stream(30, light=1.3, seed=2))))
    assert again.since >= 50


def test_a_monitor_that_was_written_goes_on_to_the_last_bit(tmp_path):
    """In the middle of a change, with ties, again and again."""
    values = [{n: round(v, 1) for n, v in row.items()} for row in stream(80, light=1.06)]
    reference = {name: row.round(1) for name, row in REFERENCE.items()}
    straight, path = Monitor.of(reference, promised_images=500), tmp_path / "monitor.json"
    restarted = Monitor.of(reference, promised_images=500)
    for row in values:
        assert straight.see(row) == restarted.see(row)
        if straight.images % 8 == 0:
            restarted.to_json(path)
            restarted = Monitor.from_json(path)
    restarted.to_json(tmp_path / "again.json")
    straight.to_json(tmp_path / "straight.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "straight.json").read_bytes()
    assert path.stat().st_size < 10_000 and straight.images == 80


@given(
    hnp.arrays(np.float64, (2, 20), elements=FINITE),
    hnp.arrays(np.float64, (6, 2), elements=FINITE),
)
def test_no_finite_input_makes_what_is_no_number(reference, values):
    monitor = Monitor.of(dict(zip("ab", reference, strict=True)), promised_images=1)
    for row in values:
        alarm = monitor.see(dict(zip("ab", row, strict=True)))
        assert "nan" not in (alarm.text if alarm else "")
    assert all(np.isfinite(kept).all() for kept in monitor._watch)
    assert (monitor._watch.log_sum >= 0).all()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"brightness": np.nan, "sharpness": 0.0}, "brightness: give a finite number, not nan"),
        ({"brightness": 1.0, "sharpness": np.inf}, "sharpness: give a finite number, not inf"),
        ({"brightness": "9", "sharpness": 0.0}, "brightness: give a finite number, not 9"),
        ({"brightness": True, "sharpness": 0.0}, "brightness: give a finite number, not True"),
        ({"brightness": [1.0], "sharpness": 0.0}, r"brightness: give a finite number, not \[1.0\]"),
        ({"brightness": 100.0}, "watches brightness, sharpness: give these, not brightness"),
        ({}, "give these, not nothing"),
    ],
)
def test_an_image_without_its_numbers_is_refused_and_does_not_count(values, says):
    monitor = Monitor.of(REFERENCE, promised_images=1000)
    with pytest.raises(UserError, match=says):
        monitor.see(values)
    assert monitor.images == 0


@pytest.mark.parametrize(
    ("reference", "promised", "says"),
    [
        ({}, 9, "give values for each number to watch"),
        ({"a": np.zeros(19)}, 9, "of 20 to 10,000 parts, not 19 of a"),
        ({"a": np.zeros(10_001)}, 9, "of 20 to 10,000 parts, not 10,001 of a"),
        ({"a": np.zeros(30), "b": np.zeros(31)}, 9, "not 30 of a, 31 of b"),
        ({"a": [*range(30), np.nan]}, 9, "reference: a: give one list of finite numbers"),
        ({"a": [[1.0], [1.0, 2.0]]}, 9, "reference: a: give one list of finite numbers"),
        ({"a": ["1"] * 30}, 9, "reference: a: give one list of finite numbers"),
        ({"a": np.arange(30)}, 0, "promised_images: give a whole number from 1 on, not 0"),
    ],
)
def test_a_reference_that_promises_nothing_is_refused(reference, promised, says):
    with pytest.raises(UserError, match=says):
        Monitor.of(reference, promised)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("promised_images",), -1, "promised_images: give a whole number"),
        (("promised_images",), True, "promised_images: give a whole number"),
        (("promised_images",), 9.5, "promised_images: give a whole number from 1 on, not 9.5"),
        (("reference",), [1.0], "reference: give values for each number"),
        (("reference", "brightness"), [1.0], "reference: each number needs as many values"),
        (("reference", "brightness"), {"a": 1}, "reference: brightness: give one list"),
        (("watch",), None, "watch: must have the fields images, log_sum"),
        (("watch", "log_sum"), [[0.0]], r"watch.log_sum: must be numbers of shape \[2, 10\]"),
        (("watch", "first"), [[0.5] * 10] * 2, "watch.first: must be numbers of shape"),
        (("watch", "first"), [[9] * 10] * 2, "watch.first: must be numbers of images that"),
        (("watch", "images"), -1, "watch.first: must be numbers of images that"),
        (("more",), 1, "must have the fields promised_images, reference, watch, and no other"),
    ],
)
def test_a_file_that_is_no_monitor_is_refused_by_name_and_field(place, value, says, tmp_path):
    path = tmp_path / "monitor.json"
    Monitor.of(REFERENCE, promised_images=1000).to_json(path)
    fields = json.loads(path.read_text())
    inside = fields
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError, match=f"monitor.json: {says}"):
        Monitor.from_json(path)


def test_a_file_that_is_not_there_or_not_json_is_refused(tmp_path):
    with pytest.raises(UserError, match="gone.json: cannot be read: No such file"):
        Monitor.from_json(tmp_path / "gone.json")
    (tmp_path / "cut.json").write_text('{"promised_images": 10')
    with pytest.raises(UserError, match="cut.json: cannot be read: it is not JSON"):
        Monitor.from_json(tmp_path / "cut.json")


def test_words_of_an_alarm_that_has_no_ratio():
    for before, now, says in ((0.0, 2.0, "is higher (0 to 2)"), (-2.0, -1.0, "+50 % (-2 to -1)")):
        text = Alarm(40, 21, "look", Bet(1.0, 1.0), before, now).text
        assert text == f"since image 21: look {says}"
