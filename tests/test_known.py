"""What a network knows of its images, from a prepared set to predict, Python and exported files."""

import copy
import csv
import html
import json
from functools import partial

import cv2
import jax
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict
from scipy import stats
from tiny_predictor import RULE, surface, tiny_network

from defect_jax.configs import synthetic
from defect_jax.data.files.images import decode_image
from defect_jax.data.geometry.region import as_text
from defect_jax.data.prepare.data_info import data_info
from defect_jax.data.prepare.folds import dealt_out, folds_of
from defect_jax.data.prepare.prepare import prepare
from defect_jax.decision.apply import Decision
from defect_jax.decision.look import WATCHED, Look
from defect_jax.decision.unlike import Known, of_parts
from defect_jax.deploy import batch_look, export, parity
from defect_jax.deploy import predict as mode
from defect_jax.deploy.onnx import to_onnx
from defect_jax.deploy.predictor import Predictor
from defect_jax.deploy.program import make_program, output_names
from defect_jax.deploy.watched_numbers import FEWEST_PARTS
from defect_jax.distributed.sharding import make_mesh, one_device_mesh, replicated
from defect_jax.evaluation import keep_known
from defect_jax.evaluation.keep_known import look_at
from defect_jax.evaluation.known import Looker, one_a_part
from defect_jax.runtime.errors import UserError
from defect_jax.workdir.best_weights import Trained
from defect_jax.workdir.run_config import resolve

NAMES = (*Decision._fields, "unlike")


def tiny(folder, **changes):
    config = ConfigDict(synthetic.get_config("debug").to_dict())
    config.model.update(decoder="unet", widths=(4, 8), attention="none")
    config.data.update(size=(32, 48), data_dir=str(folder))
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    config = tiny(tmp_path_factory.mktemp("data"))
    prepared = prepare(config.data)
    config = resolve(config, data_info(prepared, 1))
    return config, prepared, *tiny_network(config)


@pytest.fixture(scope="module")
def known(ready):
    config, prepared, _, ema = ready
    return look_at(config, prepared, jax.device_put(ema), one_device_mesh())


@pytest.fixture(scope="module")
def predictor(ready, known):
    config, _, network, ema = ready
    return Predictor(network, config, ema, RULE, one_device_mesh(), 4, known, 0.25)


def images_of(split):
    return [decode_image(record["image"]) for record in split.source]


def test_validation_parts_have_the_shares_of_their_own_ranks(ready, known, predictor):
    """By the predictor's own way: frames, batches and rounding are those of what was kept."""
    split = ready[1].splits["val"]
    decisions = predictor.predict(images_of(split))
    groups = [row.group for row in split.rows]
    least = {}
    for group, decision in zip(groups, decisions, strict=True):
        least[group] = min(least.get(group, 1.0), decision.unlike)
    parts = known.parts
    assert parts == len(least) and known.distances.shape == (1, parts)
    # The strangest part has itself alone to compare with, and the new image: 2 of n + 1.
    expected = (1 + np.arange(1, parts + 1)) / (parts + 1)
    np.testing.assert_allclose(sorted(least.values()), expected, atol=1.5 / (parts + 1))
    assert all(d.is_unlike == (d.unlike <= 0.25) for d in decisions)


def test_looks_are_those_of_the_pixels(ready, known, predictor):
    train, image = images_of(ready[1].splits["train"]), surface(32, 48, seed=7)
    look = predictor.predict(image).look
    median = np.median([each.mean() for each in train])
    # Training images are scaled into the frame, which rounds their mean a little.
    assert look.brightness == pytest.approx(image.mean() / median - 1, abs=0.01)
    brighter = predictor.predict(np.uint8(np.minimum(image * 1.2, 255))).look
    assert brighter.brightness == pytest.approx(1.2 * (1 + look.brightness) - 1, abs=0.01)
    assert brighter.sharpness == pytest.approx(look.sharpness, abs=0.03)


