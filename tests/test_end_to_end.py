"""The real entry point: train, evaluate, predict, export, go on, compare."""

import csv
import html
import json
import shutil
from collections import defaultdict

import numpy as np
import onnxruntime
import pytest
import raw_data
from part_sample import part_sample
from programs import CONFIG, GRADNORM, SMALL, lines, run
from safetensors.numpy import save_file

from defect_jax.data.files.images import decode_image
from defect_jax.data.prepare.prepare import prepare
from defect_jax.decision.heat import MARKED
from defect_jax.decision.ways import WAYS
from defect_jax.deploy.predictor import load
from defect_jax.metrics.images import read_predictions
from defect_jax.models.pretrained.embedded import read_embedded
from defect_jax.workdir import run_config


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def trained(home):
    """A whole run of eight steps, started as a user does; those that go on with it are not
    tracked."""
    data = (f"--config.data.data_dir={home / 'data'}", "--config.data.shots=2", *GRADNORM)
    whole = run(CONFIG, *data, f"--workdir={home / 'whole'}", "--config.track=mlflow")
    assert whole.returncode == 0, whole.stderr
    return home / "whole", data, whole


def test_a_run_leaves_what_is_promised(trained):
    workdir, _, result = trained
    tables = ("eval/test/predictions.csv", "eval/test/parts.csv")
    for name in (
        "config.json",
        "decision.json",
        "known.safetensors",
        "progress.html",
        "eval/report.html",
        *tables,
    ):
        assert (workdir / name).stat().st_size > 0
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["4", "8"]
    assert list((workdir / "tensorboard").iterdir())
    assert "compiled the training step in" in result.stderr
    decision = json.loads((workdir / "decision.json").read_text())
    who = WAYS[decision["decides"]].words
    assert f"test: The verdict, by {who}: missed " in result.stderr
    command = f"python -m defect_jax.main predict --workdir={workdir} --input=IMAGES"
    assert f"next: {command} --output=DECIDED" in result.stderr
    assert [line["step"] for line in lines(workdir) if line["split"] == "train"] == [2, 4, 6, 8]
    assert [line["step"] for line in lines(workdir) if line["split"] == "val"] == [4, 8]
    metrics = json.loads((workdir / "eval/test/metrics.json").read_text())
    masks = list((workdir / "eval/test/masks").rglob("*.png"))
    assert metrics["images"] == metrics["defective"] + metrics["good"] == len(masks)
    judged = read_predictions(workdir / "eval/test/predictions.csv")
    misses = sum(row.label > row.rejected for row in judged)
    assert metrics["verdict_false_negatives"] == misses
    assert f"{who}: missed {misses} of {metrics['defective']} defective images" in result.stderr
    assert decision["why"] and decision["why"] in html.unescape(
        (workdir / "eval/report.html").read_text()
    )


def test_its_tracker_has_the_same_numbers_and_images(trained):
    workdir, _, result = trained
    assert "goes on without" not in result.stderr
    (tracked,) = workdir.glob("mlruns/*/*/metrics")
    id = json.loads((workdir / "trackers.json").read_text())["mlflow"]
    assert tracked.parent.name == id
    for split in ("train", "val"):
        of_split = [line for line in lines(workdir) if line["split"] == split]
        for name in of_split[0].keys() - {"step", "split"}:
            expected = [(line["step"], line[name]) for line in of_split]
            assert tracked_numbers(tracked / split / name) == expected, name
    metrics = json.loads((workdir / "eval/test/metrics.json").read_text())
    for name, value in metrics.items():
        path = tracked / "test" / name
        assert (tracked_numbers(path) if path.exists() else [(8, None)]) == [(8, value)], name
    images = {path.name.partition("+timestamp")[0] for path in tracked.parent.rglob("*.png")}
    assert {name.partition("+step+")[2] for name in images} == {"4", "8"} and len(images) == 12


