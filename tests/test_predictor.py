"""The Python interface: any image, alone or among others, from one thread or many."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import special
from tiny_predictor import RULE, surface, tiny_config, tiny_network, tiny_predictor

from defect_jax.deploy.markers import canvas_side_px
from defect_jax.deploy.predictor import Predictor, load
from defect_jax.distributed.sharding import make_mesh, one_device_mesh
from defect_jax.runtime import memory
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.memory import FreeMemory

SIZES = [(32, 48), (20, 30), (100, 60), (1, 50), (300, 1), (33, 47), (64, 96), (5, 5)]


@pytest.fixture(scope="module")
def predictor():
    return tiny_predictor()


@pytest.fixture(scope="module")
def images():
    plain = [surface(*size, seed=seed) for seed, size in enumerate(SIZES)]
    return [*plain, np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8)]


def assert_same(one, other):
    np.testing.assert_array_equal(one.mask, other.mask)
    assert (one.rejected, one.mask_rejected) == (other.rejected, other.mask_rejected)
    assert one.probability == pytest.approx(other.probability, abs=1e-6)
    assert one.score == pytest.approx(other.score, abs=1e-6)


def test_a_decision_is_what_the_network_says_and_the_rule_makes_of_it():
    """An image of the frame's size, which is neither scaled nor padded, by hand."""
    image = surface(32, 48, seed=5)
    network, ema = tiny_network(tiny_config())
    normalised = (image[None, ..., None] / 255 - 0.4) / 0.2
    outputs = network.apply(ema, jnp.asarray(normalised, jnp.float32), train=False)
    probability = special.expit(outputs.mask_logits).mean(0)[0, ..., 0]
    logit = float(outputs.label_logits[0])
    decision = tiny_predictor().predict(image)
    assert decision.score == pytest.approx(special.expit(logit), abs=1e-5)
    assert decision.probability == pytest.approx(special.expit(logit / 1.5), abs=1e-5)
    assert decision.rejected == (special.expit(logit) >= RULE.threshold)
    assert decision.mask_score == pytest.approx(probability.max(), abs=1e-5)
    marked = probability >= RULE.pixel_threshold
    assert marked.any() and not marked.all() and probability.max() >= RULE.mask_threshold
    np.testing.assert_array_equal(decision.mask, marked)


def test_an_image_is_decided_alone_as_among_others(predictor, images):
    together = predictor.predict(images)
    assert [decision.mask.shape for decision in together] == [image.shape for image in images]
    assert len({decision.rejected for decision in together}) == 2  # or all could be one constant
    assert any(decision.mask.any() for decision in together)
    for image, decision in zip(images, together, strict=True):
        assert_same(predictor.predict(image), decision)
    for decision, reversed_one in zip(together, predictor.predict(images[::-1])[::-1], strict=True):
        assert_same(decision, reversed_one)


def test_the_batch_size_changes_nothing(predictor, images):
    other = tiny_predictor(batch_size=16)
    assert other.batch_size != predictor.batch_size
    for one, two in zip(predictor.predict(images), other.predict(images), strict=True):
        assert_same(one, two)


def test_eight_devices_decide_as_one(predictor, images):
    eight = tiny_predictor(mesh=make_mesh(8, 1))
    assert (predictor.mesh.size, eight.mesh.size, eight.batch_size) == (1, 8, 8)
    for one, two in zip(predictor.predict(images), eight.predict(images), strict=True):
        assert_same(one, two)


