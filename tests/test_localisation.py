"""Localisation: its grid, how it is written into the network, and which gradients may pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from scipy import ndimage, special
from tiny_networks import TINY, class_batch, evaluate, every_part, images, shake

from defect_jax.balance import task_gradients
from defect_jax.models.initialise import initial_variables
from defect_jax.models.localisation import Embedding, HighestCell, fitted, on_pixels
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.errors import UserError
from defect_jax.training.tasks import CLASSIFICATION, LOCALISATION, SEGMENTATION, task_losses

SHAPE = (2, 16, 16, 1)
ARRIVING = {"localiser", "embedder", "highest_cell"}  # parameters that localisation brings


# Every pair of values occurs in one of these rows.
STARTING = [
    ("unet", "none", "backbone", "float32"),
    ("unet", "scse", "encoder", "bfloat16"),
    ("unet", "gates", "backbone", "bfloat16"),
    ("unetplusplus", "none", "encoder", "bfloat16"),
    ("unetplusplus", "scse", "backbone", "float32"),
    ("unetplusplus", "gates", "encoder", "float32"),
]


@pytest.mark.parametrize("decoder, attention, source, dtype", STARTING)
def test_an_untrained_embedding_changes_nothing(decoder, attention, source, dtype):
    plain = SegmentationNetwork(
        decoder, (4, 8), attention, dtype=dtype, num_classes=3, pixel_confidence="learnt"
    )
    full = plain.clone(localisation=source, localisation_widths=(3, 4, 5), embedding=True)
    image = images(*SHAPE)
    variables = [initial_variables(network, SHAPE, 5) for network in (plain, full)]
    few, many = map(flatten_dict, variables)
    assert {path[1] for path in many.keys() - few.keys()} == ARRIVING and not few.keys() - many
    for path, value in few.items():
        np.testing.assert_array_equal(many[path], value, err_msg=str(path))
    apply = jax.jit(lambda values: full.apply(values, image, train=False))
    without, with_grid = evaluate(plain, variables[0], image), apply(variables[1])
    for field in ("mask_logits", "refined_logits"):
        same = getattr(without, field), getattr(with_grid, field)
        np.testing.assert_array_equal(*same, err_msg=field)
    # The compiler merges the product into the label's mean, and rounds otherwise.
    rounding = {"rtol": 0.0, "atol": 1e-6 if dtype == "float32" else 1e-3}
    np.testing.assert_allclose(with_grid.label_logits, without.label_logits, **rounding)
    assert without.cell_logits is None and with_grid.cell_logits.shape[0] == 2

    many = variables[1] | {"params": dict(variables[1]["params"])}
    for name in ("embedder", "highest_cell"):
        many["params"][name] = shake(many["params"][name])
    learnt = apply(many)
    np.testing.assert_array_equal(learnt.cell_logits, with_grid.cell_logits)
    for field in ("mask_logits", "label_logits", "refined_logits"):
        assert not np.array_equal(getattr(learnt, field), getattr(without, field)), field


def fitted_by_hand(cells, height):
    """Bilinear between the cells' centres upwards, one doubling after the other; highest of four
    downwards."""
    cells = np.float64(cells)
    while cells.shape[1] < height:
        for axis in (1, 2):
            size = cells.shape[axis]
            at = (np.arange(2 * size) + 0.5) / 2 - 0.5
            cells = np.apply_along_axis(
                lambda line, at=at, size=size: np.interp(at, np.arange(size), line), axis, cells
            )
    while cells.shape[1] > height:
        b, h, w, c = cells.shape
        cells = cells.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
    return cells


@pytest.mark.parametrize("height", [1, 2, 4, 8, 16])
def test_the_grid_is_fitted_to_any_row(height):
    cells = images(2, 4, 8, 1)
    actual = fitted(cells, height)
    assert actual.shape == (2, height, 2 * height, 1)
    np.testing.assert_allclose(actual, fitted_by_hand(cells, height), rtol=1e-6, atol=1e-6)


def test_on_pixels_is_a_probability_without_gradient():
    cells = 3.0 * images(2, 2, 3, 1)
    expected = fitted_by_hand(special.expit(np.float64(cells)), 8)
    np.testing.assert_allclose(on_pixels(cells, 8), expected, rtol=1e-6)
    assert not np.any(jax.grad(lambda cells: on_pixels(cells, 8).sum())(cells))


@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_the_embedding_multiplies_the_three_deepest_rows(dtype, rtol):
    sizes = [(32, 3), (16, 4), (8, 5), (4, 6), (2, 7)]
    features = [images(2, side, side, c, seed=side).astype(dtype) for side, c in sizes]
    cells = 2.0 * images(2, 4, 4, 1)
    module = Embedding()
    start = module.init(jax.random.key(0), features, cells, first=2)["params"]
    assert {name: row["gain"].tolist() for name, row in start.items()} == {
        f"gain_{row}": [0.0] * sizes[row][1] for row in (2, 3, 4)
    }
    unwritten = module.apply({"params": start}, features, cells, first=2)
    for before, after in zip(features, unwritten, strict=True):
        np.testing.assert_array_equal(after, before)
    params = shake(start)
    written = module.apply({"params": params}, features, cells, first=2)
    found = special.expit(np.float64(cells))
    for row, (before, after) in enumerate(zip(features, written, strict=True)):
        assert after.dtype == before.dtype
        if row < 2:
            np.testing.assert_array_equal(after, before)
            continue
        gain = np.float64(params[f"gain_{row}"]["gain"])
        expected = np.float64(before) * (1.0 + gain * fitted_by_hand(found, sizes[row][0]))
        np.testing.assert_allclose(np.float64(after), expected, rtol=rtol)


def test_the_highest_cell_moves_the_label_by_a_learnt_multiple():
    cells, module = 2.0 * images(3, 2, 4, 1), HighestCell()
    params = module.init(jax.random.key(0), cells)["params"]
    assert module.apply({"params": params}, cells).tolist() == [0.0] * 3
    params["gain"]["gain"] += 1.5
    highest = special.expit(np.float64(cells)).max(axis=(1, 2, 3))
    np.testing.assert_allclose(module.apply({"params": params}, cells), 1.5 * highest, rtol=1e-6)


@pytest.mark.parametrize(
    "widths, source, cells",
    [
        ((4, 8), "encoder", 32),  # px a side / 2 a row
        ((4, 4, 4, 4, 4, 4), "encoder", 4),  # the fifth row, not the deepest
        ((4, 8), "backbone", 8),
    ],
)
def test_cells_of_the_grid(widths, source, cells):
    network = SegmentationNetwork(
        "unet", widths, norm="group", localisation=source, localisation_widths=(2, 2, 2, 2)
    )
    image = jax.ShapeDtypeStruct((2, 64, 128, 1), jnp.float32)
    outputs, variables = jax.eval_shape(
        lambda x: network.init_with_output(jax.random.key(0), x, train=False), image
    )
    assert outputs.cell_logits.shape == (2, cells, 2 * cells, 1)
    assert ("backbone" in variables["params"]["localiser"]) == (source == "backbone")


def test_on_the_encoder_the_size_need_only_fit_the_encoder():
    network = SegmentationNetwork("unet", (4, 8), localisation="encoder")  # its widths are unused
    image = jax.ShapeDtypeStruct((1, 6, 10, 1), jnp.float32)
    outputs = jax.eval_shape(
        lambda x: network.init_with_output(jax.random.key(0), x, train=False)[0], image
    )
    assert outputs.cell_logits.shape == (1, 3, 5, 1)


def test_a_size_that_does_not_fit_the_backbone_is_one_line():
    network = SegmentationNetwork("unet", (4, 8), localisation="backbone")
    image = jax.ShapeDtypeStruct((1, 24, 32, 1), jnp.float32)
    with pytest.raises(UserError, match="divisible by 16: height 24"):
        jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), image)


@pytest.mark.parametrize("source", ["backbone", "encoder"])
def test_without_a_decoder_the_mask_is_the_grid(source):
    network = SegmentationNetwork(
        "grid", TINY, classification_head=False, localisation=source, localisation_widths=TINY
    )
    variables = shake(initial_variables(network, SHAPE, 0))
    inside = {"localiser"} if source == "backbone" else {"localiser", "encoder"}
    assert set(variables["params"]) == inside
    outputs = evaluate(network, variables, images(*SHAPE))
    assert outputs.label_logits is None and outputs.refined_logits is None
    expected = fitted_by_hand(outputs.cell_logits, 16)[None]
    np.testing.assert_allclose(outputs.mask_logits, expected, rtol=1e-5)


def gradients(config, *tasks):
    """Task -> gradient tree of its loss, for variables off their initial values."""
    network = SegmentationNetwork(**config.model)
    variables = shake(initial_variables(network, SHAPE, 0))
    batch = {name: jnp.asarray(value) for name, value in class_batch(2).items()}

    def losses(params):
        outputs, _ = network.apply(
            variables | {"params": params}, images(*SHAPE), train=True, mutable=["batch_stats"]
        )
        return task_losses(outputs, batch, config)

    def trees(params):
        found = task_gradients(losses, params).gradients
        return {task: found[task] for task in tasks}

    found = jax.jit(trees)(variables["params"])
    return {task: flatten_dict(tree) for task, tree in found.items()}


def moving(gradient, *below):
    """Paths below some modules whose gradient is not exactly zero."""
    return {path for path, leaf in gradient.items() if path[0] in below and np.any(leaf)}


WAYS = {  # in which localisation reaches the other tasks -> how that one alone is left
    "embedding": {"loss.weight_localised": False},
    "pixel weights": {"model.embedding": False},
}


@pytest.fixture(scope="module", params=["backbone", "encoder"])
def joint(request):
    """The source, and the gradients of all tasks in a network that has every part."""
    config = every_part(request.param)
    return request.param, gradients(config, SEGMENTATION, CLASSIFICATION, LOCALISATION)


def test_the_localiser_learns_from_its_own_loss_alone(joint):
    source, found = joint
    every = {path for path in found[LOCALISATION] if path[0] == "localiser"}
    assert moving(found[SEGMENTATION], "localiser") == set()
    assert moving(found[CLASSIFICATION], "localiser") == set()
    assert moving(found[LOCALISATION], "localiser") == every
    # On the shared encoder its loss moves the encoder and nothing else; apart, not even that.
    others = {path[0] for path in found[LOCALISATION]} - {"localiser", "encoder"}
    assert moving(found[LOCALISATION], *others) == set()
    assert bool(moving(found[LOCALISATION], "encoder")) == (source == "encoder")


@pytest.mark.parametrize("way", WAYS)
def test_each_way_would_pass_a_gradient_if_it_were_not_stopped(way, monkeypatch):
    monkeypatch.setattr(jax.lax, "stop_gradient", lambda x: x)
    alone = {"model.num_classes": 1, "model.pixel_confidence": "none"}
    found = gradients(every_part("backbone", **alone, **WAYS[way]), SEGMENTATION, CLASSIFICATION)
    assert moving(found[SEGMENTATION], "localiser")
    assert bool(moving(found[CLASSIFICATION], "localiser")) == (way == "embedding")


def test_every_parameter_learns_from_one_of_the_tasks(joint):
    _, found = joint
    for gradient in found.values():
        for path, leaf in gradient.items():
            assert np.isfinite(leaf).all(), path
    still = [
        path for path in found[SEGMENTATION] if not any(np.any(g[path]) for g in found.values())
    ]
    assert still == []
    assert moving(found[SEGMENTATION], "embedder", "refiner")
    assert moving(found[CLASSIFICATION], "highest_cell")


def test_the_grid_marks_what_a_bright_patch_shows():
    """The cell logits are where the image is: no axis is swapped or mirrored."""
    network = SegmentationNetwork(
        "unet", (4, 8), norm="group", localisation="backbone", localisation_widths=(4, 4, 4)
    )
    variables = initial_variables(network, (1, 32, 48, 1), 0)
    still = evaluate(network, variables, jnp.zeros((1, 32, 48, 1))).cell_logits
    image = jnp.zeros((1, 32, 48, 1)).at[0, 20:24, 40:44].set(5.0)
    moved = np.abs(evaluate(network, variables, image).cell_logits - still)[0, ..., 0]
    assert moved.shape == (8, 12)
    row, column = ndimage.maximum_position(moved)
    assert abs(row - 5) <= 1 and abs(column - 10) <= 1
