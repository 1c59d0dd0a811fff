import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from pixel_references import ranking
from sklearn import metrics as sk

from defect_jax.metrics import binned, histogram, images, summary
from defect_jax.metrics.counts import PixelCounts, Uint64Counter, image_counts
from defect_jax.metrics.histogram import BINS, PixelHistogram, bin_index, lower_edge
from defect_jax.metrics.images import ImageRow, image_iou, image_metrics
from defect_jax.metrics.regions import region_weights
from defect_jax.runtime.errors import UserError

HEIGHT, WIDTH, IMAGES = 24, 20, 16


@pytest.fixture(scope="module")
def examples():
    """Blobs with noisy probabilities, good images among them, some padding, many ties."""
    rng = np.random.default_rng(7)
    noise = rng.normal(size=(IMAGES, HEIGHT, WIDTH))
    smooth = np.stack([cv2.GaussianBlur(plane, (5, 5), 1.5) for plane in noise])
    mask = (smooth > 0.45) & (np.arange(IMAGES) % 3 > 0)[:, None, None]
    logits = 3 * smooth - 4 + 5 * mask + rng.normal(size=mask.shape)
    probability = (1 / (1 + np.exp(-logits))).astype(np.float32)
    probability[::4] = np.round(probability[::4], 1)
    valid = np.ones_like(mask)
    valid[1, 20:], valid[2, :, 15:] = False, False
    mask &= valid
    weighed = [region_weights(plane) for plane in mask]
    return {
        "probability": probability,
        "mask": mask,
        "valid": valid,
        "region_weight": np.stack([weight for weight, _ in weighed]),
        "regions": np.array([count for _, count in weighed], np.int32),
    }


@pytest.fixture(scope="module")
def accumulate():
    """One compiled update of both accumulators."""

    @jax.jit
    def update(state, batch):
        counts, pixels = state
        decided = batch["probability"] >= 0.5
        return counts.update(decided, batch["mask"], batch["valid"]), pixels.update(**batch)

    return update


def evaluate(update, examples, batch_size, order=None):
    state = (PixelCounts.empty(), PixelHistogram.empty())
    order = np.arange(IMAGES) if order is None else order
    for chosen in np.split(order, IMAGES // batch_size):
        state = update(state, jax.tree.map(lambda plane, i=chosen: jnp.asarray(plane[i]), examples))
    return state


@pytest.fixture(scope="module")
def state(accumulate, examples):
    return evaluate(accumulate, examples, IMAGES)


def same(one, other):
    equal = jax.tree.map(
        lambda a, b: np.array_equal(jax.device_get(a), jax.device_get(b)), one, other
    )
    return all(jax.tree.leaves(equal))


# Counts of 64 bits


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 31)), max_size=6))
def test_wide_count_equals_python_integers_past_32_bits(amounts):
    one, other = Uint64Counter.zeros(2), Uint64Counter.zeros(2)
    for i, (amount, shift) in enumerate(amounts):
        amount = jnp.array([amount, 1], jnp.uint32)
        one, other = (one.add(amount, shift), other) if i % 2 else (one, other.add(amount, shift))
    total = sum(amount << shift for amount, shift in amounts)
    assert one.merge(other).to_numpy().tolist() == [total, sum(1 << s for _, s in amounts)]


def test_wide_count_carries():
    full = Uint64Counter.zeros(1).add(jnp.array([2**32 - 1], jnp.uint32))
    assert full.add(jnp.array([1], jnp.uint32)).to_numpy()[0] == 2**32
    for _ in range(31):
        full = full.merge(full)
    assert full.to_numpy()[0] == (2**32 - 1) << 31


# Exactness over devices, batches and order


@pytest.mark.parametrize("batch_size", [1, 8])
def test_any_batch_size_and_order_gives_the_same_bits(accumulate, examples, state, batch_size):
    order = np.random.default_rng(3).permutation(IMAGES)
    assert same(evaluate(accumulate, examples, batch_size, order), state)