def test_a_monitor_of_the_predictor_knows_an_image_of_each_validation_part(ready, known, predictor):
    _, prepared, _, _ = ready
    val = prepared.splits["val"]
    decisions = predictor.predict(images_of(val))
    for place, row in enumerate(one_a_part([row.group for row in val.rows])):
        seen = decisions[row].watched
        assert tuple(seen) == WATCHED
        np.testing.assert_allclose(list(seen.values()), known.watched[place], rtol=1e-3)
    assert decisions[0]._replace(probability=0.5).watched == decisions[0].watched
    if len(known.watched) < FEWEST_PARTS:
        repeated = known._replace(watched=np.repeat(known.watched, FEWEST_PARTS, axis=0))
        with pytest.raises(UserError, match="as many values"):
            predictor.monitor(100)
        predictor = replaced(predictor, repeated)
    monitor = predictor.monitor(promised_images=100)
    assert monitor.see(decisions[0].watched) is None
    dark = predictor.predict(images_of(val)[0] // 4).watched
    alarm = [monitor.see(dark) for _ in range(30)][-1]
    assert alarm.since == 2 and dark["brightness"] < 0.3 * decisions[0].watched["brightness"]
    with pytest.raises(UserError, match="run --mode=evaluate"):
        replaced(predictor, None).monitor(100)


def replaced(predictor, known):
    other = copy.copy(predictor)
    other.known = known
    return other


def test_what_is_ignored_says_nothing(predictor):
    image, ignored = surface(40, 60, seed=1), np.zeros((40, 60), bool)
    ignored[:20] = True
    other = np.where(ignored, 255 - image, image)
    one, two = predictor.predict([image, other], [ignored, ignored])
    assert (one.unlike, one.look) == (two.unlike, two.look)
    assert predictor.predict(other).look != pytest.approx(one.look, abs=1e-3)


def test_eight_devices_know_what_one_knows(ready, known):
    config, prepared, network, ema = ready
    mesh = make_mesh(data=4, fsdp=2)
    eight = look_at(config, prepared, jax.device_put(ema, replicated(mesh)), mesh)
    for name in Known._fields:
        one, other = getattr(known, name), getattr(eight, name)
        np.testing.assert_allclose(other, one, rtol=2e-3, atol=1e-4, err_msg=name)


def test_it_is_made_once_a_checkpoint_and_without_the_images_that_is_said(
    ready, known, tmp_path, monkeypatch, capsys
):
    config, _, _, ema = ready
    made = []

    def judge_on(config, workdir, needed):
        if not made:
            raise UserError("the train split is gone")
        return needed

    monkeypatch.setattr(keep_known, "data_to_judge_on", judge_on)
    monkeypatch.setattr(keep_known, "look_at", lambda *given: made.append(given[1]) or known)
    keep = partial(keep_known.keep_known, config, tmp_path, 8, ema, one_device_mesh())
    keep()
    assert "stays unknown: the train split is gone" in capsys.readouterr().err
    assert not (tmp_path / "known.safetensors").exists()
    made.append(None)
    keep()
    keep()
    assert made == [None, {"train", "val"}]
    said = capsys.readouterr().err
    assert f"is known by 15 statistics of each image and {known.parts} parts" in said
    (tmp_path / "known.safetensors").write_bytes(b"broken")
    keep()
    assert "it is made anew" in capsys.readouterr().err and len(made) == 3


def test_members_of_an_ensemble_are_calibrated_on_the_fold_that_they_have_not_learnt(ready):
    config, _, network, ema = ready
    config = ConfigDict(config.to_dict())
    config.data.folds = 2
    dealt = dealt_out(prepare(config.data), config.data)
    other = jax.tree.map(lambda leaf: leaf * 0.9, ema)
    known = look_at(config, dealt, (jax.device_put(ema), jax.device_put(other)), one_device_mesh())
    look, folds = Looker(network, config, one_device_mesh()), folds_of(dealt.splits)
    for place, member in enumerate((ema, other)):
        learnt, own = (dealt.splits[folds[fold]] for fold in (1 - place, place))
        seen = look(jax.device_put(member), learnt)
        np.testing.assert_allclose(
            known.centre[place], seen.statistics.mean(0), rtol=1e-4, atol=1e-4
        )
        new = look(jax.device_put(member), own)
        away = (new.statistics - known.centre[place]) @ known.whitening[place]
        expected = of_parts(np.sqrt((away**2).sum(1)), new.groups)
        got = known.distances[place][: len(expected)]
        np.testing.assert_allclose(got, expected, rtol=1e-3)
        assert (known.distances[place][len(expected) :] == -1).all()


@pytest.fixture
def predicted(predictor, monkeypatch, tmp_path):
    """Runs --mode=predict on images; returns rows, lines, page and what was said."""
    monkeypatch.setattr(mode, "load", lambda *given: predictor)

    def run(images, capsys, **options):
        folder = tmp_path / "in"
        folder.mkdir()
        for number, image in enumerate(images):
            cv2.imwrite(str(folder / f"{number:02}.png"), image)
        mode.predict(str(folder), str(tmp_path / "out"), tmp_path, 1.0, False, **options)
        with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        text = (tmp_path / "out" / "predictions.jsonl").read_text()
        page = html.unescape((tmp_path / "out" / "gallery.html").read_text())
        return rows, [*map(json.loads, text.splitlines())], page, capsys.readouterr().err

    return run


def test_foreign_images_are_named_and_the_batch_is_warned_of(predicted, predictor, capsys):
    stripes = np.uint8(30 * (np.arange(48) % 2) + 200)[None].repeat(32, 0)
    foreign = [np.roll(stripes, n, 1) - np.uint8(n) for n in range(12)]
    rows, lines, page, said = predicted(foreign, capsys)
    decisions = predictor.predict(foreign)
    for row, line, decision in zip(rows, lines, decisions, strict=True):
        assert float(row["unlike"]) == line["unlike"] == pytest.approx(decision.unlike)
        assert int(row["is_unlike"]) == line["is_unlike"] == decision.is_unlike == 1
        assert line["look"] == pytest.approx(decision.look._asdict(), abs=1e-6)
    warned = "100 % of these images are unlike the training images (12 of 12; "
    light = f"brightness {np.median([d.look.brightness for d in decisions]) * 100:+.0f} %"
    assert warned in said and warned in page
    assert f"the light has changed: {light}" in said and f"The light has changed: {light}" in page
    assert (
        "00.png: unlike the training images: " in said and page.count('class="wrong">yes, ') == 12
    )


def test_own_images_are_decided_without_a_warning_and_not_again(predicted, ready, capsys, tmp_path):
    rows, lines, page, said = predicted(images_of(ready[1].splits["val"]), capsys)
    assert sum(int(row["is_unlike"]) for row in rows) < len(rows)
    assert "has changed" not in said + page and "of these images are unlike" not in said + page
    path = tmp_path / "out" / "predictions.jsonl"
    edited = [line | {"is_unlike": 1 - line["is_unlike"]} for line in lines[:1]] + lines[1:]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in edited))
    mode.predict(str(tmp_path / "in"), str(tmp_path / "out"), tmp_path, 1.0, False)
    assert "1 images in" in capsys.readouterr().err
    assert [*map(json.loads, path.read_text().splitlines())] == lines