def test_threads_share_a_predictor(predictor, images):
    alone = [predictor.predict(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for one, two in zip(pool.map(predictor.predict, images), alone, strict=True):
                assert_same(one, two)


def test_grey_is_widened_to_what_the_network_knows():
    colour = tiny_predictor(**{"data_info.channels": 3, "data_info.bit_depth": 16})
    grey = surface(40, 50)
    wide = np.repeat(grey[..., None], 3, axis=2)
    deep = wide.astype(np.uint16) * 257
    for image in (grey[..., None], wide, deep):
        assert_same(colour.predict(image), colour.predict(grey))
    batch = np.stack([wide, wide[::-1]])
    for one, two in zip(colour.predict(batch), colour.predict(list(batch)), strict=True):
        assert_same(one, two)
    assert colour.predict([]) == []


class Tensor:
    """What PyTorch's tensors show of themselves, on the CPU or where NumPy cannot reach them."""

    def __init__(self, array, reason=None):
        self.array, self.reason, self.shape = array, reason, array.shape

    def __array__(self, dtype=None, copy=None):
        if self.reason:
            raise TypeError(self.reason)
        return self.array

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return iter(self.array)


@pytest.mark.parametrize(
    "form",
    [
        jnp.asarray,
        Tensor,
        Image.fromarray,
        lambda array: array[..., None],
        lambda array: (array.astype(np.uint16) * 257).astype(">u2"),
    ],
    ids=["jax", "tensor", "pillow", "channels", "byte order"],
)
@pytest.mark.parametrize("shape", [(48, 32), (3, 32), (1, 3)])
def test_an_array_is_one_image_whoever_made_it(form, shape):
    """An array of JAX, or a tensor, was once taken for as many images as it has rows."""
    colour = tiny_predictor(**{"data_info.channels": 3, "data_info.bit_depth": 16})
    grey = surface(*shape)
    given = form(grey)
    if getattr(given, "dtype", None) == ">u2":
        grey = grey.astype(np.uint16) * 257
    assert_same(colour.predict(given), colour.predict(grey))
    together = colour.predict([given, grey])
    assert len(together) == 2
    assert_same(*together)


@pytest.mark.parametrize("form", [jnp.asarray, Tensor, list, tuple])
def test_an_array_of_four_axes_and_a_list_are_several_images(form):
    colour = tiny_predictor(**{"data_info.channels": 3})
    batch = np.stack([surface(32, 48, channels=3, seed=seed) for seed in (0, 5)])
    for one, other in zip(colour.predict(form(batch)), colour.predict(batch), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"the image: has shape \[4, 4, 2\]"),
        (np.zeros(4, np.uint8), r"the image: has shape \[4\]"),
        (np.zeros((0, 4), np.uint8), r"the image: has shape \[0, 4\]"),
        (np.zeros((4, 4), np.float32), "the image: holds float32: give uint8 or uint16"),
        (np.eye(3, dtype=np.uint8)[None], "the image: has 3 channels of 8 bit"),
        (np.zeros((4, 4), np.uint16), "the image: has 1 channels of 16 bit"),
        ([np.zeros((4, 4), np.uint8), np.zeros(4, np.uint8)], "image 1: has shape"),
        (np.zeros((3, 40, 50), np.uint8), r"has shape \[3, 40, 50\] \(channels come last\)"),
        (np.zeros((2, 3, 40, 50), np.uint8), r"image 0: has shape \[3, 40, 50\] \(channels"),
        (np.zeros((1, 1, 4, 4, 1), np.uint8), r"image 0: has shape \[1, 4, 4, 1\]"),
        (np.uint8(3), r"the image: has shape \[\]"),
        (np.zeros((4, 4), np.uint8).tolist(), "image 0: is of type list: give an array"),
        ("part.png", "the image: is of type str: give an array"),
        (b"\x89PNG", "the image: is of type bytes"),
        (memoryview(np.zeros((4, 4), np.uint8)), "the image: is of type memoryview"),
        (None, "the image: is of type NoneType"),
        ({"image": 3}, "the image: is of type dict"),
        (["part.png"], "image 0: is of type str"),
        (np.zeros((4, 4), bool), "the image: holds bool"),
        (np.zeros((4, 4), np.int8), "the image: holds int8"),
        (np.zeros((4, 4), object), "the image: holds object"),
        (np.ma.zeros((4, 4), np.uint8), "the image: is a masked array"),
        ([np.ma.zeros((4, 4), np.uint8)], "image 0: is a masked array"),
        (Tensor(np.zeros((4, 4)), "on cuda:0: use .cpu()"), r"array \(on cuda:0: use \.cpu"),
        (Image.new("P", (4, 4)), "the image: is a Pillow image of mode P: convert it to L or RGB"),
        (Image.new("CMYK", (4, 4)), "a Pillow image of mode CMYK"),
        (Image.new("YCbCr", (4, 4)), "a Pillow image of mode YCbCr"),
        (Image.new("LA", (4, 4)), "a Pillow image of mode LA"),
        (Image.new("1", (4, 4)), "a Pillow image of mode 1"),
        ([Image.new("HSV", (4, 4))], "image 0: is a Pillow image of mode HSV"),
        (jax.ShapeDtypeStruct((4, 4), np.uint8), "the image: is of type ShapeDtypeStruct"),
    ],
)
def test_images_that_cannot_be_used_are_refused(predictor, image, says):
    with pytest.raises(UserError, match=says):
        predictor.predict(image)


def test_classes_and_networks_without_a_head():
    classes = tiny_predictor(**{"model.num_classes": 3, "data_info.classes": ["a", "b", "c"]})
    assert set(np.unique(classes.predict(surface(60, 60)).mask)) <= {0, 1, 2, 3}
    headless = tiny_predictor(**{"model.classification_head": False})
    decision = headless.predict(surface(32, 48))
    assert decision.score == decision.mask_score


@given(st.integers(1, 40_000))
def test_a_canvas_is_a_quarter_longer_at_most(side):
    canvas = canvas_side_px(side)
    assert side <= canvas <= max(32, 1.25 * side) and canvas % 8 == 0


def test_few_canvases_serve_all_sizes(predictor):
    assert len({canvas_side_px(side) for side in range(1, 10_001)}) < 40
    compiled = predictor._marker._program_on.cache_info
    for height in range(81, 96):
        predictor.predict(surface(height, 90))
    before = compiled().misses
    predictor.predict(surface(88, 83))
    assert compiled().misses == before


def test_programs_of_canvases_are_few_and_are_let_go(monkeypatch):
    """200 sizes once left 119 compiled programs and 390 MB behind."""
    monkeypatch.setattr("defect_jax.deploy.markers.MOST_CANVASES", 2)
    network, ema = tiny_network(config := tiny_config())
    predictor = Predictor(network, config, ema, RULE, one_device_mesh())
    program = weakref.ref(predictor._marker._program_on((32, 32)))
    assert predictor._marker._program_on((32, 32)) is program()
    for canvas in ((32, 40), (40, 40)):
        predictor._marker._program_on(canvas)
    gc.collect()
    assert program() is None and predictor._marker._program_on.cache_info().currsize == 2


def test_a_network_that_does_not_fit_into_the_memory_is_refused_before_it_runs(monkeypatch):
    predictor = tiny_predictor(batch_size=5)
    free = FreeMemory(1000, "this machine")
    monkeypatch.setattr(memory, "free_bytes", lambda: free)
    for count in (1, 5):
        says = f"the network on {count} images at once needs .* GB more memory, .*: end other"
        with pytest.raises(UserError, match=says):
            predictor.predict([surface(40, 60)] * min(count, 2))
    monkeypatch.setattr(memory, "free_bytes", lambda: FreeMemory(10**9, "this machine"))
    assert predictor.predict(surface(40, 60)).mask.shape == (40, 60)


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config\.json: not there; train first"):
        load(tmp_path)
