"""Rivals that begin from pretrained weights: the split they read, their judge, the table."""

import csv
import pathlib
import subprocess

import cv2
import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks import pretrained
from benchmarks import pretrained_cells as cells
from benchmarks.pretrained_judge import judge
from benchmarks.pretrained_split import split_folder
from defect_jax.configs import magnetic_tile
from defect_jax.data.files.record_encoding import encode_classes
from defect_jax.data.prepare.prepared import DataInfo, Prepared, Split, SplitRow
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import kept_split

SHAPES = ((9, 14), (12, 10))
INFO = DataInfo("magnetic_tile", 1, 8, "f" * 64, False, [], ["defect"])


def split_of(name, labels, rng):
    """Return images of random pixels; a defective one has a rectangle."""
    source, rows = [], []
    for place, label in enumerate(labels):
        height, width = SHAPES[place % 2]
        mask = np.zeros((height, width), np.uint8)
        mask[2 : 4 + place % 4, 3:7] = label
        pixels = rng.integers(0, 256, (height, width), np.uint8)
        image = cv2.imencode(".png", pixels)[1].tobytes()
        source.append({"image": image, "mask": encode_classes(mask), "pixels": pixels})
        source[-1]["truth"] = mask
        which = "defect" if label else "good"
        one = (f"{name}/{place}", f"part_{name}_{place}", which, label, height, width)
        rows.append(SplitRow(*one, int(mask.sum()), f"{name}{place}", "m"))
    return Split(source, rows)


def prepared_of(rng):
    labels = {"train": [0, 1], "val": [0, 1] * 8, "test": [1, 0, 0, 1] * 5}
    splits = {name: split_of(name, each, rng) for name, each in labels.items()}
    return Prepared(pathlib.Path("0123abcd"), splits, INFO)


def answers_to(split, rng, skill):
    """Return logits that are right by so much, as a rival writes them."""
    labels = np.array([row.label for row in split.rows])
    found = {"score": (skill * (labels - 0.5) + rng.normal(size=labels.size)).astype(np.float32)}
    for place, record in enumerate(split.source):
        truth = record["truth"].astype(float)
        logits = skill * (2 * truth - 1) - 1 + rng.normal(size=truth.shape)
        found[f"map_{place}"] = logits.astype(np.float16)
    return found


@pytest.fixture
def prepared():
    return prepared_of(np.random.default_rng(0))


def judged(prepared, val, test):
    return judge(val, test, prepared, magnetic_tile.get_config("cpu").decision)


def test_rivals_are_judged_by_the_decision_of_val(prepared):
    rng = np.random.default_rng(1)
    val = answers_to(prepared.splits["val"], rng, 1.0)
    test = answers_to(prepared.splits["test"], rng, 1.0)
    made, tables = judged(prepared, val, test)
    rows, records = prepared.splits["test"].rows, prepared.splits["test"].source
    label = np.array([row.label for row in rows])
    metrics = tables.metrics
    assert metrics["image_auroc"] == pytest.approx(roc_auc_score(label, test["score"]))
    assert metrics["image_ap"] == pytest.approx(average_precision_score(label, test["score"]))
    ious, pooled, marked_good = [], np.zeros(2), 0
    for place, record in enumerate(records):
        probability = expit(test[f"map_{place}"].astype(np.float64))
        marked = probability >= made.pixel_threshold
        rejected = probability.max() >= made.mask_threshold and marked.sum() >= made.min_area_px
        marked, truth = marked & rejected, record["truth"] > 0
        both, either = (marked & truth).sum(), (marked | truth).sum()
        pooled += both, either
        ious += [both / either] if either else []
        marked_good += bool(marked.any() and not truth.any())
    assert metrics["seg_miou"] == pytest.approx(np.mean(ious))
    assert metrics["miou_pooled"] == pytest.approx(pooled[0] / pooled[1])
    assert metrics["seg_fpr"] == pytest.approx(marked_good / (label == 0).sum())
    assert 0 < metrics["seg_miou"] < 1  # neither all nor nothing, which any rule would give


def test_the_pixel_threshold_has_the_best_f1_of_val(prepared):
    rng = np.random.default_rng(2)
    val = answers_to(prepared.splits["val"], rng, 1.0)
    made, _ = judged(prepared, val, answers_to(prepared.splits["test"], rng, 1.0))
    sources = prepared.splits["val"].source
    truth = np.concatenate([record["truth"].ravel() > 0 for record in sources])
    logits = np.concatenate([val[f"map_{k}"].ravel() for k in range(len(sources))])
    probability = expit(logits.astype(np.float64)).astype(np.float32)

    def f1(threshold):
        marked = probability >= threshold
        return 2 * (marked & truth).sum() / (marked.sum() + truth.sum())

    # Bins are 1/128 of an octave wide, so the best of all may be missed by a few pixels.
    assert f1(made.pixel_threshold) == pytest.approx(max(map(f1, np.unique(probability))), abs=0.01)