def test_eight_devices_give_the_same_bits_as_one(accumulate, examples, state):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    replicated = NamedSharding(mesh, P())
    batch = jax.device_put(examples, NamedSharding(mesh, P("data")))
    empty = jax.device_put((PixelCounts.empty(), PixelHistogram.empty()), replicated)
    sharded = accumulate(empty, batch)
    assert same(sharded, state)
    program = accumulate.lower(empty, batch).compile().as_text()
    assert "all-gather" not in program  # no device ever holds the images of another


def test_merge_equals_one_pass(accumulate, examples, state):
    empty = (PixelCounts.empty(), PixelHistogram.empty())
    halves = [
        accumulate(empty, jax.tree.map(lambda plane, i=half: jnp.asarray(plane[i]), examples))
        for half in (slice(0, 8), slice(8, None))
    ]
    merged = tuple(a.merge(b) for a, b in zip(*halves, strict=True))
    assert same(merged, state)
    assert merged[1].compute() == state[1].compute()


def test_padding_counts_nowhere(accumulate, examples, state):
    changed = dict(examples)
    outside = ~examples["valid"]
    changed["probability"] = np.where(outside, np.float32(0.9), examples["probability"])
    changed["mask"] = examples["mask"] | outside
    changed["region_weight"] = np.where(outside, np.float32(1), examples["region_weight"])
    assert same(evaluate(accumulate, changed, IMAGES), state)
    decided = jnp.asarray(changed["probability"] >= 0.5)
    ours = image_counts(decided, jnp.asarray(changed["mask"]), jnp.asarray(examples["valid"]))
    true_px = (examples["mask"] & examples["valid"]).sum((1, 2))
    np.testing.assert_array_equal(ours["true_px"], true_px)


# Pixel counts


def test_pooled_metrics_equal_sklearn(state, examples):
    truth = examples["mask"][examples["valid"]]
    decided = examples["probability"][examples["valid"]] >= 0.5
    ours = state[0].compute()
    assert ours["miou_pooled"] == pytest.approx(sk.jaccard_score(truth, decided), abs=1e-12)
    assert ours["miou"] == pytest.approx(
        sk.jaccard_score(truth, decided, average="macro"), abs=1e-12
    )
    assert ours["mpa"] == pytest.approx(sk.balanced_accuracy_score(truth, decided), abs=1e-12)


@pytest.mark.parametrize(
    ("decided", "mask", "expected"),
    [
        (False, False, {"miou_pooled": None, "miou": 1.0, "mpa": 1.0}),
        (True, True, {"miou_pooled": 1.0, "miou": 1.0, "mpa": 1.0}),
        (True, False, {"miou_pooled": 0.0, "miou": 0.0, "mpa": 0.0}),
        (False, True, {"miou_pooled": 0.0, "miou": 0.0, "mpa": 0.0}),
    ],
)
def test_empty_and_full_masks(decided, mask, expected):
    planes = [jnp.full((1, 2, 3), value) for value in (decided, mask, True)]
    assert PixelCounts.empty().update(*planes).compute() == expected


def test_nothing_seen_is_undefined():
    assert set(PixelCounts.empty().compute().values()) == {None}
    assert set(PixelHistogram.empty().compute().values()) == {None}
    assert set(PixelHistogram.empty().brackets().values()) == {None}
    assert PixelHistogram.empty().best_f1_threshold() is None


# Bins


def test_bins_rise_with_the_probability_and_edges_are_exact():
    rng = np.random.default_rng(0)
    logits = rng.uniform(-20, 20, 20_000)
    probability = np.sort(np.append(1 / (1 + np.exp(-logits)), [0, 0.5, 1])).astype(np.float32)
    index = np.asarray(bin_index(jnp.asarray(probability)))
    assert index[0] == 0 and index[-1] == BINS - 1 and (np.diff(index) >= 0).all()
    edges = np.array([lower_edge(k) for k in range(BINS)], np.float32)
    assert (np.diff(edges) >= 0).all()
    for k in range(0, BINS, 97):
        np.testing.assert_array_equal(probability >= edges[k], index >= k)
    below = np.nextafter(edges[1:], np.float32(0))
    assert (np.asarray(bin_index(jnp.asarray(edges))) >= np.arange(BINS)).all()
    assert (np.asarray(bin_index(jnp.asarray(below))) < np.arange(1, BINS)).all()


