"""Parts in prediction: which images show one, what is written of it, and one on the line."""

import csv
import dataclasses
import json
import math
import zipfile

import cv2
import numpy as np
import pytest
from part_sample import part_sample
from tiny_predictor import RULE, surface, tiny_config, tiny_predictor

from defect_jax.decision import Evidence, PartDecision, SequentialTest
from defect_jax.decision.sequential import decide_shots
from defect_jax.decision.shots import SHOTS
from defect_jax.deploy import card
from defect_jax.deploy import predict as mode
from defect_jax.deploy.groups import by_name, groups_of
from defect_jax.deploy.inputs import open_input
from defect_jax.deploy.parts import PartRow, part_rows
from defect_jax.metrics.parts import Part
from defect_jax.runtime.errors import UserError

PREDICTOR = tiny_predictor()
PARTS = {"p1": [0, 1, 2], "p2": [3, 4], "p3": [5, 6, 7, 8]}
SURFACES = [surface(32, 48, seed=seed) for seed in range(9)]
SCORES = [decision.probability for decision in PREDICTOR.predict(SURFACES)]
LOW, MIDDLE, HIGH = np.quantile(SCORES, [0.3, 0.5, 0.9])
OF_PARTS = dataclasses.replace(
    RULE,
    part=PartDecision("mean", float(MIDDLE), 9, 4),
    sequential=SequentialTest(float(HIGH), float(LOW), 1.5, 3.0, 0.5, 1.5),
)


@pytest.fixture(scope="module")
def predictor():
    return tiny_predictor(OF_PARTS)


@pytest.fixture
def folder(tmp_path):
    """Three parts of two to four shots, in one folder."""
    (tmp_path / "in").mkdir()
    for part, seeds in PARTS.items():
        for shot, seed in enumerate(seeds):
            cv2.imwrite(str(tmp_path / f"in/{part}_{shot}.png"), SURFACES[seed])
    return tmp_path / "in"


@pytest.fixture
def start(predictor, monkeypatch, tmp_path):
    monkeypatch.setattr(mode, "load", lambda *given: predictor)

    def run(folder, group=None, output=tmp_path / "out"):
        mode.predict(str(folder), str(output), tmp_path / "workdir", 1.0, False, group=group)
        return output

    return run


