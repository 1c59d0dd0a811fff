"""Cross-fitting: folds that hold every part once, a run of two networks, and what it promises."""

import csv
import json
import shutil
from collections import Counter

import numpy as np
import pytest
import raw_data
from hypothesis import given
from hypothesis import strategies as st
from programs import SMALL, run
from scipy import stats
from validation_images import options

from defect_jax.configs import folder, magnetic_tile
from defect_jax.data.prepare.folds import dealt_out, folds_of, held_out, out_of_fold, pooled
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.sources.data_sets import data_set
from defect_jax.data.sources.folds import assigned_folds
from defect_jax.decision.bound import allowed_misses, breaking_chance
from defect_jax.decision.rules import RULES, LabelledScores, possible_miss_rate, too_few
from defect_jax.evaluation.evaluator import Scores
from defect_jax.evaluation.out_of_fold import HeldOut, decide_on_others, merged_scores
from defect_jax.metrics.counts import PixelCounts
from defect_jax.metrics.histogram import PixelHistogram
from defect_jax.metrics.intervals import clopper_pearson
from defect_jax.runtime.errors import UserError
from defect_jax.workdir.run_config import check_values

FOLDER = ("--config=configs/folder.py:debug", *SMALL)
KINDS = st.lists(st.sampled_from(["good", "pit", "crack"]), max_size=60)


def data_of(root, tmp_path, folds, name="folder"):
    return raw_data.config(name, root, tmp_path, folds=folds)


@given(KINDS, st.integers(2, 6), st.integers(0, 99))
def test_folds_hold_each_group_once_and_differ_by_one_of_every_kind(kinds, folds, seed):
    kinds = kinds + ["good"] * folds + ["pit"] * folds
    class_of = {f"part {number}": kind for number, kind in enumerate(kinds)}
    fold_of = assigned_folds(class_of, folds, seed)
    assert fold_of.keys() == class_of.keys()
    assert fold_of == assigned_folds(dict(reversed(class_of.items())), folds, seed)
    sets = ({"good"}, {"pit"}, {"crack"}, {"pit", "crack"}, {"good", "pit", "crack"})
    for some in sets:
        counts = Counter(fold for group, fold in fold_of.items() if class_of[group] in some)
        sizes = [counts[fold] for fold in range(folds)]
        assert max(sizes) - min(sizes) <= 1, some


@pytest.mark.parametrize(
    ("good", "defective", "advice"),
    [(9, 3, "at most 3"), (2, 9, "at most 2"), (9, 1, "at least 2 of each")],
)
def test_more_folds_than_parts_of_a_kind_are_refused_with_what_is_possible(good, defective, advice):
    kinds = ["good"] * good + ["pit"] * defective
    with pytest.raises(UserError, match=f"^config.data.folds is 4: .*{advice}"):
        assigned_folds({str(number): kind for number, kind in enumerate(kinds)}, 4, 0)


