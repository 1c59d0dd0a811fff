"""The folder of a prediction: gone on with, cut off, damaged, forged, or used by two at once."""

import dataclasses
import errno
import json
import os
import pathlib
import shutil

import cv2
import pytest
from test_predict import entries, png, rows
from tiny_predictor import RULE, surface, tiny_predictor

from defect_jax.decision import Combination
from defect_jax.decision.ways import WAYS
from defect_jax.deploy import predict as mode
from defect_jax.deploy.outputs import PredictionFolder
from defect_jax.runtime import lock
from defect_jax.runtime.errors import UserError

SIZES = ((32, 48), (50, 50), (70, 20))
NUMBERS = range(4)


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Runs the mode on a folder of four images, with a network that needs no training."""
    monkeypatch.setattr(mode, "load", lambda *given: tiny_predictor())
    for number in NUMBERS:
        path = tmp_path / "in" / "line" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(surface(*SIZES[number % 3], seed=number)))

    def run(input="in", output="out"):
        mode.predict(
            *(str(tmp_path / name) for name in (input, output)), tmp_path / "w", 1.0, False
        )
        return tmp_path / output

    return run


def content(folder):
    files = (path for path in folder.rglob("[!.]*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def outside(tmp_path):
    """What must never change."""
    return {n: b for n, b in content(tmp_path).items() if not n.startswith("out/")}


def test_an_output_below_its_input_is_never_an_input(start, tmp_path, capsys):
    for _ in range(3):
        assert len(rows(start(output="in/decided"))) == len(NUMBERS)
    assert len(rows(start(output="in/again"))) == len(NUMBERS)
    assert "left out 4 files in decided/masks/: results" in capsys.readouterr().err


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def become_another(path):
    path.write_bytes(cv2.imencode(path.suffix, surface(32, 48))[1].tobytes())


def become_a_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


DAMAGES = [remove, empty, truncate, flip_a_bit, become_another, become_a_link]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["masks/line/1.png", "overlays/line/1.jpg", "heatmaps/line/1.png"])
def test_a_file_that_is_not_as_it_was_written_is_written_again(start, capsys, name, damage):
    before = content(start())
    damage(start() / name)
    capsys.readouterr()
    output = start()
    assert "1 images in" in capsys.readouterr().err
    assert {n: b for n, b in content(output).items() if "elsewhere" not in n} == before
    assert not (output / name).is_symlink()


@pytest.mark.parametrize("id", ["/tmp/x/V", "../../x", "../victim/V", "line/../../victim/V"])
def test_ids_of_a_forged_table_name_no_file(start, tmp_path, id):
    victim = tmp_path / "victim" / "V.png"
    victim.parent.mkdir()
    victim.write_bytes(b"mine")
    ids = [id, str(tmp_path / "victim" / "V")]
    output = start()
    lines = entries(output)
    forged = [line | {"id": id} for line in lines for id in ids]
    forged += [{"id": id, "fault": "x", "file": "y"} for id in ids]
    with (output / "predictions.jsonl").open("a") as file:
        file.writelines(f"{json.dumps(line)}\n" for line in forged)
    before = outside(tmp_path)
    output = start()
    assert outside(tmp_path) == before and victim.read_bytes() == b"mine"
    assert entries(output) == lines


def test_a_line_for_another_file_or_a_spoilt_one_is_decided_again(start, capsys):
    whole = content(start())
    output = start()
    lines = [json.loads(text) for text in whole["predictions.jsonl"].splitlines()]
    lines[0]["score"] = "0.1"
    lines[1]["file"] = lines[2]["file"]
    lines[2]["files"] = {}
    text = "\n".join(["[" * 50_000, *map(json.dumps, lines), '{"id": "line/3'])
    (output / "predictions.jsonl").write_text(text)
    capsys.readouterr()
    assert content(start()) == whole
    assert "3 images in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "edit",
    [
        lambda line: {"decision": 1 - line["decision"]},
        lambda line: {"mask_decision": 1 - line["mask_decision"]},
        lambda line: {"rejected": 1 - line["rejected"]},
        lambda line: {"probability": (line["probability"] + 0.5) % 1},
        lambda line: {"score": (line["score"] + 0.5) % 1},
        lambda line: {"predicted_px": 0 if line["predicted_px"] else 1},
        lambda line: {"predicted_px": line["height"] * line["width"] + 1},
        lambda line: {"mask_score": 0.0, "mask_decision": 1, "predicted_px": 3},
    ],
)
def test_a_line_whose_decision_is_not_that_of_its_scores_is_decided_again(start, capsys, edit):
    whole = content(start())
    lines = [json.loads(text) for text in whole["predictions.jsonl"].splitlines()]
    edited = [json.dumps(line | edit(line)) for line in lines]
    (start() / "predictions.jsonl").write_text("\n".join(edited))
    capsys.readouterr()
    assert content(start()) == whole
    assert f"{len(lines)} images in" in capsys.readouterr().err


@pytest.mark.parametrize("decides", WAYS)
def test_whoever_decides_its_own_lines_are_believed(start, monkeypatch, capsys, decides):
    logistic = Combination(0.0, 0.5, 0.5, 0.8)
    rule = dataclasses.replace(RULE, decides=decides, logistic=logistic)
    monkeypatch.setattr(mode, "load", lambda *given: tiny_predictor(rule=rule))
    whole = content(start())
    capsys.readouterr()
    assert content(start()) == whole
    assert f"{len(NUMBERS)} were decided on before" in capsys.readouterr().err


@pytest.mark.parametrize("link", ["masks", "masks/line", "overlays", "heatmaps"])
def test_no_link_leads_out_of_the_folder(start, tmp_path, link):
    output = start()
    (tmp_path / "victim" / "line").mkdir(parents=True)
    (tmp_path / "victim" / "line" / "1.png").write_bytes(b"mine")
    before = outside(tmp_path)
    shutil.rmtree(output / link)
    (output / link).symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match=rf"--output: .*{link} is a link to elsewhere"):
        start()
    assert outside(tmp_path) == before


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_a_file_that_leads_elsewhere_is_replaced_and_not_written_into(start, tmp_path, make):
    output = start()
    (tmp_path / "mine.png").write_bytes(b"mine")
    for name in ("masks/line/1.png", "overlays/line/1.jpg", "gallery.html", "predictions.csv"):
        (output / name).unlink()
        make(tmp_path / "mine.png", output / name)
    start()
    assert (tmp_path / "mine.png").read_bytes() == b"mine"
    assert all(not path.is_symlink() for path in output.rglob("*"))


@pytest.mark.parametrize("name", ["run.json", "predictions.jsonl"])
def test_what_is_no_regular_file_is_not_waited_for(start, name):
    output = start()
    (output / name).unlink()
    os.mkfifo(output / name)
    if name == "run.json":
        with pytest.raises(UserError, match=r"--output: .*out cannot be read"):
            start()
    else:
        assert len(rows(start())) == len(NUMBERS)


@pytest.mark.parametrize(
    "name",
    ["run.json", "predictions.jsonl", "predictions.csv", "gallery.html", "masks", "masks/line"],
)
def test_a_folder_for_a_file_and_a_file_for_a_folder_are_one_line(start, name):
    output = start()
    if (output / name).is_dir():
        shutil.rmtree(output / name)
        (output / name).write_bytes(b"")
    else:
        (output / name).unlink()
        (output / name).mkdir()
    with pytest.raises(UserError, match="--output: .*out cannot be |4 of 4 images cannot be used"):
        start()


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, "{", "null", '{"input": [[]]}'])
def test_settings_that_are_none_are_one_line(start, text):
    output = start()
    (output / "run.json").write_text(text)
    with pytest.raises(UserError, match="--output: .*(cannot be read|holds results of another)"):
        start()


def test_two_at_once_are_one_and_a_refusal(start, tmp_path):
    output = start()
    before = content(output)
    held = lock.refusing(output / ".lock", "wait")
    with held, pytest.raises(UserError, match="writes there already; wait for it"):
        start()
    assert content(output) == before
    assert content(start()) == before


def test_a_refused_folder_of_others_gets_no_lock(start, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match="holds other files"):
        start(output="mine")
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_full_disk_is_one_line_that_names_the_folder(start, monkeypatch, code):
    opened = pathlib.Path.open

    def full(self, mode="r", *rest, **options):
        if "x" in mode:
            raise OSError(code, os.strerror(code))
        return opened(self, mode, *rest, **options)

    monkeypatch.setattr(pathlib.Path, "open", full)
    with pytest.raises(UserError, match=f"^--output: .*out cannot be written: {os.strerror(code)}"):
        start()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EINVAL, "Invalid argument"), "cannot be written (Invalid argument)"),
        (MemoryError(), "needs more memory than there is"),
    ],
)
def test_what_one_image_is_to_blame_for_is_its_fault(start, monkeypatch, capsys, error, says):
    write = PredictionFolder.write_files

    def refuse(self, id, image, decision):
        if id == "line/2":
            raise error
        write(self, id, image, decision)

    monkeypatch.setattr(PredictionFolder, "write_files", refuse)
    with pytest.raises(UserError, match="1 of 4 images cannot be used"):
        start()
    said = capsys.readouterr().err
    assert "line/2.png: " in said and says in said


def test_images_that_would_share_a_file_are_named_and_the_others_decided(start, tmp_path, capsys):
    for name in ("A.png", "a.png"):
        shutil.copy(tmp_path / "in" / "line" / "0.png", tmp_path / "in" / name)
    with pytest.raises(UserError, match="2 of 6 images cannot be used"):
        start()
    assert "would write the same files on some disks" in capsys.readouterr().err
    assert [row[0] for row in rows(tmp_path / "out")] == [f"line/{n}" for n in NUMBERS]


@pytest.mark.parametrize(
    "names",
    [
        ["x.jpg", "x.png", "x.png.png"],
        ["a.jpg", "a.png/b.png"],
        ["a.bmp", "a.jpg/b.png", "a/c.png"],
    ],
)
def test_each_image_has_files_of_its_own(start, tmp_path, names):
    for number, name in enumerate(names):
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        suffix = name[name.rindex(".") :]
        image = surface(20 + number, 30, seed=number)
        (tmp_path / "new" / name).write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    output = start(input="new")
    heights = {row[0]: int(row[7]) for row in rows(output)}
    assert len(heights) == len(names) and sorted(heights.values()) == [20, 21, 22][: len(names)]
    for id, height in heights.items():
        assert cv2.imread(str(output / f"masks/{id}.png")).shape[0] == height
        assert cv2.imread(str(output / f"overlays/{id}.jpg")).shape[0] == height


@pytest.mark.parametrize("change", [lambda p: p.unlink(), lambda p: p.write_bytes(b"other")])
def test_an_input_that_goes_after_its_decision_is_still_in_the_gallery(
    start, tmp_path, monkeypatch, change
):
    write_page, page = mode.write_page, []

    def late(folder, raw, lines, rule, *told):
        change(tmp_path / "in" / "line" / "1.png")
        write_page(folder, raw, lines, rule, *told)
        page.append((folder / "gallery.html").read_text())

    monkeypatch.setattr(mode, "write_page", late)
    assert len(rows(start())) == len(NUMBERS)
    assert page[0].count('class="card"') == len(NUMBERS)


def test_cells_of_names_that_are_formulas_get_an_apostrophe(start, tmp_path):
    shutil.copytree(tmp_path / "in" / "line", tmp_path / "new")
    for number, name in enumerate(("=1+1", "+a", "@a", "-a")):
        (tmp_path / "new" / f"{number}.png").rename(tmp_path / "new" / f"{name}.png")
    output = start(input="new")
    assert [row[0] for row in rows(output)] == ["'+a", "'-a", "'=1+1", "'@a"]
    assert [line["id"] for line in entries(output)] == ["+a", "-a", "=1+1", "@a"]
    before = content(output)
    assert content(start(input="new")) == before


def test_images_decided_before_do_not_count_in_the_rate(start, tmp_path, monkeypatch, capsys):
    output = start()
    for number in (0, 1, 2):
        assert (output / f"masks/line/{number}.png").exists()
    (output / "masks/line/3.png").unlink()
    seen = []

    def track(results, description, total, *rest):
        seen.append((description, total))
        return results

    monkeypatch.setattr(mode, "track", track)
    start()
    assert seen == [("deciding", 1)]
    said = capsys.readouterr().err
    assert "comparing with what was decided before: 4/4" in said
    assert "3 were decided on before" in said


def test_nothing_stays_in_the_folder_for_temporary_files(start, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    start()
    assert os.listdir(tmp_path / "tmp") == []