def tracked_numbers(path):
    """The steps and numbers of a file of MLflow: time, number, step."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return [(int(step), float(number)) for _, number, step in rows]


def test_evaluating_again_in_a_fresh_process_gives_the_same_metrics(forked, trained):
    workdir, _, _ = trained
    path = workdir / "eval/test/metrics.json"
    before = path.read_bytes()
    again = forked.run("--mode=evaluate", f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def tested(trained, home):
    """The images of the test split as files, with their groups.csv."""
    config = run_config.of_workdir(trained[0], None)
    test = prepare(config.data, needed={"test"}).splits["test"]
    for number, row in enumerate(test.rows):
        path = home / "parts" / f"{row.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw_data.encoded(decode_image(test.source[number]["image"])[..., 0]))
    groups = [f"{row.id},{row.group}\n" for row in test.rows]
    (home / "parts/groups.csv").write_text("id,group\n" + "".join(groups))
    return home / "parts"


def parts_of(path):
    """Name -> row of a parts.csv; the order too is compared."""
    with path.open(newline="") as file:
        return {row["group"]: row for row in csv.DictReader(file)}


def test_the_images_of_the_test_split_are_predicted_as_they_were_evaluated(
    forked, trained, tested, home
):
    workdir, _, _ = trained
    output = home / "predicted"
    paths = (f"--workdir={workdir}", f"--input={tested}", f"--output={output}")
    result = forked.run("--mode=predict", *paths)
    assert result.returncode == 0, result.stderr
    evaluated = {row.id: row for row in read_predictions(workdir / "eval/test/predictions.csv")}
    with (output / "predictions.csv").open(newline="") as file:
        predicted = {row["id"]: row for row in csv.DictReader(file)}
    assert predicted.keys() == evaluated.keys()
    assert "stays unknown" not in trained[2].stderr and "is not known" not in result.stderr
    for id, row in predicted.items():
        assert 0.0 < float(row["unlike"]) <= 1.0 and row["is_unlike"] in "01"
        for name in ("score", "mask_score", "probability"):
            assert float(row[name]) == pytest.approx(getattr(evaluated[id], name), abs=1e-5)
        for name in ("decision", "mask_decision", "predicted_px", "rejected"):
            assert int(row[name]) == getattr(evaluated[id], name)
        masks = [home / "predicted/masks", workdir / "eval/test/masks"]
        assert len({(folder / f"{id}.png").read_bytes() for folder in masks}) == 1
        hot = decode_image((output / f"heatmaps/{id}.png").read_bytes()) >= MARKED
        assert np.count_nonzero(hot) == int(row["predicted_px"]) or row["mask_decision"] == "0"
    parts, judged = parts_of(output / "parts.csv"), parts_of(workdir / "eval/test/parts.csv")
    assert list(parts) == list(judged) and len(parts) < len(predicted)
    for group, row in parts.items():
        assert float(row["score"]) == pytest.approx(float(judged[group]["score"]), abs=1e-5)
        for name in ("pictures", "decision", "sequential_decision", "shots"):
            assert row[name] == judged[group][name], (group, name)


def test_predict_leaves_heat_maps_out_where_the_flag_says_so(forked, trained, tested, home):
    one = sorted(tested.rglob("*.png"))[0]
    paths = (f"--workdir={trained[0]}", f"--input={one}", f"--output={home / 'cold'}")
    result = forked.run("--mode=predict", *paths, "--heatmaps=false")
    assert result.returncode == 0, result.stderr
    folders = {path.name for path in (home / "cold").iterdir() if path.is_dir()}
    assert "overlays" in folders and "heatmaps" not in folders


def test_a_program_of_ones_own_decides_on_parts_as_the_evaluation_did(trained, tested):
    workdir, _, _ = trained
    predictor, images = load(workdir), defaultdict(list)
    for line in sorted((tested / "groups.csv").read_text().splitlines()[1:]):
        id, group = line.split(",")
        images[group].append(decode_image((tested / f"{id}.png").read_bytes()))
    for group, judged in parts_of(workdir / "eval/test/parts.csv").items():
        part = predictor.part()
        for image in images[group]:
            said = part.look(image)
            if said.verdict != "look again":
                break
        else:
            said = part.decide()
        assert said.shots == int(judged["shots"])
        assert (said.verdict == "reject") == bool(int(judged["sequential_decision"]))


def test_a_workdir_is_exported_with_its_metrics(forked, trained, tested, home, monkeypatch):
    workdir, _, _ = trained
    result = forked.run("--mode=export", f"--workdir={workdir}", f"--output={home / 'exported'}")
    assert result.returncode == 0, result.stderr
    names = sorted(path.name for path in (home / "exported").iterdir())
    assert names == ["model.json", "model.onnx", "model.stablehlo"]
    card = json.loads((home / "exported" / "model.json").read_text())
    assert card["metrics"] == json.loads((workdir / "eval/test/metrics.json").read_text())
    assert card["thresholds"] == json.loads((workdir / "decision.json").read_text())
    monkeypatch.chdir(home)
    decide = part_sample()["decide"]  # reads exported/model.json
    session = onnxruntime.InferenceSession("exported/model.onnx")
    predictor = load(workdir)
    assert card["unlike"]["parts"] == predictor.known.parts and "unlike" in card["outputs"]
    shots = defaultdict(list)
    for line in sorted((tested / "groups.csv").read_text().splitlines()[1:]):
        id, group = line.split(",")
        image = decode_image((tested / f"{id}.png").read_bytes())
        probability, unlike = session.run(["probability", "unlike"], {"image": image[None]})
        shots[group].append(probability[0])
        step = 1 / (predictor.known.parts + 1)  # one as strange as a part may fall to either side
        assert float(unlike[0]) == pytest.approx(predictor.predict(image).unlike, abs=1.01 * step)
    for group, judged in parts_of(workdir / "eval/test/parts.csv").items():
        expected = bool(int(judged["sequential_decision"])), int(judged["shots"])
        assert decide(shots[group]) == expected
    again = forked.run("--mode=export", f"--workdir={workdir}", f"--output={home / 'exported'}")
    assert again.returncode == 2 and "is not empty: name a new folder" in again.stderr


def test_a_run_cut_off_goes_on_from_its_newest_checkpoint(forked, trained, home):
    workdir, data, _ = trained
    resumed = home / "resumed"
    shutil.copytree(workdir, resumed)
    shutil.rmtree(resumed / "checkpoints" / "8")
    on = forked.run(CONFIG, *data, f"--workdir={resumed}")
    assert on.returncode == 0, on.stderr
    assert "going on from step 4" in on.stderr
    assert lines(resumed) == lines(workdir)


def test_a_finished_run_is_lengthened_in_its_workdir_and_never_shortened(forked, trained, home):
    workdir, data, _ = trained
    longer = home / "longer"
    shutil.copytree(workdir, longer)
    on = forked.run(CONFIG, *data, f"--workdir={longer}", "--config.train.steps=12")
    assert on.returncode == 0, on.stderr
    assert "8 steps become 12: the learning rate rises again" in on.stderr
    after = lines(longer)
    assert after[: len(lines(workdir))] == lines(workdir)
    assert [(line["step"], line["split"]) for line in after[len(lines(workdir)) :]] == [
        *((9, "train"), (12, "train"), (12, "val"))
    ]
    train = json.loads((longer / "config.json").read_text())["train"]
    assert (train["steps"], train["log_every_steps"], train["eval_every_steps"]) == (12, 3, 6)
    again = forked.run(CONFIG, *data, f"--workdir={longer}")
    assert again.returncode == 2 and "train.steps was 12, is 8" in again.stderr


def test_a_pretrained_run_goes_on_bit_for_bit_without_the_file_of_its_weights(forked, home):
    """Through the real entry point; nothing that it leaves says where the file was."""
    weights, workdir = home / "secret" / "lite0.safetensors", home / "pretrained"
    weights.parent.mkdir()
    save_file(read_embedded("efficientnet_lite0").tensors, weights)
    model = {"encoder": "efficientnet_lite0", "label_head": "rows", "weights": weights}
    fields = [f"--config.model.{name}={value}" for name, value in model.items()]
    data = f"--config.data.data_dir={home / 'data'}"
    asked = (CONFIG, data, *fields, *SMALL, f"--workdir={workdir}")
    whole = forked.run(*asked)
    assert whole.returncode == 0, whole.stderr
    assert "encoder: efficientnet_lite0, weights of lite0.safetensors" in whole.stderr
    before = lines(workdir)
    left = [path for path in workdir.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [path for path in left if b"secret" in path.read_bytes()] == []
    shutil.rmtree(workdir / "checkpoints" / "8")
    weights.unlink()
    on = forked.run(*asked)
    assert on.returncode == 0, on.stderr
    assert "going on from step 4" in on.stderr and "weights of" not in on.stderr
    assert lines(workdir) == before and [line["step"] for line in before][-1] == 8


def test_eight_devices_restore_what_one_has_trained(forked, trained, tmp_path):
    workdir = tmp_path / "run"  # others compare bytes with what one device wrote
    shutil.copytree(trained[0], workdir)
    before = json.loads((workdir / "eval/test/metrics.json").read_text())
    result = forked.run("--mode=evaluate", f"--workdir={workdir}", devices=8)
    assert result.returncode == 0, result.stderr
    after = json.loads((workdir / "eval/test/metrics.json").read_text())
    assert after == pytest.approx(before, abs=1e-5)


@pytest.fixture(scope="module")
def stressed(forked, trained, home):
    """A copy of the run that was put under stress."""
    copy = home / "stressed"
    shutil.copytree(trained[0], copy)
    result = forked.run("--mode=stress", CONFIG, *trained[1], f"--workdir={copy}")
    assert result.returncode == 0, result.stderr
    return copy, result


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_stress_test_begins_with_the_numbers_of_the_evaluation(stressed):
    workdir, result = stressed
    folder = workdir / "eval/stress"
    (passes,) = (folder / "passes").iterdir()
    undisturbed = (passes / "undisturbed.csv").read_bytes()
    assert undisturbed == (workdir / "eval/test/predictions.csv").read_bytes()
    assert len(list(passes.iterdir())) == 51 and "passes: 51/51 in" in result.stderr
    assert result.stderr.count("compiled the evaluation step") == 2  # and not one a grade
    assert (folder / "decision.json").read_bytes() == (workdir / "decision.json").read_bytes()
    table = {(row["kind"], row["grade"]): row for row in rows_of(folder / "stress.csv")}
    assert len(table) == 51
    metrics = json.loads((workdir / "eval/test/metrics.json").read_text())
    first = table["undisturbed", ""]
    assert int(first["misses"]) == metrics["part_false_negatives"]
    assert int(first["false_alarms"]) == metrics["part_false_positives"]
    assert int(first["missed_images"]) == metrics["verdict_false_negatives"]
    assert int(first["falsely_rejected_images"]) == metrics["verdict_false_positives"]
    dark = read_predictions(passes / "darker_0.3.csv")
    assert int(table["darker", "0.3"]["missed_images"]) == sum(r.label > r.rejected for r in dark)
    assert [row.score for row in dark] != [
        row.score for row in read_predictions(workdir / "eval/test/predictions.csv")
    ]
    assert "Stress test: synthetic, step" in (folder / "stress.html").read_text()


def test_finished_passes_are_taken_again_and_eight_devices_find_the_same(forked, trained, stressed):
    workdir, _ = stressed
    folder = workdir / "eval/stress"
    (passes,) = (folder / "passes").iterdir()
    before = (folder / "stress.csv").read_bytes()
    again = {name: read_predictions(passes / name) for name in ("noise_4.csv", "rotation_8.csv")}
    for name in again:
        (passes / name).unlink()
    kept = {path: path.stat().st_mtime_ns for path in passes.iterdir()}
    asked = ("--mode=stress", CONFIG, *trained[1], f"--workdir={workdir}")
    result = forked.run(*asked, devices=8)
    assert result.returncode == 0, result.stderr
    assert "49 of 51 passes are there from before" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for name, rows in again.items():
        for one, two in zip(rows, read_predictions(passes / name), strict=True):
            assert one.score == pytest.approx(two.score, abs=1e-5)
            assert one.mask_score == pytest.approx(two.mask_score, abs=1e-5)
            assert (one.id, one.true_px, one.rejected) == (two.id, two.true_px, two.rejected)
    assert (folder / "stress.csv").read_bytes() == before


def test_the_next_report_links_to_the_stress_test_and_another_decision_needs_another(
    forked, trained, stressed
):
    workdir, _ = stressed
    asked = (CONFIG, *trained[1], f"--workdir={workdir}")
    assert '"stress/stress.html"' not in (workdir / "eval/report.html").read_text()
    assert forked.run("--mode=evaluate", *asked).returncode == 0
    assert 'href="stress/stress.html"' in (workdir / "eval/report.html").read_text()
    other = forked.run("--mode=stress", *asked, "--config.decision.rule=target_recall")
    assert other.returncode == 2
    assert "holds no decision for its checkpoint" in other.stderr.splitlines()[-1]
    assert "run --mode=evaluate first" in other.stderr.splitlines()[-1]
    shutil.rmtree(workdir / "checkpoints")
    none = forked.run("--mode=stress", *asked)
    assert none.returncode == 2 and "no checkpoint there; train first" in none.stderr


def test_another_rule_decides_anew_and_another_split_leaves_the_test_alone(forked, trained, home):
    workdir, data, _ = trained
    copy = home / "rule"
    shutil.copytree(workdir, copy)
    before = (copy / "eval/report.html").read_bytes()
    wish = ["--config.decision.rule=target_recall", "--config.decision.recall=1.0"]
    wish.append("--config.model.prune=1")
    told = forked.run(CONFIG, *data, *wish, "--mode=evaluate", "--split=val", f"--workdir={copy}")
    assert told.returncode == 0, told.stderr
    decision = json.loads((copy / "decision.json").read_text())
    assert decision["rule"] == "target_recall" and decision["options"]["recall"] == 1.0
    assert decision["prune"] == run_config.load(copy).model.prune == 1
    metrics = json.loads((copy / "eval/val/metrics.json").read_text())
    assert metrics["recall"] == metrics["part_recall"] == 1.0  # on the images it was chosen on
    assert metrics["images"] == decision["pictures"]
    assert (copy / "eval/report.html").read_bytes() == before
    report = (copy / "eval/val/report.html").read_text()
    assert "chosen on these very images" in report and "pruned to X(0,1)" in report
    again = forked.run("--mode=evaluate", f"--workdir={copy}")  # the wish stays
    assert again.returncode == 0, again.stderr
    assert json.loads((copy / "decision.json").read_text()) == decision
    assert (copy / "eval/report.html").read_bytes() != before


def test_two_evaluations_are_compared(forked, trained, home):
    workdir, _, _ = trained
    twin = home / "twin"
    shutil.copytree(workdir, twin)
    output = home / "compared"
    both = f"--workdirs={workdir},{twin}"
    result = forked.run("--mode=compare", both, f"--workdir={output}")
    assert result.returncode == 0, result.stderr
    table = (output / "differences.csv").read_text().splitlines()
    assert table[0] == "metric,model,value,difference,low,high"
    rows = [line.split(",") for line in table if line.startswith("accuracy,")]
    assert [row[1] for row in rows] == ["whole", "twin"] and rows[0][2] == rows[1][2]
    assert [float(value) for value in rows[1][3:]] == [0.0, 0.0, 0.0]
    assert "twin" in (output / "compare.html").read_text()


def test_another_config_in_a_used_workdir_is_refused(forked, trained):
    workdir, data, _ = trained
    result = forked.run(
        CONFIG, *data, f"--workdir={workdir}", "--config.optimizer.learning_rate=0.5"
    )
    assert result.returncode == 2
    assert "optimizer.learning_rate was 0.001, is 0.5" in result.stderr
