"""--mode=predict on folders as they are: bad files among good ones, cut off, and gone on with."""

import dataclasses
import errno
import json
import re
import shutil
import stat
import zipfile

import cv2
import numpy as np
import pytest
import raw_data
from tiny_predictor import RULE, surface, tiny_predictor

from defect_jax.data.files import lights
from defect_jax.data.files.masks import decode_mask
from defect_jax.deploy import predict as mode
from defect_jax.deploy.drawings import as_jpeg, overlay
from defect_jax.deploy.inputs import open_input
from defect_jax.deploy.outputs import Prediction, PredictionFolder
from defect_jax.metrics.images import ImageRow
from defect_jax.runtime.errors import UserError

MEGAPIXELS = 1.0


@pytest.fixture(scope="module")
def predictor():
    return tiny_predictor()


@pytest.fixture
def start(predictor, monkeypatch, tmp_path):
    """Runs the mode on a folder, with a network that needs no training."""
    monkeypatch.setattr(mode, "load", lambda *given: predictor)

    def run(folder, output=tmp_path / "out", strict=False):
        mode.predict(str(folder), str(output), tmp_path / "workdir", MEGAPIXELS, strict)
        return output

    return run


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def folder(tmp_path):
    """Nine good images of three sizes and formats, two folders deep."""
    root = tmp_path / "in"
    (root / "line" / "a").mkdir(parents=True)
    for number in range(9):
        size = [(32, 48), (70, 20), (50, 50)][number % 3]
        suffix = [".png", ".bmp", ".tiff"][number % 3]
        cv2.imwrite(str(root / "line" / "a" / f"{number}{suffix}"), surface(*size, seed=number))
    return root


def rows(output):
    header, *lines = (output / "predictions.csv").read_text().splitlines()
    assert header.split(",") == list(Prediction._fields)
    return [line.split(",") for line in lines]


def entries(output):
    return [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]


def test_a_folder_becomes_tables_masks_overlays_and_a_page(folder, start, predictor, capsys):
    output = start(folder)
    assert [row[0] for row in rows(output)] == [f"line/a/{n}" for n in range(9)]
    for number, (row, entry) in enumerate(zip(rows(output), entries(output), strict=True)):
        image = cv2.imread(str(folder / entry["file"]), cv2.IMREAD_UNCHANGED)
        decision = predictor.predict(image)
        assert float(row[1]) == pytest.approx(decision.probability, abs=1e-6)
        assert [int(cell) for cell in row[4:6]] == [decision.score_rejected, decision.mask_rejected]
        assert [int(cell) for cell in row[6:9]] == [(decision.mask > 0).sum(), *image.shape]
        assert row[9:] == [str(int(decision.rejected)), "", ""]
        cells = ["" if entry[name] is None else str(entry[name]) for name in Prediction._fields]
        assert cells == row
        mask = decode_mask((output / f"masks/line/a/{number}.png").read_bytes(), 0)
        np.testing.assert_array_equal(mask, decision.mask > 0)
        drawn = cv2.imread(str(output / f"overlays/line/a/{number}.jpg"))
        assert drawn.shape == (*image.shape, 3)
    page = (output / "gallery.html").read_text()
    assert page.count('class="card"') == 9 and "line/<wbr>a/<wbr>4" in page
    assert "://" not in page
    said = capsys.readouterr().err
    assert "9 images in" in said and "/s, reading and writing included" in said


def test_the_page_parts_images_by_the_verdict_and_counts_every_decision(
    folder, tmp_path, monkeypatch
):
    by_mask = tiny_predictor(rule=dataclasses.replace(RULE, decides="mask"))
    monkeypatch.setattr(mode, "load", lambda *given: by_mask)
    mode.predict(str(folder), str(tmp_path / "out"), tmp_path / "workdir", MEGAPIXELS, False)
    lines = entries(tmp_path / "out")
    assert any(line["rejected"] != line["decision"] for line in lines)  # or the score would do
    page = (tmp_path / "out" / "gallery.html").read_text()
    shown = re.findall(r'class="id">(.*?)</span>', page.replace("<wbr>", ""))
    rejected = [line for line in lines if line["mask_decision"]]
    assert 0 < len(rejected) < len(lines) == len(shown)
    assert set(shown[: len(rejected)]) == {line["id"] for line in rejected}
    assert f"<h2>Rejected: {len(rejected)}</h2>" in page
    assert f"<h2>Accepted: {len(lines) - len(rejected)}</h2>" in page
    order = {line["id"]: line["probability"] for line in lines}
    probabilities = [order[id] for id in shown]
    assert probabilities == sorted(probabilities, reverse=True)
    counts = dict(re.findall(r"<tr><th>(.*?)</th><td>(.*?)</td></tr>", page))
    assert counts["rejected"] == counts["rejected by the mask"] == str(len(rejected))
    assert counts["rejected by the score"] == str(sum(line["decision"] for line in lines))
    both = sum(line["decision"] and line["mask_decision"] for line in lines)
    assert counts["rejected by both"] == str(both)
    assert "The mask of an image decides" in page and "at least 0.5000" in page


