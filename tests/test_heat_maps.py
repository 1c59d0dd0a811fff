"""Why an image was rejected: its heat map, its regions, and both drawn over it."""

import json
import pickle

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage, special
from test_predict import entries, png
from tiny_predictor import RULE, surface, tiny_config, tiny_network, tiny_predictor

from defect_jax.data.files.record_encoding import decode_classes
from defect_jax.decision.heat import MARKED, heat_map
from defect_jax.decision.record import REJECTS_NOTHING
from defect_jax.deploy import predict as mode
from defect_jax.deploy.drawings import as_jpeg, heat_layer, overlay, tinted
from defect_jax.deploy.regions import Region, find_regions
from defect_jax.report.colours import DECIDED_RGB, HEAT_RGBA
from defect_jax.runtime.errors import UserError

PROBABILITY = st.floats(0, 1, width=32).map(np.float32)
EIGHT_NEIGHBOURS = np.ones((3, 3))
TILES = {"data.tile_overlap_px": 16}
THREE_CLASSES = {"model.num_classes": 3, "data_info.classes": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("threshold", "probability", "heat"),
    [
        (0.5, [0, 0.25, 0.4999, 0.5, 0.75, 1, 1.001], [1, 64, 127, 128, 191, 255, 255]),
        (0.0, [0, 0.5, 1], [128, 191, 255]),
        (1.0, [0, 0.5, 0.99, 1], [1, 64, 126, 128]),
        (REJECTS_NOTHING, [0, 0.5, 1], [1, 32, 64]),
        (0.5, [np.nan, np.inf, -np.inf], [255, 255, 255]),
    ],
)
def test_heat_is_the_formula(threshold, probability, heat):
    given = np.array(probability, np.float32), np.float32(threshold)
    assert heat_map(*given).tolist() == heat
    assert jax.jit(heat_map)(*given).tolist() == heat
    judged = np.arange(len(heat)) > 0
    assert heat_map(*given, judged).tolist() == [0, *heat[1:]]


@given(arrays.arrays(np.float32, 40, elements=st.floats(0, 1, width=32)), PROBABILITY)
def test_heat_rises_with_the_probability_and_is_marked_from_the_threshold_on(found, threshold):
    found = np.append(found, threshold)
    heat = heat_map(found, threshold)
    assert heat.min() >= 1  # 0 is what is not judged
    np.testing.assert_array_equal(heat >= MARKED, found >= threshold)
    assert (np.diff(heat[np.argsort(found)].astype(int)) >= 0).all()


def test_regions_of_a_mask_drawn_by_hand():
    mask = np.zeros((20, 30), np.uint8)
    mask[2:5, 3:7] = 1  # a block
    mask[10, 10], mask[11, 11], mask[12, 10] = 2, 2, 1  # they touch by corners
    mask[19, 29] = 1  # the last pixel
    probability = np.where(mask, 0.5, 0.9).astype(np.float32)
    probability[4, 6], probability[11, 11] = 0.625, 0.75
    found = find_regions(mask, probability[mask > 0], ["pit", "crack"])
    assert found == [
        Region((10, 10, 2, 3), 3, "crack", 0.75),
        Region((3, 2, 4, 3), 12, "pit", 0.625),
        Region((29, 19, 1, 1), 1, "pit", 0.5),
    ]
    assert find_regions(mask * np.uint8(0), np.zeros(0, np.float32), ["pit", "crack"]) == []