def test_bins_are_narrow_in_the_logit():
    edges = np.array([lower_edge(k) for k in range(1, BINS)])
    edges = edges[(edges > 1e-6) & (edges < 1 - 1e-3)]
    assert np.diff(np.log(edges) - np.log1p(-edges)).max() < 0.0161


# Ranking of pixels


def with_probability(examples, probability):
    return examples | {
        "probability": probability.astype(np.float32),
        "valid": np.ones_like(examples["valid"]),
    }


def test_exact_when_no_bin_holds_two_probabilities(accumulate, examples):
    coarse = np.clip(np.round(examples["probability"], 2), 0.005, 0.995)
    case = with_probability(examples, coarse)
    ours = evaluate(accumulate, case, IMAGES)[1].compute()
    for name, value in ranking(case["probability"], case["mask"]).items():
        assert ours[name] == pytest.approx(value, abs=1e-7 if name == "aupro" else 1e-12), name


@pytest.mark.parametrize("spread", [0.01, 0.3, 1.0, 8.0])
@pytest.mark.parametrize("shift", [-12.0, -3.0, 0.0])
def test_exact_value_lies_in_the_bracket_and_near_the_binned_one(
    accumulate, examples, spread, shift
):
    rng = np.random.default_rng(5)
    logits = shift + spread * (rng.normal(size=examples["mask"].shape) + 2 * examples["mask"])
    case = with_probability(examples, 1 / (1 + np.exp(-logits)))
    pixels = evaluate(accumulate, case, IMAGES)[1]
    ours, brackets = pixels.compute(), pixels.brackets()
    for name, value in ranking(case["probability"], case["mask"]).items():
        low, high = brackets[name]
        assert low - 1e-7 <= value <= high + 1e-7, name
        assert low - 1e-12 <= ours[name] <= high + 1e-12, name
        if spread >= 1.0:  # a trained network spreads them wider
            assert abs(ours[name] - value) < 2e-3, name


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), min_size=1),
    st.randoms(),
)
def test_brackets_hold_for_every_order_inside_the_bins(bins, random):
    truth, scores = [], []
    for index, (positives, negatives, values) in enumerate(bins):
        truth += [1] * positives + [0] * negatives
        scores += [index + random.randint(0, values) / 8 for _ in range(positives + negatives)]
    positives, negatives = [row[0] for row in bins], [row[1] for row in bins]
    if sum(positives):
        low, high = binned.average_precision_bracket(positives, negatives)
        assert low - 1e-12 <= sk.average_precision_score(truth, scores) <= high + 1e-12
        if sum(negatives):
            low, high = binned.auroc_bracket(positives, negatives)
            assert low - 1e-12 <= sk.roc_auc_score(truth, scores) <= high + 1e-12


def test_best_f1_threshold_is_the_best_and_applies_exactly(state, examples):
    truth = examples["mask"][examples["valid"]]
    scores = examples["probability"][examples["valid"]]
    threshold = state[1].best_f1_threshold()
    assert float(np.float32(threshold)) == threshold
    every_edge = {lower_edge(int(k)) for k in np.asarray(bin_index(jnp.asarray(scores)))}

    def f1(decided):
        return 2 * (decided & truth).sum() / (decided.sum() + truth.sum())

    assert f1(scores >= threshold) == max(f1(scores >= edge) for edge in every_edge)


