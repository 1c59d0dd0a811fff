"""What probabilities say of a mask: against NumPy by hand, in both evaluators alike."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.special import softmax

from defect_jax.decision.apply import Thresholds
from defect_jax.evaluation.evaluator import make_eval_step
from defect_jax.evaluation.tiled_evaluator import WithTruth, _support
from defect_jax.metrics.accumulated import Accumulated
from defect_jax.metrics.label_support import EDGE_PX, LabelSupport, grown, grown_on_host
from defect_jax.models.probabilities import Probabilities

THRESHOLDS = Thresholds(np.float32(0.9), np.float32(0.6), np.int32(1))
SIZE = 40, 48


@pytest.fixture(scope="module")
def images():
    """Probabilities and masks of three images of different sizes; the last one is good."""
    rng = np.random.default_rng(0)
    found = []
    for height, width, sides in ((40, 48, (9, 12)), (31, 40, (5, 3)), (40, 33, (0, 0))):
        probability = rng.beta(0.4, 0.6, (height, width)).astype(np.float32)
        mask = np.zeros((height, width), np.uint8)
        mask[8 : 8 + sides[0], 20 : 20 + sides[1]] = 1
        found.append((probability, mask))
    return found


def by_hand(probability, mask, reach_px):
    """The same from the definitions, with SciPy's softmax and dilation."""
    mask = mask > 0
    given = np.where(mask, probability, 1.0 - probability).ravel().astype(np.float64)
    weight = softmax((1.0 - given) / 0.1)  # Lad & Mueller: softmin over pixels
    square = np.ones((2 * reach_px + 1, 2 * reach_px + 1))
    near = ndimage.binary_dilation(mask, square)
    apart = probability[(probability >= 0.6) & ~near]
    return {
        "softmin": weight @ given,
        "inside_sum": probability[mask].sum(),
        "inside_highest": probability[mask].max(initial=0.0),
        "outside_sum": apart.sum(),
        "outside_px": apart.size,
    }


def assert_same(support, expected):
    found = dict(support, softmin=support["softmin_sum"] / support["softmin_weight"])
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, err_msg=name)


@pytest.mark.parametrize("reach_px", [0, 1, 4, 7, 100])
def test_a_mask_grows_as_by_a_square(reach_px):
    mask = np.random.default_rng(1).random((2, 30, 41)) > 0.99
    square = np.ones((1, 2 * reach_px + 1, 2 * reach_px + 1))
    expected = ndimage.binary_dilation(mask, square)
    np.testing.assert_array_equal(grown(jnp.array(mask), reach_px), expected)
    for one, wide in zip(mask, expected, strict=True):
        np.testing.assert_array_equal(grown_on_host(one, reach_px), wide)


def test_the_evaluation_step_sums_as_by_hand(images):
    def padded(plane):
        return np.pad(plane, [(0, side - s) for side, s in zip(SIZE, plane.shape, strict=True)])

    sizes = np.array([mask.shape for _, mask in images], np.int32)
    frames = np.stack([padded(probability) for probability, _ in images])
    placement = np.concatenate([np.zeros_like(sizes), sizes], axis=1).astype(np.float32)
    batch = {
        "image": frames[..., None],
        "placement": placement,
        "native_size": sizes,
        "native_mask": np.stack([padded(mask) for _, mask in images]),
        "region_weight": np.zeros_like(frames),
        "regions": np.zeros(3, np.int32),
        "masked": np.ones(3, np.float32),
        "row": np.arange(3),
    }
    step = make_eval_step(lambda ema, image: Probabilities(image, None), SIZE)
    _, outputs = jax.jit(step)({}, batch, THRESHOLDS, Accumulated.empty(1))
    for row, (probability, mask) in enumerate(images):
        support = {name: outputs[name][row] for name in LabelSupport._fields}
        assert_same(support, by_hand(probability, mask, EDGE_PX))


@pytest.mark.parametrize("strip_px", [40, 7, 1])
def test_strips_of_an_image_sum_to_the_same(images, strip_px):
    for probability, mask in images:
        near, nothing = grown_on_host(mask > 0, EDGE_PX), np.zeros_like(mask)
        image = WithTruth(None, {"native_mask": mask}, near, 0, nothing, True)
        places = [slice(f, min(f + strip_px, len(mask))) for f in range(0, len(mask), strip_px)]
        maps = [probability[rows, :, None] for rows in places]
        strips = [
            _support(m, image, rows, THRESHOLDS) for m, rows in zip(maps, places, strict=True)
        ]
        support = reduce(LabelSupport.merged, strips)._asdict()
        assert_same(support, by_hand(probability, mask, EDGE_PX))