def spoil(folder):
    (folder / "broken.png").write_bytes(png(surface(32, 48))[:300])
    (folder / "colour.png").write_bytes(png(surface(20, 20, 3)))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "huge.png").write_bytes(png(np.zeros((1001, 1000), np.uint8)))
    (folder / "notes.txt").write_text("no image, and none that claims to be one")


def test_bad_files_are_named_counted_and_skipped(folder, start, capsys):
    good = rows(start(folder, folder.parent / "good"))
    spoil(folder)
    with pytest.raises(UserError, match=r"--input: 4 of 13 images cannot be used"):
        start(folder)
    output = folder.parent / "out"
    assert rows(output) == good
    said = capsys.readouterr().err
    for name, what in (
        ("broken.png", "is truncated or damaged"),
        ("colour.png", "has 3 channels"),
        ("empty.jpg", "is empty"),
        ("huge.png", "is larger than 1 megapixels"),
    ):
        assert f"{folder / name}: {what}" in said
        assert name in (output / "gallery.html").read_text()
    assert "notes.txt" not in said
    faults = {entry["id"] for entry in entries(output) if "fault" in entry}
    assert faults == {"broken", "colour", "empty", "huge"}


def test_strict_ends_at_the_first_bad_file_and_keeps_what_is_finished(folder, start):
    (folder / "line" / "a" / "5.tiff").write_bytes(b"II*\0")
    with pytest.raises(UserError, match=r"5\.tiff: "):
        start(folder, strict=True)
    assert [row[0] for row in rows(folder.parent / "out")] == [f"line/a/{n}" for n in range(5)]


def test_a_run_cut_off_goes_on_and_ends_as_a_whole_one(folder, start, monkeypatch, capsys):
    whole = start(folder, folder.parent / "whole")
    write, written = PredictionFolder.write_files, []

    def full(self, id, image, decision):
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(id)
        write(self, id, image, decision)

    monkeypatch.setattr(PredictionFolder, "write_files", full)
    with pytest.raises(OSError, match="No space left"):
        start(folder)
    output = folder.parent / "out"
    before = len(rows(output))
    assert 1 <= before <= 4
    with (output / "predictions.jsonl").open("a") as file:
        file.write('{"id": "line/a/8", "prob')  # as a kill may leave it
    monkeypatch.setattr(PredictionFolder, "write_files", write)
    start(folder)
    assert f"{9 - before} images in" in capsys.readouterr().err
    heat_maps = [path.relative_to(whole) for path in whole.rglob("heatmaps/**/*.png")]
    assert len(heat_maps) == 9
    for name in ("predictions.csv", "predictions.jsonl", "gallery.html", *heat_maps):
        assert (output / name).read_bytes() == (whole / name).read_bytes()


def test_only_what_changed_is_decided_anew_and_what_has_gone_goes(folder, start, capsys):
    output = start(folder)
    image = folder / "line" / "a" / "0.png"
    image.write_bytes(png(surface(40, 40, seed=77)))
    (folder / "line" / "a" / "8.tiff").unlink()
    spoil(folder)
    (folder / "line" / "a" / "4.bmp").write_bytes(b"")
    for decided in (1, 0):
        capsys.readouterr()
        with pytest.raises(UserError, match="5 of 12"):
            start(folder)
        assert f"{decided} images in" in capsys.readouterr().err
    assert [row[0] for row in rows(output)] == [f"line/a/{n}" for n in (0, 1, 2, 3, 5, 6, 7)]
    for kind in ("masks", "heatmaps"):
        stems = sorted(path.stem for path in (output / kind).rglob("*.png"))
        assert stems == list("0123567")


def test_other_thresholds_and_other_images_need_another_folder(folder, start, monkeypatch):
    start(folder)
    with pytest.raises(UserError, match=r"out holds results of another run \(input differs"):
        start(folder / "line")
    other = tiny_predictor(rule=RULE.__class__(**(vars(RULE) | {"threshold": 0.9})))
    monkeypatch.setattr(mode, "load", lambda *given: other)
    with pytest.raises(UserError, match=r"--output: .*out holds results of another run \(decision"):
        start(folder)


def test_a_folder_of_other_files_is_left_alone(folder, start, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="mine holds other files: name a new folder"):
        start(folder, mine)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="thesis.txt.* cannot be"):
        start(folder, mine / "thesis.txt" / "below")