def test_without_defects_or_without_good_pixels(accumulate, examples):
    none = np.zeros_like(examples["mask"])
    zero = {"region_weight": np.zeros_like(examples["region_weight"])}
    zero["regions"] = np.zeros_like(examples["regions"])
    pixels = evaluate(accumulate, examples | {"mask": none} | zero, IMAGES)[1]
    assert pixels.compute() == {"pixel_ap": None, "pixel_auroc": None, "aupro": None}
    assert pixels.best_f1_threshold() is None
    one = {"regions": np.ones_like(examples["regions"])}
    one["region_weight"] = np.full(none.shape, 1 / (HEIGHT * WIDTH), np.float32)
    full = with_probability(examples, examples["probability"]) | {"mask": ~none} | one
    assert evaluate(accumulate, full, IMAGES)[1].compute() == {
        "pixel_ap": 1.0,
        "pixel_auroc": None,
        "aupro": None,
    }


def test_weights_that_do_not_fit_the_regions_are_refused(accumulate, examples):
    wrong = examples | {"regions": examples["regions"] + 1}
    with pytest.raises(ValueError, match="region weights sum to"):
        evaluate(accumulate, wrong, IMAGES)[1].compute()


def test_region_weight_sum_survives_more_than_32_bits():
    """2^17 pixels of weight one in one bin: the sum of 2^47 units fits no 32-bit word."""
    ones = jnp.ones((1, 2**9, 2**8))
    update = jax.jit(PixelHistogram.update)
    pixels = update(PixelHistogram.empty(), ones, ones > 0, ones > 0, ones, jnp.array([2**17]))
    assert pixels.weights.to_numpy()[-1] == 2**17 * (2**histogram.WEIGHT_BITS - 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.6, 1.0]))
def test_region_weights_equal_opencv(seed, density):
    mask = np.random.default_rng(seed).random((13, 9)) < density
    weight, regions = region_weights(mask)
    count, labelled, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    assert regions == count - 1 and weight.sum() == pytest.approx(regions, rel=1e-6)
    size_px = stats[:, cv2.CC_STAT_AREA][labelled]
    np.testing.assert_array_equal(weight, np.where(mask, 1 / size_px, 0).astype(np.float32))


# Images