def rows(output):
    with (output / "parts.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def list_groups(path, names=PARTS, more=""):
    shots = [f"{name}_{shot},{name}\n" for name in names for shot in range(len(PARTS[name]))]
    path.write_text("id,group\n" + "".join(shots) + more)


def test_parts_csv_has_the_decisions_of_shots_in_order(folder, start, capsys):
    list_groups(folder / "groups.csv")
    output = start(folder)
    given = rows(output)
    assert [row["group"] for row in given] == list(PARTS)
    assert list(given[0]) == [name for name in Part._fields if name != "label"] + ["faults"]
    part, test = OF_PARTS.part, OF_PARTS.sequential
    for row, seeds in zip(given, PARTS.values(), strict=True):
        scores = np.array(SCORES)[seeds]
        assert float(row["score"]) == pytest.approx(scores.mean(), abs=1e-6)
        assert int(row["decision"]) == (scores.mean() >= part.threshold)
        rejected, looks = decide_shots(scores, part, test)
        assert (int(row["sequential_decision"]), int(row["shots"])) == (rejected, looks)
        assert (int(row["pictures"]), row["faults"]) == (len(seeds), "0")
    assert {row["decision"] for row in given} == {"0", "1"}
    rejected = sum(row["decision"] == "1" for row in given)
    said = capsys.readouterr().err
    assert f"3 parts: {rejected} rejected, {3 - rejected} accepted" in said
    assert "left out 1 file" not in said  # groups.csv is not lost
    page = (output / "gallery.html").read_text()
    assert "Parts: 3" in page and all(f">{name}</th>" in page for name in PARTS)


def test_groups_by_file_folder_and_name_are_the_same_parts(folder, start, tmp_path):
    by_pattern = rows(start(folder, "(.*)_[0-9]+", tmp_path / "pattern"))
    list_groups(tmp_path / "groups.csv", more="p9_0,p9\n")  # beside: lists more than there is
    assert rows(start(folder, None, tmp_path / "beside")) == by_pattern
    for part, seeds in PARTS.items():
        (tmp_path / "by_folder" / part).mkdir(parents=True)
        for shot in range(len(seeds)):
            image = (folder / f"{part}_{shot}.png").read_bytes()
            (tmp_path / f"by_folder/{part}/{shot}.png").write_bytes(image)
    assert rows(start(tmp_path / "by_folder", "folder", tmp_path / "folders")) == by_pattern


def test_without_groups_there_is_no_table_and_other_groups_need_no_new_decisions(
    folder, start, capsys
):
    output = start(folder)
    assert not (output / "parts.csv").exists()
    assert 'id="parts"' not in (output / "gallery.html").read_text()
    start(folder, "(.*)_[0-9]+")
    assert len(rows(output)) == 3 and "9 were decided on before" in capsys.readouterr().err
    start(folder, "p(.).*")
    assert [row["group"] for row in rows(output)] == ["1", "2", "3"]
    start(folder)
    assert not (output / "parts.csv").exists()


def test_a_run_cut_off_goes_on_and_writes_the_same_parts(folder, start, monkeypatch, tmp_path):
    whole = start(folder, "(.*)_[0-9]+", tmp_path / "whole")
    recorded, record = 0, mode.record

    def killed(*given):
        nonlocal recorded
        recorded += 1
        if recorded > 4:
            raise KeyboardInterrupt
        record(*given)

    monkeypatch.setattr(mode, "record", killed)
    with pytest.raises(KeyboardInterrupt):
        start(folder, "(.*)_[0-9]+")
    monkeypatch.setattr(mode, "record", record)
    output = start(folder, "(.*)_[0-9]+")
    for name in ("parts.csv", "predictions.csv", "gallery.html"):
        assert (output / name).read_bytes() == (whole / name).read_bytes()


def test_a_part_with_an_image_that_cannot_be_used_is_not_decided(folder, start, capsys):
    (folder / "p2_1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="1 of 9 images cannot be used"):
        start(folder, "(.*)_[0-9]+")
    output = folder.parent / "out"
    assert (output / "parts.csv").read_text().splitlines()[2] == "p2,2,,,,,1"
    assert "1 not decided" in capsys.readouterr().err
    assert "not decided: 1 cannot be used" in (output / "gallery.html").read_text()


@pytest.mark.parametrize("below", ["", "images", "train/images", "packed.zip"])
def test_groups_of_a_data_set_are_found_from_each_of_its_folders(below, tmp_path):
    """Beside images/, above the folder of a split, and in an archive below a folder of its own."""
    root, home = tmp_path / "set", "train/images" if below.startswith("train") else "images"
    (root / home / "a").mkdir(parents=True)
    for name in ("1.png", "2.bmp", "2.png"):
        (root / home / "a" / name).write_bytes(b"not read here")
    lines = ["id,group", "a/1,p", f"{home}/a/2.bmp,p", "set/" + home + "/a/2.png,q"]
    (root / "groups.csv").write_text("\n".join(lines))
    path = root / below
    if below.endswith(".zip"):
        path = tmp_path / below
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(root.rglob("*.*")):
                archive.write(file, f"set/{file.relative_to(root).as_posix()}")
    raw, inputs, notes = open_input(str(path))
    groups = groups_of(str(path), raw, inputs, None)
    assert groups == {f"{home}/a/1": "p", f"{home}/a/2.bmp": "p", f"{home}/a/2.png": "q"}
    assert notes == []


@pytest.mark.parametrize(
    ("parts", "more", "said"),
    [
        (["p1", "p2"], "", "does not list 'p3_0': add its line"),
        (PARTS, "gone_7,p1\n", "lists 'gone_7', but no image has that id: mend or remove it"),
        (PARTS, "p1_0,p2\n", "names 'p1_0' a second time, with another value: keep one line"),
        (PARTS, "p1_0\n", "line 11: is no pair id,group"),
    ],
)
def test_faults_of_groups_csv_are_said_and_nothing_is_decided(
    parts, more, said, folder, start, capsys, tmp_path
):
    list_groups(folder / "groups.csv", parts, more)
    with pytest.raises(UserError, match=r"groups\.csv: faults to mend: \d, listed above"):
        start(folder)
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_groups_csv_beside_that_is_not_of_these_images_is_passed_over(
    folder, start, tmp_path, capsys
):
    (tmp_path / "groups.csv").write_text("id,group\nimages/old_1,old\n")
    assert not (start(folder) / "parts.csv").exists()
    assert "lists none of these images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(.*", "is no regular expression: missing"),
        (".*_[0-9]+", "has 0 groups in round brackets, and needs one"),
        ("(.*)_([0-9]+)", "has 2 groups in round brackets, and needs one"),
        ("(a+)+b", "repeats a bracket, which may take for ever"),
        ("(x)(?:[a)]+)*", "repeats a bracket, which may take for ever"),
        ("(x)(?:a|a){30}", "repeats a bracket"),
        ("(?x)(a) +", "has the flag x"),
        ("(" + "a?" * 300 + ")", "has 602 characters"),
    ],
)
def test_patterns_that_cannot_be_used_are_one_line(pattern, why, start, folder):
    with pytest.raises(UserError) as error:
        start(folder, pattern)
    assert why in str(error.value) and "\n" not in str(error.value)