def test_the_test_split_decides_nothing(prepared):
    rng = np.random.default_rng(3)
    val = answers_to(prepared.splits["val"], rng, 1.0)
    made = [judged(prepared, val, answers_to(prepared.splits["test"], rng, s))[0] for s in (0, 4)]
    assert made[0] == made[1]


def test_other_answers_are_refused(prepared):
    rng = np.random.default_rng(4)
    val, test = (answers_to(prepared.splits[name], rng, 1.0) for name in ("val", "test"))
    with pytest.raises(UserError, match="16 answers to 20 images"):
        judged(prepared, val, val)
    with pytest.raises(UserError, match=r"test/1: \(12, 10\) px, but the answer has \(9, 14\)"):
        judged(prepared, val, test | {"map_1": test["map_0"]})


def test_the_folder_holds_the_split_that_we_train_on(prepared, tmp_path):
    folder = split_folder(prepared, tmp_path)
    assert split_folder(prepared, tmp_path) == folder
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    with open(folder / "pictures.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    every = [(name, *pair) for name, split in prepared.splits.items() for pair in paired(split)]
    assert len(lines) == len(every) == 38
    for line, (name, row, record) in zip(lines, every, strict=True):
        told = (line["split"], line["id"], line["group"], line["label"])
        assert told == (name, row.id, row.group, str(row.label))
        for kind, expected in (("pictures", record["pixels"]), ("masks", 255 * record["truth"])):
            path = str(folder / kind / f"{line['number']}.png")
            np.testing.assert_array_equal(cv2.imread(path, cv2.IMREAD_UNCHANGED), expected)


def paired(split):
    return zip(split.rows, split.source, strict=True)


def result(method, fold, seed, auroc, fpr=0.1):
    numbers = {"image_auroc": auroc, "seg_fpr": fpr, "seconds": 100.0}
    return cells.Result(method, fold, seed, numbers)


def test_the_table_compares_pair_by_pair():
    ours = [result("ours", fold, 0, auroc) for fold, auroc in enumerate((0.9, 0.8, 0.7))]
    rival = [result("rival", fold, 0, auroc) for fold, auroc in enumerate((0.88, 0.75, 0.67))]
    other = [result("other", 0, 0, 0.95, 0.2)]
    text = cells.table([*ours, *rival, *other])
    assert "| ours | 3 of 3 | 0.800 ± 0.100 |" in text
    # Differences are -0.02, -0.05, -0.03: mean -1/30, deviation 0.0153, of the mean 0.0088.
    assert "| rival | **-0.033 ± 0.009** (0/3) |" in text
    assert "| other | +0.050 (1/1) |" in text
    assert "| image_auroc | other | -0.050 ± nan |" in text
    assert "| rival | 0.880 | 0.750 | 0.670 |" in text


def test_fold_1_of_what_was_chosen_on_it_is_marked():
    elsewhere = [result("patchcore", 0, 0, 0.8), result("supersimplenet", 1, 0, 0.8)]
    assert "fold 1:" not in cells.table(elsewhere)
    lines = cells.table([*elsewhere, result("patchcore", 1, 0, 0.7)]).splitlines()
    assert lines[-1].startswith("patchcore, fold 1: its settings")
    assert sum("fold 1:" in line for line in lines) == 1


def test_a_rival_is_told_what_it_may_use(monkeypatch, tmp_path):
    commands = []

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(pretrained.subprocess, "run", run)
    asked = [
        "--data=x",
        f"--out={tmp_path}",
        "--rival-python=python",
        f"--weights={tmp_path / 'w'}",
    ]
    asked += ["--device=cuda", "--seconds=60", "--steps=450"]
    monkeypatch.setattr("sys.argv", ["pretrained", *asked])
    cell = pretrained.Cell("smp_unet", 2, 1)
    pretrained._train(pretrained.arguments(), cell, tmp_path, tmp_path)
    told = {"--device=cuda", "--seconds=60.0", "--steps=450", "--seed=1", "--decoder=Unet"}
    assert told <= set(commands[0])


def test_a_run_of_another_split_is_refused(prepared, tmp_path):
    workdir = tmp_path / "run_0"
    (workdir / "eval" / "test").mkdir(parents=True)
    (workdir / "config.json").write_text('{"seed": 5, "data": {"fold": 0}}')
    kept_split.keep(workdir, prepared, anew=True)
    (workdir / "eval" / "test" / "metrics.json").write_text('{"image_auroc": 0.75}')
    splits = {0: kept_split.rows_of(prepared)}
    found = list(cells.our_results("ours", str(tmp_path / "run_*"), splits))
    assert found == [cells.Result("ours", 0, 5, {"image_auroc": 0.75, "seconds": None})]
    with pytest.raises(UserError, match="two runs of fold 0, seed 5"):
        cells.refuse_doubles(found * 2)
    with pytest.raises(UserError, match="run_0: was trained on another split"):
        list(cells.our_results("ours", str(tmp_path / "run_*"), {0: splits[0][1:]}))
    with pytest.raises(UserError, match="there is no such workdir"):
        list(cells.our_results("ours", str(tmp_path / "none_*"), splits))