def test_every_part_is_out_of_fold_once_and_never_in_two_folds(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw", good=9, defective=6)
    rows = [f"{kind}/part_{n:03d},{kind}{n // 2}" for kind, of in (("good", 9), ("bad", 15))
            for n in range(0 if kind == "good" else 9, of)]  # fmt: skip
    (root / "groups.csv").write_text("id,group\n" + "\n".join(rows) + "\n")
    data = data_of(root, tmp_path, folds=3)
    dealt = dealt_out(prepare(data), data)
    names = folds_of(dealt.splits)
    assert names == ["fold_0", "fold_1", "fold_2"] and not dealt.splits["test"].rows
    whole = out_of_fold(dealt)
    assert sorted(row.id for row in whole.rows) == sorted({row.id for row in whole.rows})
    assert len(whole.rows) == len(whole.source) == 15
    assert [whole.source[n]["id"].decode() for n in range(15)] == [row.id for row in whole.rows]
    assert len(pooled(dealt).splits["train"].rows) == 15
    for number, name in enumerate(names):
        own = held_out(dealt, number)
        groups = [{row.group for row in own.splits[split].rows} for split in ("train", "val")]
        assert not groups[0] & groups[1] and own.splits["val"].rows == dealt.splits[name].rows
        assert sum(len(split.rows) for split in own.splits.values()) == 15
    assert not any("look like an image of train" in note for note in dealt.info.notes)


def test_a_test_split_that_the_user_fixed_is_in_no_fold(tmp_path):
    root = tmp_path / "raw"
    for split in ("train", "Testing"):
        part = raw_data.folder_data(tmp_path / split, good=4, defective=3)
        for kind in ("images", "masks"):
            shutil.copytree(part / kind, root / split / kind)
    data = data_of(root, tmp_path, folds=2)
    dealt = dealt_out(prepare(data), data)
    assert len(dealt.splits["test"].rows) == len(out_of_fold(dealt).rows) == 7
    assert all(row.id.startswith("Testing/") for row in dealt.splits["test"].rows)
    assert data_set("ksdd2").is_in_fixed_test("test/20000")
    assert not data_set("ksdd2").is_in_fixed_test("train/10000")


@pytest.mark.parametrize(
    ("config", "field", "value", "message"),
    [
        (folder, "data.folds", 1, "config.data.folds is 1: it must be 0 .none., or from 2 to 20"),
        (folder, "data.folds", 21, "config.data.folds is 21"),
        (magnetic_tile, "data.split", "random", "config.data.split is 'random': .*data.folds"),
    ],
)
def test_what_folds_cannot_be_is_refused(config, field, value, message):
    config = config.get_config("debug")
    config.data.folds = 2
    section, name = field.split(".")
    config[section][name] = value
    with pytest.raises(UserError, match=message):
        check_values(config)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def trained(forked, home):
    """Two networks on two halves of fourteen parts."""
    root = raw_data.folder_data(home / "raw", good=9, defective=5)
    flags = (*FOLDER, f"--config.data.root={root}", f"--config.data.data_dir={home / 'data'}")
    flags = (*flags, f"--workdir={home / 'run'}", "--config.data.folds=2")
    result = forked.run(*flags)
    assert result.returncode == 0, result.stderr
    return home / "run", flags, result


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(workdir):
    """The bytes of all that an evaluation writes but the page, which has the time."""
    files = [path for path in (workdir / "eval/folds").rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in [*files, workdir / "decision.json"]}


def test_every_part_is_reported_once_and_decides_in_the_end(trained):
    workdir, _, result = trained
    fold_of = {row["id"]: row["split"] for row in rows_of(workdir / "split.csv")}
    assert Counter(fold_of.values()) == {"fold_0": 7, "fold_1": 7}
    rows = rows_of(workdir / "eval/folds/predictions.csv")
    assert sorted(row["id"] for row in rows) == sorted(fold_of)
    assert len(rows_of(workdir / "eval/folds/parts.csv")) == 14
    assert len(list((workdir / "eval/folds/masks").rglob("*.png"))) == 14
    decision = json.loads((workdir / "decision.json").read_text())
    assert decision["chosen_on"] == "folds" and decision["checkpoint_step"] == 8
    assert (decision["pictures"], decision["defective"]) == (14, 5)
    metrics = json.loads((workdir / "eval/folds/metrics.json").read_text())
    assert (metrics["images"], metrics["defective"]) == (14, 5)
    assert "chosen on these very images" not in (workdir / "eval/report.html").read_text()
    assert "7, 7 parts, of them 3, 2 defective" in result.stderr
    assert result.stderr.count("compiled the training step in") == 1


def test_each_network_is_an_ordinary_run_that_shares_the_facts_of_all_data(trained):
    workdir, _, _ = trained
    whole = json.loads((workdir / "config.json").read_text())
    held_out = []
    for number in range(2):
        own = json.loads((workdir / f"folds/{number}/config.json").read_text())
        assert own["data_info"] == whole["data_info"] and own["data"]["folds"] == 0
        rows = rows_of(workdir / f"folds/{number}/split.csv")
        held_out += [row["id"] for row in rows if row["split"] == "val"]
        assert {row["split"] for row in rows} == {"train", "val"}
    assert len(held_out) == len(set(held_out)) == 14


def test_the_same_command_goes_on_with_the_network_that_was_not_finished(forked, trained):
    workdir, flags, _ = trained
    before = results(workdir)
    shutil.rmtree(workdir / "folds/1/checkpoints/8")
    shutil.rmtree(workdir / "eval")
    unfinished = forked.run("--mode=evaluate", f"--workdir={workdir}")
    assert unfinished.returncode == 2
    assert "folds/1: holds no whole checkpoint of its last step, 8" in unfinished.stderr
    again = forked.run(*flags, "--resume=must")
    assert again.returncode == 0, again.stderr
    assert "network 1 of 2: trained before" in again.stderr
    assert "going on from step 4" in again.stderr
    assert results(workdir) == before


def test_evaluation_needs_the_checkpoints_alone(forked, trained):
    workdir, _, _ = trained
    before = results(workdir)
    shutil.rmtree(workdir / "eval")
    (workdir / "decision.json").unlink()
    again = forked.run("--mode=evaluate", f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert results(workdir) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.data.folds=3"], "data.folds was 2, is 3"),
        (["--config.data.folds=0"], "data.folds was 2, is 0"),
        (["--mode=evaluate", "--split=test"], "is judged on folds"),
        (["--workdir={home}/new", "--resume=must"], "holds no checkpoint"),
        (["--mode=check", "--config.data.folds=6"], "faults to mend: 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(forked, trained, home, flags, message):
    result = forked.run(*trained[1], *(flag.format(home=home) for flag in flags))
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]


def test_check_tells_of_the_folds(forked, trained):
    result = forked.run("--mode=check", *trained[1])
    assert result.returncode == 0, result.stderr
    assert "folds: 2 networks are trained" in result.stdout
    assert "7, 7 parts, of them 3, 2 defective" in result.stdout