@st.composite
def rows(draw):
    true_px, predicted_px = (draw(st.sampled_from([0, 0, 1, 7, 10])) for _ in range(2))
    overlap_px = draw(st.integers(0, min(true_px, predicted_px)))
    score, mask_score = (draw(st.integers(0, 8)) / 8 for _ in range(2))
    iou = image_iou(overlap_px, true_px, predicted_px)
    decisions = (int(score >= 0.5), int(predicted_px > 0))
    name = draw(st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp"))))
    px = (overlap_px, true_px, predicted_px)
    scores, verdict = (score, mask_score), (draw(st.integers(0, 8)) / 8, draw(st.integers(0, 1)))
    return ImageRow(name, "g", int(true_px > 0), *scores, *decisions, iou, *px, *verdict)


@settings(deadline=None)
@given(st.lists(rows(), max_size=12))
def test_image_metrics_equal_their_definitions(examples):
    ours = image_metrics(examples)
    defective = [p for p in examples if p.label]
    good = [p for p in examples if not p.label]
    counted = [p for p in examples if p.true_px or p.predicted_px]
    union = [p.true_px + p.predicted_px - p.intersection_px for p in counted]
    expected = {
        "images": (len(examples), 1),
        "defective": (len(defective), 1),
        "good": (len(good), 1),
        "seg_miou": (
            sum(p.intersection_px / u for p, u in zip(counted, union, strict=True)),
            len(counted),
        ),
        "seg_recall": (sum(p.predicted_px > 0 for p in defective), len(defective)),
        "seg_fpr": (sum(p.predicted_px > 0 for p in good), len(good)),
        "seg_accuracy": (sum(p.mask_decision == p.label for p in examples), len(examples)),
        "seg_recall_hit": (sum(p.intersection_px > 0 for p in defective), len(defective)),
        "seg_recall_iou_10": (sum(p.iou >= 0.1 for p in defective), len(defective)),
        "seg_recall_iou_30": (sum(p.iou >= 0.3 for p in defective), len(defective)),
        "seg_recall_iou_50": (sum(p.iou >= 0.5 for p in defective), len(defective)),
        "verdict_recall": (sum(p.rejected for p in defective), len(defective)),
        "verdict_precision": (
            sum(p.rejected for p in defective),
            sum(p.rejected for p in examples),
        ),
        "verdict_accuracy": (sum(p.rejected == p.label for p in examples), len(examples)),
        "verdict_false_positive_rate": (sum(p.rejected for p in good), len(good)),
        "verdict_false_negatives": (sum(not p.rejected for p in defective), 1),
        "verdict_false_positives": (sum(p.rejected for p in good), 1),
        "recall": (sum(p.decision for p in defective), len(defective)),
        "precision": (sum(p.decision for p in defective), sum(p.decision for p in examples)),
        "accuracy": (sum(p.decision == p.label for p in examples), len(examples)),
        "false_positive_rate": (sum(p.decision for p in good), len(good)),
        "false_negatives": (sum(not p.decision for p in defective), 1),
        "false_positives": (sum(p.decision for p in good), 1),
    }
    for key, (part, whole) in expected.items():
        assert ours[key] == (pytest.approx(part / whole, abs=1e-12) if whole else None), key


def row(true_px, predicted_px, overlap_px=0):
    iou = image_iou(overlap_px, true_px, predicted_px)
    decided = (int(predicted_px > 0),) * 2
    px = (overlap_px, true_px, predicted_px)
    return ImageRow("i", "g", int(true_px > 0), 0.5, 0.5, *decided, iou, *px, 0.5, decided[0])


def test_misses_and_false_alarms_count_zero_and_true_negatives_nothing():
    found = row(8, 8, 8)
    assert image_metrics([found])["seg_miou"] == 1.0
    assert image_metrics([found, row(8, 0)])["seg_miou"] == 0.5
    assert image_metrics([found, row(0, 1)])["seg_miou"] == 0.5
    assert image_metrics([found] + [row(0, 0)] * 50)["seg_miou"] == 1.0
    assert image_metrics([row(0, 0)])["seg_miou"] is None


def test_a_mask_elsewhere_is_recalled_but_not_hit():
    metrics = image_metrics([row(8, 8, 0), row(9, 3, 3)])
    assert metrics["seg_recall"] == 1.0 and metrics["seg_recall_hit"] == 0.5
    assert (metrics["seg_recall_iou_30"], metrics["seg_recall_iou_50"]) == (0.5, 0.0)


@given(st.lists(rows(), max_size=5, unique_by=lambda row: row.id))
@settings(max_examples=20, deadline=None)
def test_predictions_read_back_unchanged(tmp_path_factory, examples):
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    examples = [p._replace(score=1 / 3, mask_score=5e-324) for p in examples]
    images.write_predictions(path, examples)
    assert images.read_predictions(path) == examples


def test_texts_of_tables_that_look_like_formulas_are_texts_and_read_back(tmp_path):
    path, texts = tmp_path / "predictions.csv", ("=1+1", "+a", "-a", "@a", "'a", "-5", "a=b")
    examples = [row(8, 8, 8)._replace(id=text, group=text) for text in texts]
    images.write_predictions(path, examples)
    cells = [line.split(",")[0] for line in path.read_text().splitlines()[1:]]
    assert cells == ["'=1+1", "'+a", "'-a", "'@a", "''a", "-5", "a=b"]
    assert images.read_predictions(path) == examples


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id,group", "name,group", "first line must be id,group"),
        (",1,0.5,", ",2,0.5,", "line 2: label cannot be '2'"),
        (",0.5,0.5,", ",half,0.5,", "line 2: score cannot be 'half'"),
        (",0.5,1,1\n", ",0.5,1\n", "line 2: 13 columns"),
        (",8,0.5,1,1\n", ",?,0.5,1,1\n", "line 2: predicted_px cannot be"),
        (",0.5,1,1\n", ",1.5,1,1\n", "line 2: probability cannot be '1.5'"),
        (",0.5,1,1\n", ",0.5,2,1\n", "line 2: rejected cannot be '2'"),
        (",0.5,1,1\n", ",0.5,1,x\n", "line 2: masked cannot be 'x'"),
    ],
)
def test_damaged_predictions_are_named(tmp_path, old, new, message):
    path = tmp_path / "predictions.csv"
    images.write_predictions(path, [row(8, 8, 8)])
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message) as error:
        images.read_predictions(path)
    assert str(path) in str(error.value)
    with pytest.raises(UserError, match="cannot be read"):
        images.read_predictions(tmp_path / "missing.csv")


