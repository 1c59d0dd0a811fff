"""Ids and the files that are written for them: each image has its own, or is refused by name."""

import unicodedata

import hypothesis
import pytest
from hypothesis import strategies

from defect_jax.data.files.output_names import faults_of, ids_of

PARTS = strategies.sampled_from(["a", "A", "b", "a.png", "a.jpg", "A.PNG", "ü", "u\u0308"])
SUFFIXES = strategies.sampled_from([".png", ".jpg", ".png.png", ".PNG", ".tiff"])
FILES = strategies.builds("{}{}".format, PARTS, SUFFIXES)
FOLDERS = strategies.lists(PARTS, max_size=2)
NAMES = strategies.lists(
    strategies.builds(lambda above, file: "/".join([*above, file]), FOLDERS, FILES), unique=True
)


def on_a_loose_disk(path):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


@hypothesis.given(NAMES)
def test_no_two_images_without_a_fault_meet_in_a_file_or_a_folder(names):
    ids = ids_of(names)
    assert list(ids) == names and len(set(ids.values())) == len(names)
    good = [ids[name] for name in names if name not in faults_of(ids)]
    for kind, suffix in (("masks", ".png"), ("overlays", ".jpg")):
        files = [on_a_loose_disk(f"{kind}/{id}{suffix}") for id in good]
        assert len(set(files)) == len(files)
        assert not any(one.startswith(f"{other}/") for one in files for other in files)


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["x.jpg", "y.png"], ["x", "y"]),
        (["x.jpg", "x.png"], ["x.jpg", "x.png"]),
        (["x.jpg", "x.png", "x.png.png"], ["x.jpg", "x.png", "x.png.png"]),
        (["x.jpg", "X.png"], ["x.jpg", "X.png"]),
        (["a.jpg", "a.png/b.jpg"], ["a.jpg", "a.png/b"]),
        (["a.png", "a/b.png"], ["a", "a/b"]),
        (["a.bmp", "a.JPG/b.jpg"], ["a.bmp", "a.JPG/b"]),
    ],
)
def test_a_suffix_stays_where_an_id_alone_would_not_do(names, ids):
    found = ids_of(names)
    assert list(found.values()) == ids and not faults_of(found)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["A.png", "a.png"], "would write the same files on some disks: rename one of them"),
        (["line/a.png", "Line/a.png"], "would write the same files"),
        (["\u00fc.png", "u\u0308.png"], "would write the same files"),
        (["a.jpg", "a.png/1.png", "a.jpg.png/1.png"], "would write the same files"),
        ([f"{'x' * 252}.png"], "its name is too long"),
        ([f"{'ü' * 126}.png"], "its name is too long"),
        ([f"{'x' * 256}/1.png"], "its name is too long"),
        (["a\u202egnp.png"], r"its name has the characters \u202e: rename it"),
        (["a\x1b[2J.png"], r"its name has the characters \x1b: rename it"),
        (["a\udcff.png"], r"its name has the characters \udcff: rename it"),
        (["a\n.png"], r"its name has the characters \n: rename it"),
    ],
)
def test_what_cannot_be_written_is_a_fault(names, says):
    faults = faults_of(ids_of(names))
    assert faults and all(says in fault for fault in faults.values())


def test_the_longest_names_that_can_be_written_are():
    assert not faults_of(ids_of([f"{'x' * 251}.png", f"{'y' * 251}.jpg", f"{'z' * 255}/1.png"]))
    two = [f"{'x' * 251}.png", f"{'x' * 251}.jpg"]  # they keep their suffix, and so get too long
    assert list(faults_of(ids_of(two))) == two


def test_a_fault_names_both_images():
    faults = faults_of(ids_of(["A.png", "a.png", "b.png"]))
    assert list(faults) == ["A.png", "a.png"]
    assert all("'A.png'" in fault and "'a.png'" in fault for fault in faults.values())


def test_a_name_that_the_system_has_no_letters_for_is_a_fault(monkeypatch):
    monkeypatch.setattr("os.fsencode", lambda name: name.encode("ascii"))
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    faults = faults_of(ids_of(["a.png", "prüf.png"]))
    assert faults == {"prüf.png": "its name cannot be written in ascii: set LC_ALL=C.UTF-8"}