LINES = [
    {"id": str(n), "is_unlike": int(n < 6), "look": dict.fromkeys(Look._fields, 0.2)}
    for n in range(24)
]


def test_parts_count_once_and_too_few_of_either_are_no_warning(known):
    usual = known._replace(looks=np.linspace([0.7] * 3, [1.3] * 3, 101, dtype=np.float32))
    enough = usual._replace(distances=np.ones((1, 19), np.float32))
    said = batch_look.warnings(LINES, None, enough, 0.05)
    assert "25 % of these images are unlike the training images (6 of 24; " in said[0]
    assert [text.partition(":")[0] for text in said[1:]] == list(batch_look.CHANGED.values())
    groups = {line["id"]: str(int(line["id"]) // 6) for line in LINES}  # of 4 parts one is unlike
    assert batch_look.warnings(LINES, groups, enough, 0.05) == []  # four of them are too few
    too_few, *_ = batch_look.warnings(LINES, None, usual, 0.001)
    assert too_few.endswith(f"that takes 999 validation parts, and there were {known.parts}")
    assert batch_look.warnings(LINES, None, None, 0.05) == [batch_look.NOT_KNOWN]


@pytest.mark.parametrize("count", [1, 5, 30])
def test_a_chance_is_that_of_scipy(count):
    for of, share in ((30, 0.05), (40, 0.25)):
        expected = stats.binom.sf(count - 1, of, share)
        assert batch_look.chance_of(count, of, share) == pytest.approx(expected, rel=1e-9)


@given(st.integers(1, 60), st.floats(0.2, 3.0), st.integers(0, 2**31))
def test_a_changed_look_is_what_mann_and_whitney_say_of_it(count, factor, seed):
    """Against a training set so large that its own chance counts for nothing."""
    rng = np.random.default_rng(seed)
    training, values = rng.normal(size=20_000), rng.normal(size=count) * factor + factor - 1
    usual = np.percentile(training, np.arange(101)).astype(np.float32)
    chance = stats.mannwhitneyu(values, training, use_continuity=False, method="asymptotic").pvalue
    if not 0.5e-3 < chance < 2e-3:  # percentiles round a little
        expected = chance < 1e-3 and abs(np.median(values)) >= 0.05
        assert batch_look.has_changed(values, usual) == expected


REGION = np.arange(48)[None].repeat(32, 0) < 30
FRAMINGS = {
    "scaled": {},
    "tiles": {"data.tile_overlap_px": 8},
    "a region": {"data.region": as_text(REGION)},
}


@pytest.mark.parametrize("changes", FRAMINGS.values(), ids=FRAMINGS)
def test_the_exported_program_says_what_python_says(changes, ready, known):
    config, _, network, ema = ready
    config = ConfigDict(config.to_dict())
    config.update_from_flattened_dict(changes)
    predictor = Predictor(network, config, ema, RULE, one_device_mesh(), 4, known)
    program = make_program(network, config, ema, RULE, known)
    sizes = [(32, 48)] if "data.region" in changes else [(32, 48), (45, 70)]
    for size in sizes:
        image = surface(*size, seed=3)
        answer = dict(
            zip(output_names(known), jax.jit(program)(image[None, ..., None]), strict=True)
        )
        decision = predictor.predict(image)
        assert answer["unlike"].dtype == np.float32
        step = 1 / (known.parts + 1)
        assert float(answer["unlike"][0]) == pytest.approx(decision.unlike, abs=1.01 * step)
        assert float(answer["score"][0]) == pytest.approx(decision.score, abs=2e-5)


def test_the_onnx_file_says_what_python_says(ready, known, predictor):
    config, _, network, ema = ready
    fine = known._replace(distances=np.linspace(0, 30, 2000, dtype=np.float32)[None])
    shape = jax.ShapeDtypeStruct((1, 32, 48, 1), np.uint8)
    model = to_onnx(make_program(network, config, ema, RULE, fine), {"image": shape}, NAMES)
    run = parity.of_onnx(model.SerializeToString())
    here = Predictor(network, config, ema, RULE, one_device_mesh(), 4, fine)
    found = []
    for seed in range(3):
        image = surface(32, 48, seed=seed)
        unlike = here.predict(image).unlike
        assert float(run(image[None, ..., None])["unlike"][0]) == pytest.approx(unlike, abs=1.1e-3)
        found.append(unlike)
    assert 0.02 < np.ptp(found)  # else the test could not fail


def test_the_file_in_eight_bits_does_not_say_what_it_cannot(ready, known, tmp_path, monkeypatch):
    trained = Trained(ready[2], ready[0], ready[3], RULE)
    whole = export.to_onnx_file(trained, known)
    monkeypatch.setattr(export, "restore_trained", lambda workdir, mesh: trained)
    monkeypatch.setattr(export, "restore_known", lambda workdir, trained: known)
    monkeypatch.setattr(export, "models", lambda trained, known: ({export.ONNX: whole}, 0.0))
    cv2.imwrite(str(tmp_path / "given.png"), surface(32, 48, seed=1))
    export.export(tmp_path, str(tmp_path / "out"), str(tmp_path / "given.png"))
    card = json.loads((tmp_path / "out" / export.CARD).read_text())
    assert card["unlike"]["parts"] == known.parts and set(card["outputs"]) == set(NAMES)
    for name, outputs in ((export.ONNX, NAMES), (export.INT8, Decision._fields)):
        model = onnx.load(tmp_path / "out" / name)
        assert [output.name for output in model.graph.output] == list(outputs)