# metrics.json


def parts(examples):
    """What is joined; the metrics of parts and of combinations are tested with their own."""
    known = image_metrics(examples) | {"miou_pooled": 0.5, "miou": 0.75, "mpa": 0.75}
    ranked = {"pixel_ap": 0.5, "pixel_auroc": 0.9, "aupro": 0.8}
    return known, ranked, dict.fromkeys(set(summary.MEANINGS) - set(known | ranked), 0.5)


def test_metrics_are_joined_checked_and_written(tmp_path):
    examples = [row(8, 8, 8), row(0, 0)]
    metrics, reasons = summary.join_metrics(*parts(examples), images=2, defective=1)
    assert list(metrics) == list(summary.MEANINGS) and reasons == []
    summary.write_metrics(tmp_path / "eval" / "metrics.json", metrics)
    assert json.loads((tmp_path / "eval" / "metrics.json").read_text()) == metrics


def test_undefined_is_null_with_a_reason(tmp_path):
    metrics, reasons = summary.join_metrics(*parts([row(0, 0)]), images=1, defective=0)
    undefined = [key for key, value in metrics.items() if value is None]
    assert [reason.split(" is null: ")[0] for reason in reasons] == undefined
    assert "image_auroc is null: the split has no defective image" in reasons
    assert "precision is null: no image is rejected" in reasons
    assert "seg_miou is null: there is neither a true nor a predicted defect" in reasons
    metrics, reasons = summary.join_metrics(*parts([row(8, 8)]), images=1, defective=1)
    assert "seg_fpr is null: the split has no good image" in reasons
    first, *rest = parts([row(8, 8), row(0, 0)])
    odd = first | {"image_ap": float("nan")}
    metrics, reasons = summary.join_metrics(odd, *rest, images=2, defective=1)
    assert metrics["image_ap"] is None
    assert reasons == ["image_ap is null: the value is not finite"]


def test_counts_of_another_split_and_wrong_keys_are_refused():
    examples = [row(8, 8, 8), row(0, 0)]
    with pytest.raises(ValueError, match="the split has"):
        summary.join_metrics(*parts(examples), images=3, defective=1)
    with pytest.raises(ValueError, match="the split has"):
        summary.join_metrics(*parts(examples), images=2, defective=2)
    with pytest.raises(ValueError, match="pixel_auroc"):
        summary.join_metrics(*parts(examples)[::2], images=2, defective=1)
    with pytest.raises(ValueError, match="mpa"):
        summary.join_metrics(*parts(examples), {"mpa": 1.0}, images=2, defective=1)


def test_every_key_of_the_contract_has_a_meaning():
    keys = """images defective good seg_miou seg_recall seg_accuracy seg_fpr seg_recall_hit
    seg_recall_iou_10 seg_recall_iou_30 seg_recall_iou_50 miou_pooled miou mpa pixel_ap pixel_auroc
    aupro image_ap image_auroc image_ap_trapezoid mask_image_ap mask_image_auroc recall precision
    accuracy false_positive_rate false_negatives false_positives recall_at_fpr_05
    fpr_at_recall_95"""
    assert set(keys.split()) <= set(summary.MEANINGS)
