"""Intensities: the same images at any scale and offset are the same to the network."""

import jax
import numpy as np
import pytest
import raw_data
from forked import leave_plots_empty
from hypothesis import given
from hypothesis import strategies as st
from tiny_predictor import RULE, surface, tiny_config, tiny_network

from defect_jax.configs import folder
from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.intensity import IntensityRange
from defect_jax.data.pipeline.batches import evaluation_batches, training_batches
from defect_jax.data.prepare.data_info import EVEN, MOST_IMAGES, Intensity, data_info, intensities
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.prepared import Split, SplitRow
from defect_jax.deploy.predictor import Predictor
from defect_jax.deploy.program import make_program
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.runtime.errors import UserError
from defect_jax.training.train import train
from defect_jax.workdir.run_config import claim, resolve

# Counts of images whose 8-bit values are v: 16-bit files with 8, 10, 12 and 16 bits, thermal ones.
SCALES = {
    "8 bit": lambda v: v,
    "8 in 16": lambda v: v.astype(np.uint16),
    "10 in 16": lambda v: v.astype(np.uint16) * 4,
    "12 in 16": lambda v: v.astype(np.uint16) * 16,
    "16, left": lambda v: v.astype(np.uint16) * 256,
    "16, widened": lambda v: v.astype(np.uint16) * 257,
    "thermal": lambda v: v.astype(np.uint16) * 8 + 7000,
    "odd": lambda v: v.astype(np.uint16) * 37 + 12345,
}


def intensity(split, bit_depth):
    """That of images of one light."""
    (only,) = intensities(split, bit_depth)
    return only


def split_of(*images):
    rows = [SplitRow(str(n), str(n), "good", 0, *i.shape[:2], 0) for n, i in enumerate(images)]
    return Split([{"image": raw_data.encoded(i), "ignored": b""} for i in images], rows)


