"""The average over mirror images: equal to four passes by hand, and blind to mirroring."""

import jax
import numpy as np
import pytest
from tiny_networks import TINY, images

from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import over_flips, probabilities

IMAGE = images(2, 8, 12, 1)
MIRRORED = [lambda x: x, lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x[:, ::-1, ::-1]]


def predictor(**model):
    network = SegmentationNetwork(widths=TINY, **model)
    variables = initial_variables(network, (1, 8, 12, 1), 0)
    return jax.jit(lambda x, shown=None: probabilities(network.apply(variables, x, train=False)))


# Defect or not; two classes with every part that looks at neighbours.
PARTS = {"num_classes": 2, "pixel_confidence": "fixed", "window_px": 3, "localisation": "encoder"}


@pytest.fixture(scope="module", params=[{}, PARTS], ids=["defect or not", "classes"])
def predict(request):
    return predictor(**request.param)


@pytest.fixture(scope="module")
def averaged(predict):
    return jax.jit(lambda image: over_flips(predict, image))


def test_equals_four_passes_with_the_masks_turned_back(predict, averaged):
    passes = [predict(mirror(IMAGE)) for mirror in MIRRORED]
    masks = [mirror(one.mask) for mirror, one in zip(MIRRORED, passes, strict=True)]
    assert np.ptp(np.stack(masks), axis=0).max() > 1e-3  # else the test could not fail
    got = averaged(IMAGE)
    np.testing.assert_allclose(got.mask, np.mean(masks, axis=0), atol=1e-6)
    np.testing.assert_allclose(got.label, np.mean([one.label for one in passes], axis=0), atol=1e-6)


def test_a_mirrored_image_gets_the_same_label_and_the_mirrored_mask(averaged):
    straight = averaged(IMAGE)
    for mirror in MIRRORED:
        turned = averaged(mirror(IMAGE))
        np.testing.assert_allclose(turned.label, straight.label, atol=1e-6)
        np.testing.assert_allclose(mirror(turned.mask), straight.mask, atol=1e-6)


def test_without_classification_head_there_is_no_label():
    predicted = over_flips(predictor(classification_head=False), IMAGE)
    assert predicted.label is None and predicted.mask.shape == (2, 8, 12, 1)