def by_scipy(mask, probability=None):
    """Box, area and highest probability of each region, in any order."""
    labelled, count = ndimage.label(mask > 0, EIGHT_NEIGHBOURS)
    places = range(1, count + 1)
    boxes = [
        (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        for rows, columns in ndimage.find_objects(labelled)
    ]
    areas = ndimage.sum_labels(mask > 0, labelled, places).astype(int).tolist() if count else []
    if probability is None:
        return sorted(zip(boxes, areas, strict=True))
    scores = ndimage.maximum(probability, labelled, places).tolist() if count else []
    return sorted(zip(boxes, areas, scores, strict=True))


@given(arrays.arrays(np.uint8, (9, 13), elements=st.sampled_from([0, 0, 0, 1, 2])), st.integers(0))
def test_regions_are_those_of_scipy(mask, seed):
    probability = np.random.default_rng(seed).random(mask.shape, np.float32)
    found = find_regions(mask, probability[mask > 0], ["pit", "crack"])
    assert sorted(region[:2] + region[3:] for region in found) == by_scipy(mask, probability)
    assert [region.score for region in found] == sorted((r.score for r in found), reverse=True)
    for region in found:
        left, top, width, height = region.box_px
        ids = mask[top : top + height, left : left + width]
        if len(set(ids[ids > 0].tolist())) == 1 and len(found) == 1:
            assert region.class_name == ["pit", "crack"][ids.max() - 1]


def test_the_heat_of_an_image_is_of_the_probabilities_that_the_network_gives():
    """An image of the frame's size, which is neither scaled nor padded, by hand."""
    image = surface(32, 48, seed=5)
    network, ema = tiny_network(tiny_config())
    normalised = (image[None, ..., None] / 255 - 0.4) / 0.2
    outputs = network.apply(ema, jnp.asarray(normalised, jnp.float32), train=False)
    probability = np.asarray(special.expit(outputs.mask_logits).mean(0)[0, ..., 0])
    decision = tiny_predictor().predict(image)
    expected = heat_map(probability, np.float32(RULE.pixel_threshold)).astype(int)
    assert np.abs(decision.heat_map - expected).max() <= 1  # a rounding may pass a step
    found = sorted(region[:2] for region in decision.regions())
    assert found == by_scipy(probability >= RULE.pixel_threshold)
    scores = [region.score for region in decision.regions()]
    assert scores == pytest.approx(
        sorted((s for *_, s in by_scipy(decision.mask, probability)), reverse=True), abs=1e-5
    )


@pytest.mark.parametrize("changes", [{}, TILES, THREE_CLASSES], ids=["scaled", "tiles", "classes"])
def test_heat_and_regions_agree_with_the_decision(changes):
    predictor = tiny_predictor(**changes)
    images = [surface(70, 90, seed=seed) for seed in range(4)]
    names, found = predictor.config.data_info.classes, predictor.predict(images)
    assert any(decision.mask.any() for decision in found)
    for decision in found:
        assert decision.heat_map.dtype == np.uint8
        if not decision.mask_rejected:
            assert decision.regions() == []
            continue
        np.testing.assert_array_equal(decision.heat_map >= MARKED, decision.mask > 0)
        regions = decision.regions()
        assert regions[0].score == decision.mask_score
        assert sorted(region[:2] for region in regions) == by_scipy(decision.mask)
        assert {region.class_name for region in regions} <= {
            names[id - 1] for id in np.unique(decision.mask) if id
        }


@pytest.mark.parametrize("changes", [{}, TILES], ids=["scaled", "tiles"])
def test_what_is_not_judged_has_no_heat(changes):
    ignored = np.zeros((70, 90), bool)
    ignored[:, 40:] = True
    decision = tiny_predictor(**changes).predict(surface(70, 90), ignored=ignored)
    np.testing.assert_array_equal(decision.heat_map == 0, ignored)


def test_a_decision_with_its_heat_can_be_copied_and_sent_to_another_process():
    decision = tiny_predictor().predict(surface(32, 48, seed=5))
    assert decision.regions()
    for copy in (pickle.loads(pickle.dumps(decision)), decision._replace(score=0.5)):
        np.testing.assert_array_equal(copy.heat_map, decision.heat_map)
        assert copy.regions() == decision.regions() and copy[:2] == decision[:2]


def test_an_overlay_tints_what_is_hot_and_leaves_the_rest():
    image = np.full((40, 40, 1), 128, np.uint8)
    heat = np.ones((40, 40), np.uint8)
    heat[18:22, 15:25] = 255
    drawn = overlay(image, heat >= MARKED, heat)
    red, green, blue, opacity = HEAT_RGBA[255].astype(float)
    share = opacity / 255
    hot = [128 * (1 - share) + share * channel for channel in (red, green, blue)]
    np.testing.assert_allclose(drawn[18:22, 15:25], np.broadcast_to(hot, (4, 10, 3)), atol=1.01)
    assert (drawn == DECIDED_RGB).all(axis=2).any()
    assert (drawn[:10] == 128).all() and (drawn[:, :10] == 128).all()
    plain = overlay(image, heat >= MARKED)
    assert (plain[18:22, 15:25] == 128).all()
    np.testing.assert_array_equal((plain == DECIDED_RGB).all(2), (drawn == DECIDED_RGB).all(2))


@given(st.integers(0, 255), st.integers(0, 255))
def test_a_tint_hides_no_surface_and_deepens_with_the_heat(low, high):
    opacity = HEAT_RGBA[:, 3].astype(int)
    assert (np.diff(opacity) >= 0).all() and opacity[:41].max() == 0 and opacity.max() < 128
    heat = np.array([[128]], np.uint8)
    dark, bright = (tinted(np.full((1, 1, 3), v, np.uint8), heat) for v in sorted((low, high)))
    assert (bright >= dark).all()


@pytest.mark.parametrize(
    ("size", "pixels"), [((300, 400), (180, 240)), ((20, 30), (20, 30)), ((1, 9000), (1, 240))]
)
def test_the_layer_of_a_page_is_small_and_clear_where_it_is_cold(size, pixels):
    heat = np.full(size, 200, np.uint8)
    heat[:, : size[1] // 2] = 1
    layer = cv2.imdecode(np.frombuffer(heat_layer(heat), np.uint8), cv2.IMREAD_UNCHANGED)
    assert layer.shape == (*pixels, 4)
    assert (layer[:, : pixels[1] // 2 - 1, 3] == 0).all()
    assert (layer[:, pixels[1] // 2 + 1 :, 3] == HEAT_RGBA[200, 3]).all()


@pytest.mark.parametrize(
    ("changes", "image"),
    [
        ({}, surface(40, 50)),
        ({"data_info.channels": 3}, surface(40, 50, 3)),
        ({"data_info.bit_depth": 16}, surface(40, 50, dtype=np.uint16)),
        (TILES, surface(40, 50)),
    ],
    ids=["grey", "colour", "deep", "tiles"],
)
def test_an_overlay_is_rgb_of_the_image_that_was_decided_on(changes, image):
    decision = tiny_predictor(**changes).predict(image)
    drawn = decision.overlay(image)
    assert drawn.shape == (40, 50, 3) and drawn.dtype == np.uint8
    with pytest.raises(UserError, match=r"has \[39, 50\] px, but \[40, 50\] px were decided on"):
        decision.overlay(image[1:])


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Runs the mode on four images, with a network that needs no training."""
    for number, size in enumerate([(32, 48), (50, 50), (70, 20), (64, 96)]):
        path = tmp_path / "in" / "line" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(surface(*size, seed=number)))

    def run(predictor=None, output="out", **how):
        predictor = predictor or tiny_predictor()
        monkeypatch.setattr(mode, "load", lambda *given: predictor)
        paths = str(tmp_path / "in"), str(tmp_path / output), tmp_path / "w"
        mode.predict(*paths, 1.0, False, **how)
        return tmp_path / output

    return run


@pytest.mark.parametrize("changes", [{}, TILES, THREE_CLASSES], ids=["scaled", "tiles", "classes"])
def test_predict_writes_heat_maps_and_regions(start, tmp_path, changes):
    predictor = tiny_predictor(**changes)
    output = start(predictor)
    assert any(entry["regions"] for entry in entries(output))
    for entry in entries(output):
        image = cv2.imread(str(tmp_path / "in" / entry["file"]), cv2.IMREAD_UNCHANGED)
        heat = decode_classes((output / f"heatmaps/{entry['id']}.png").read_bytes())
        difference = heat.astype(int) - predictor.predict(image).heat_map
        assert np.abs(difference).max() <= 1  # alone and in a batch are two programs
        mask = cv2.imread(str(output / f"masks/{entry['id']}.png"), cv2.IMREAD_GRAYSCALE)
        found = [(tuple(region["box_px"]), region["area_px"]) for region in entry["regions"]]
        assert sorted(found) == by_scipy(mask)
        highest = max((region["score"] for region in entry["regions"]), default=None)
        assert highest == (entry["mask_score"] if entry["mask_decision"] else None)
        assert {region["class"] for region in entry["regions"]} <= set(
            predictor.config.data_info.classes
        )
    page = (output / "gallery.html").read_text()
    assert page.count('<image class="heat"') == 4 and "Hide heat (H)" in page
    assert page.count("<dt>Surest one</dt>") == sum(bool(e["regions"]) for e in entries(output))


def test_predict_without_heat_maps_is_as_before(start):
    output, other = start(heat_maps=False), start(output="other")
    assert not (output / "heatmaps").exists()
    page = (output / "gallery.html").read_text()
    assert "data-heat aria" not in page and '<image class="heat"' not in page
    for entry, same in zip(entries(output), entries(other), strict=True):
        name = f"overlays/{entry['id']}.jpg"
        image = cv2.imread(str(output.parent / "in" / entry["file"]), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(output / f"masks/{entry['id']}.png"), cv2.IMREAD_GRAYSCALE)
        plain = (output / name).read_bytes()
        assert plain == as_jpeg(overlay(image[..., None], mask > 0)) != (other / name).read_bytes()
        assert entry["regions"] == same["regions"]
    with pytest.raises(UserError, match=r"holds results of another run \(heatmaps differs\)"):
        start()


@pytest.mark.parametrize(
    "edit",
    [
        lambda region: {"area_px": region["area_px"] + 1},
        lambda region: {"score": region["score"] / 2},
        lambda region: {"box_px": [10_000, *region["box_px"][1:]]},
        lambda region: {"box_px": region["box_px"][:3]},
        lambda region: {"box_px": [*region["box_px"][:2], 0, 0]},
        lambda region: {"class": 1},
        lambda region: {"more": 1},
    ],
)
def test_a_line_whose_regions_are_not_of_its_mask_is_decided_again(start, capsys, edit):
    output = start()
    whole = (output / "predictions.jsonl").read_bytes()
    lines = entries(output)
    spoilt = next(line for line in lines if line["regions"])
    spoilt["regions"][0] |= edit(spoilt["regions"][0])
    (output / "predictions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    capsys.readouterr()
    assert (start() / "predictions.jsonl").read_bytes() == whole
    assert "1 images in" in capsys.readouterr().err