def test_one_image_and_an_archive_are_inputs_too(folder, start, tmp_path):
    alone = start(folder / "line" / "a" / "3.png", tmp_path / "alone")
    assert [row[0] for row in rows(alone)] == ["3"]
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*.*"):
            file.write(path, path.relative_to(folder))
    packed = start(archive, tmp_path / "packed")
    assert rows(packed) == rows(start(folder, tmp_path / "unpacked"))


def test_the_rest_of_a_damaged_archive_is_decided(folder, start, tmp_path, capsys):
    """Members with broken bytes, without a name, of a link to nowhere, of a folder of a NAS."""
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as file:
        for path in folder.rglob("*.*"):
            file.write(path, path.relative_to(folder))
        file.writestr("broken.png", b"needle" * 99, zipfile.ZIP_STORED)
        file.writestr(zipfile.ZipInfo(""), b"")
        file.writestr("@eaDir/1.png", b"")
        file.writestr(raw_data.zip_kind("monday", stat.S_IFLNK), b"/data/monday")
    archive.write_bytes(archive.read_bytes().replace(b"needle" * 99, b"poodle" * 99))
    with pytest.raises(UserError, match="3 of 12 images cannot be used, listed above"):
        start(archive, tmp_path / "packed")
    assert rows(tmp_path / "packed") == rows(start(folder, tmp_path / "unpacked"))
    said = capsys.readouterr().err
    for words in (
        "in.zip: broken.png: is damaged inside the archive (Bad CRC-32",
        "in.zip: (a file without a name): has no name: pack it again",
        "in.zip: monday: is a link to '/data/monday', outside the archive",
        "--input: skipped 1 hidden file or file of the system: 1 for @eaDir",
    ):
        assert words in said


def test_a_shortage_of_memory_costs_one_image(folder, start, monkeypatch, capsys):
    inspect = lights.look

    def short(data, max_megapixels):
        if data.startswith(b"BM"):
            raise MemoryError
        return inspect(data, max_megapixels)

    monkeypatch.setattr(lights, "look", short)
    with pytest.raises(UserError, match="3 of 9 images cannot be used"):
        start(folder)
    assert len(rows(folder.parent / "out")) == 6
    assert "1.bmp: needs more memory than there is (" in capsys.readouterr().err


def test_files_that_differ_in_their_suffix_keep_it(folder):
    shutil.copy(folder / "line" / "a" / "0.png", folder / "line" / "a" / "1.png")
    ids = [image.id for image in open_input(str(folder))[1]]
    assert ids[:4] == ["line/a/0", "line/a/1.bmp", "line/a/1.png", "line/a/2"]


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_an_input_without_images_is_refused(name, tmp_path, start):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="--input: "):
        start(tmp_path / name)
    assert not (tmp_path / "out").exists()


def test_an_outline_runs_around_the_defect_and_hides_none_of_it():
    image = np.full((40, 40, 1), 128, np.uint8)
    marked = np.zeros((40, 40), bool)
    marked[18:22, 15:25] = True
    jpeg = as_jpeg(overlay(image, marked))
    drawn = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    changed = np.abs(drawn.astype(int) - 128).max(axis=2) > 40
    assert changed.any() and not (changed & marked).any()
    assert changed[11:29, 8:32].sum() == changed.sum()


def test_an_overlay_of_an_image_that_no_jpeg_can_hold_is_made_smaller():
    jpeg = as_jpeg(np.zeros((131, 131_000, 3), np.uint8))
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (65, 65_500, 3)


def test_columns_are_named_as_those_of_an_evaluation():
    shared = set(Prediction._fields) & set(ImageRow._fields)
    assert shared == {
        *("id", "score", "mask_score", "decision", "mask_decision", "predicted_px"),
        *("probability", "rejected"),
    }


def test_large_images_are_looked_at_through_tiles_and_a_placeholder_is_called_so(
    folder, tmp_path, monkeypatch
):
    rule = dataclasses.replace(RULE, note="no threshold could be chosen")
    tiled = tiny_predictor(rule=rule, **{"data.tile_overlap_px": 16})
    monkeypatch.setattr(mode, "load", lambda *given: tiled)
    (folder / "torn.png").write_bytes(png(surface(90, 200))[:500])
    with pytest.raises(UserError, match="1 of 10 images cannot be used"):
        mode.predict(str(folder), str(tmp_path / "out"), tmp_path / "workdir", MEGAPIXELS, False)
    for row, number in zip(rows(tmp_path / "out"), range(9), strict=True):
        image = surface(*[(32, 48), (70, 20), (50, 50)][number % 3], seed=number)
        decision = tiled.predict(image)
        assert float(row[2]) == pytest.approx(decision.score, abs=1e-6)
        mask = decode_mask((tmp_path / "out" / "masks" / f"{row[0]}.png").read_bytes(), 0)
        np.testing.assert_array_equal(mask, decision.mask > 0)
    page = (tmp_path / "out" / "gallery.html").read_text()
    assert "no threshold could be chosen" in page and "chosen on" not in page