def surfaces(count=15, seed=0):
    """Dark images of uneven sizes, values 20 to 90 and a brighter defect in every third."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        image = rng.integers(20, 91, (40 + number % 3, 44 - number % 2)).astype(np.uint8)
        mask = np.zeros(image.shape, np.uint8)
        if number % 3 == 0:
            top, left = rng.integers(0, 30, 2)
            mask[top : top + 6, left : left + 5] = 255
            image[mask > 0] += 70
        yield image, mask


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """Scale -> config and splits of a folder with the same images at that scale."""
    path, made = tmp_path_factory.mktemp("scales"), {}
    for name, scaled in SCALES.items():
        config = folder.get_config("debug").copy_and_resolve_references().unlock()
        config.data.root, config.data.data_dir = str(path / name), str(path / "prepared")
        config.model.update(widths=(4, 8), decoder="unet", attention="none")
        for number, (image, mask) in enumerate(surfaces()):
            raw_data.write(path / name / f"images/{number:02}.png", scaled(image))
            if mask.any():
                raw_data.write(path / name / f"masks/{number:02}.png", mask)
        prepared = prepare(config.data)
        made[name] = resolve(config, data_info(prepared, 1)), prepared.splits
    return made


def on_host(batch):
    return jax.tree.map(np.asarray, batch)


def batches_of(config, splits):
    training = training_batches(splits["train"], config, range(8), on_host, 0)
    stream = InputSpec.of(config), config.data, config.train.batch_size, on_host
    return [next(training), next(training), *evaluation_batches(splits["test"], *stream)]


@pytest.mark.parametrize("scale", list(SCALES)[1:])
def test_the_same_images_at_any_scale_and_offset_are_the_same_to_the_network(ready, scale):
    """Frames scaled, placed and changed at random, bit by bit: all that a network learns from."""
    (one, splits), (two, others) = ready["8 bit"], ready[scale]
    counts = SCALES[scale](np.array([one.data_info.low, one.data_info.high]))
    assert [two.data_info.low, two.data_info.high] == counts.tolist()
    for name in ("mean", "std"):
        assert two.data_info[name] == one.data_info[name]
    for ours, theirs in zip(batches_of(one, splits), batches_of(two, others), strict=True):
        assert ours["image"].dtype == np.float32
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_runs_on_the_same_images_at_two_scales_end_alike(ready, tmp_path, monkeypatch):
    leave_plots_empty(monkeypatch.setattr)
    metrics = []
    for scale in ("8 bit", "thermal"):
        config = ready[scale][0].copy_and_resolve_references()
        config.train.update(steps=4, eval_every_steps=4)
        train(config, tmp_path / scale)
        lines = (tmp_path / scale / "metrics.jsonl").read_text().splitlines()
        metrics.append([line.partition(', "seconds')[0] for line in lines])
    assert metrics[0] == metrics[1]


def test_range_mean_and_deviation_are_those_of_the_training_images(ready):
    config, splits = ready["12 in 16"]
    info = config.data_info
    pixels = [one for one, _ in surfaces()]
    ids = {row.id: int(row.id.split("/")[1]) for row in splits["train"].rows}
    images = [pixels[number].astype(float) * 16 for number in ids.values()]
    assert len(images) < MOST_IMAGES
    weights = np.concatenate([np.full(image.size, 1 / image.size) for image in images])
    pooled = np.concatenate([image.ravel() for image in images])
    range_ = np.quantile(pooled, [0.001, 0.999], method="inverted_cdf", weights=weights)
    assert [info.low, info.high] == range_.tolist() and info.high < pooled.max()
    shares = [(image - info.low) / (info.high - info.low) for image in images]
    mean = np.mean([each.mean() for each in shares])
    assert info.mean == pytest.approx(mean, abs=6e-5)
    square = np.mean([np.square(each).mean() for each in shares])
    assert info.std == pytest.approx(np.sqrt(square - mean**2), abs=6e-5)


@given(
    st.lists(st.integers(0, 255), min_size=2, max_size=40).filter(lambda v: len(set(v)) > 1),
    st.integers(1, 200),
    st.integers(0, 10000),
)
def test_an_affine_map_of_the_counts_changes_no_share(values, factor, offset):
    image = np.array([values, values[::-1]], np.uint8)
    mapped = image.astype(np.uint16) * factor + offset
    one, two = intensity(split_of(image), 8), intensity(split_of(mapped), 16)
    assert two == (one.low * factor + offset, one.high * factor + offset, one.mean, one.std)
    ranges = IntensityRange(one.low, one.high), IntensityRange(two.low, two.high)
    shares = ranges[0].shares(image), ranges[1].shares(mapped)
    np.testing.assert_array_equal(*shares)
    np.testing.assert_array_equal(ranges[1].counts(shares[1], np.uint16), mapped)


def even_but_one():
    image = np.full((64, 64), 300, np.uint16)
    image[5, 5] = 500
    return image


def ramp(hot=0):
    image = np.linspace(100, 4000, 64 * 64).reshape(64, 64).astype(np.uint16)
    image.flat[:hot] = 65535
    return image


@pytest.mark.parametrize(
    ("images", "low", "high"),
    [
        ([ramp(hot=2)] * 3, 106, 3998),  # of 4096 pixels: 4 are darker, 4 brighter or hot
        ([ramp(), ramp(), ramp() + np.uint16(8000)], 105, 11988),  # one bright image among dark
        ([even_but_one()], 300, 500),  # nearly all is one value: the rest decides
        ([ramp() + np.uint16(61000)], 61104, 64996),  # far above zero
    ],
    ids=["hot pixels", "one bright image", "nearly even", "offset"],
)
def test_the_range_is_that_of_nearly_all_pixels(images, low, high):
    found = intensity(split_of(*images), 16)
    assert abs(found.low - low) <= 2 and abs(found.high - high) <= 2
    assert EVEN <= found.std and np.isfinite(found).all()


def test_images_of_one_value_are_refused_and_a_large_split_is_sampled():
    split = Split(split_of(even_but_one()).source * 1000, split_of(even_but_one()).rows * 1000)
    assert intensity(split, 16) == Intensity(300, 500, 0.0002, 0.0156)
    even = split_of(*[np.full((4, 4), 13107, np.uint16)] * 3)
    with pytest.raises(UserError, match="every training image holds the value 13107 and nothing"):
        intensity(even, 16)


def test_a_network_from_before_learnt_shares_of_what_a_file_can_hold(ready, tmp_path):
    for bits, top in ((8, 255), (16, 65535)):
        old = tiny_config(**{"data_info.bit_depth": bits})
        assert InputSpec.of(old).intensity == IntensityRange(0, top)
        dtype = InputSpec.of(old).dtype
        image = np.arange(0, top, max(1, top // 999), dtype)[None, :, None]
        before = image.astype(np.float32) / np.iinfo(dtype).max
        np.testing.assert_array_equal(IntensityRange(0, top).shares(image), before)
    config = ready["12 in 16"][0]
    old = config.copy_and_resolve_references()
    del old.data_info.low, old.data_info.high
    claim(tmp_path, old)
    with pytest.raises(
        UserError, match="an earlier version trained this workdir, .* choose another"
    ):
        claim(tmp_path, config)


@pytest.mark.parametrize("tile_overlap_px", [0, 16], ids=["scaled", "tiles"])
def test_predictor_and_program_take_what_the_training_images_hold(tile_overlap_px):
    """The same image at three scales; and a defect that is brighter than all in training."""
    scores = []
    for low, factor, bits in ((0, 1, 8), (0, 16, 16), (7000, 8, 16)):
        info = {"low": low, "high": low + 255 * factor, "bit_depth": bits}
        changes = {f"data_info.{name}": value for name, value in info.items()}
        config = tiny_config(**changes, **{"data.tile_overlap_px": tile_overlap_px})
        network, ema = tiny_network(config)
        predictor = Predictor(network, config, ema, RULE, one_device_mesh(), 4)
        program = jax.jit(make_program(network, config, ema, RULE))
        image = (surface(40, 60, seed=5) * np.uint16(factor) + low).astype(predictor.spec.dtype)
        decision = predictor.predict(image)
        deployed = program(image[None, ..., None])
        assert float(deployed.score[0]) == pytest.approx(decision.score, abs=2e-5)
        scores.append((decision.score, decision.mask_score))
        if bits == 16:
            brighter = image.copy()
            brighter[10:16, 10:16] = info["high"] + 300 * factor
            beyond = predictor.predict(np.minimum(brighter, info["high"]))
            assert predictor.predict(brighter).score != beyond.score
    assert scores[0] == scores[1] == scores[2]