def test_an_id_is_matched_whole_and_never_for_long():
    group_of = by_name(r"(?:line[)*]\()?(.*?)_[0-9]+")
    assert group_of("a/p_1_2") == "a/p_1"
    for id in ("p", "p_1x", "_1"):
        with pytest.raises(UserError, match=f"the id {id!r}"):
            group_of(id)
    with pytest.raises(UserError, match="may be divided in too many ways"):
        by_name("(.*.*.*.*.*)x")("a" * 200)
    assert by_name("(.*)_.*_[0-9]+")("a" * 400 + "_b_1") == "a" * 400
    with pytest.raises(UserError, match="the image 'a' is in no folder"):
        by_name("folder")("a")


def test_a_name_that_a_spreadsheet_would_compute_is_text():
    line = {"id": "a", "fault": "x"}
    assert part_rows([line], {"a": "=1+1"}, OF_PARTS) == [PartRow("=1+1", 1, faults=1)]


@pytest.mark.parametrize("seeds", PARTS.values())
def test_a_part_on_the_line_is_decided_as_its_shots_are(seeds, predictor):
    part, looks = predictor.part(), 0
    for looks, seed in enumerate(seeds, 1):
        said = part.look(SURFACES[seed])
        assert said.shots == looks and said.image.probability == pytest.approx(SCORES[seed])
        assert said.score == pytest.approx(np.mean(np.array(SCORES)[seeds[:looks]]))
        if said.verdict != "look again":
            break
    else:
        said = part.decide()
    expected = decide_shots(np.array(SCORES)[seeds], OF_PARTS.part, OF_PARTS.sequential)
    assert (said.verdict == "reject", looks) == (bool(expected[0]), expected[1])
    for ask in (part.decide, lambda: part.look(SURFACES[0])):
        with pytest.raises(
            UserError, match=rf"the part was decided \({said.verdict}\) after {looks}"
        ):
            ask()


def test_what_a_part_cannot_take_is_refused_and_does_not_count(predictor):
    part = predictor.part()
    with pytest.raises(UserError, match="a part without an image cannot be decided"):
        part.decide()
    with pytest.raises(UserError, match="one image at a time"):
        part.look(SURFACES[:2])
    with pytest.raises(UserError):
        part.look("a path")
    assert part.look(SURFACES[0]).shots == 1
    with pytest.raises(UserError, match="there is no decision on parts"):
        PREDICTOR.part()


EVIDENCE = SequentialTest(2.0, -1.5, 1.5, 3.0, 0.4, 1.7, Evidence(0.1, 1.3))
EMPIRICAL = SequentialTest(0.8, 0.2, 1.5, 3.0, 0.4, 1.7)


@pytest.mark.parametrize("test", [EVIDENCE, EMPIRICAL])
@pytest.mark.parametrize("shots", SHOTS)
def test_the_sample_of_the_docs_decides_with_the_numbers_of_a_card(
    test, shots, tmp_path, monkeypatch
):
    rule = dataclasses.replace(RULE, part=PartDecision(shots, 0.6, 9, 4), sequential=test)
    (tmp_path / "exported").mkdir()
    text = card.card(tiny_config(), rule, tmp_path, {}, 0.0)
    (tmp_path / "exported/model.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    decide = part_sample()["decide"]
    assert json.loads(text)["part"]["correlation"] == 0.4
    generator, seen = np.random.default_rng(0), set()
    for length in (1, 2, 5, 9) * 50:
        scores = generator.beta(0.8, 0.8, length)
        expected = decide_shots(scores, rule.part, test)
        assert decide(scores) == (bool(expected[0]), expected[1])
        seen.add((expected[0], expected[1] < length))
    assert len(seen) == 4  # either decision, early and at the end
    assert decide([0.5, math.nan]) == (True, 2)


def test_a_card_without_a_part_rule_says_so(tmp_path):
    assert json.loads(card.card(tiny_config(), RULE, tmp_path, {}, 0.0))["part"] is None
