"""Which names count, and that no name stands for two files."""

import pytest

from defect_jax.data.files.raw_names import listing, machine_part, skipped_note
from defect_jax.runtime.errors import UserError

COMPOSED, DECOMPOSED = "pr\u00fcf.png", "pru\u0308f.png"

MACHINES = [
    "@eaDir/1.png/SYNOPHOTO_THUMB_M.png", "images/@eaDir/1.png", "images/@EADIR/1.png",
    "$RECYCLE.BIN/S-1-5/1.png", "$Recycle.Bin/1.png", "#recycle/1.png", "@Recycle/1.png",
    "#snapshot/daily/images/1.png", "~snapshot/1.png", ".snapshot/1.png",
    "@Recently-Snapshot/1.png",
    ".Trash/1.png", ".Trash-1000/files/1.png", ".Trashes/501/1.png", "RECYCLER/1.png",
    "trashbox/1.png", "images/_vti_cnf/1.png",
    "__MACOSX/images/._1.png", ".AppleDouble/1.png", "images/._1.png", "Network Trash Folder/1.png",
    "System Volume Information/1.png", "lost+found/1.png", ".thumbnails/1.png", "@__thumb/1.png",
    ".@__thumb/1.png", "images/Thumbs.db", "images/thumbs.db", "desktop.ini", "images/Desktop.ini",
    "images/.DS_Store", ".git/objects/1.png", ".ipynb_checkpoints/1.png", ".nfs0001",
    "images/1.png:Zone.Identifier", "images/1.png@SynoEAStream",
]  # fmt: skip
OWN = ["images/1.png", "@home/1.png", "snapshot/1.png", "Trash/1.png", "a/lost+found.png",
          "recycle.bin/1.png", "thumbnails/1.png", "images/1.DS_Store.png",
       "#1/$1/~1.png"]  # fmt: skip


@pytest.mark.parametrize("name", MACHINES)
def test_what_a_system_keeps_is_skipped(name):
    found = listing([(name, 1), ("images/2.png", 2)], "root")
    assert list(found.files) == ["images/2.png"]
    assert found.skipped.total() == 1 and found.lost == {}


@pytest.mark.parametrize("name", OWN)
def test_what_only_looks_like_it_is_kept(name):
    assert machine_part(name) is None
    assert listing([(name, 1)], "root").files == {name: 1}


def test_the_note_counts_the_files_of_each_folder():
    names = [f"images/@eaDir/{n}.png/M.png" for n in range(75)] + ["._1.png", "a/._2.png"]
    skipped = listing([(name, 0) for name in names], "root").skipped
    assert skipped == {"@eaDir": 75, "._*": 2}
    assert skipped_note(skipped) == (
        "skipped 77 hidden files and files of the system: 75 for @eaDir, 2 for ._*"
    )
    assert skipped_note({}) == ""
    many = {f".{number:02}": 1 for number in range(12)}
    assert skipped_note(many).endswith("1 for .09, 2 for others")


@pytest.mark.parametrize(
    "first, second, name",
    [
        ("a/b.png", "a//b.png", "a/b.png"),
        ("a/b.png", "./a/b.png", "a/b.png"),
        ("./a/b.png", "a/./b.png", "a/b.png"),
        ("a/b.png", "a/b.png", "a/b.png"),
        (COMPOSED, DECOMPOSED, COMPOSED),
        ("x\x1b.png", "x\x07.png", "x\ufffd.png"),
    ],
)
def test_two_files_of_one_name_are_both_named_and_neither_is_taken(first, second, name):
    files = listing([(first, 1), ("c.png", 2), (second, 3)], "root").files
    assert sorted(files) == sorted([name, "c.png"]) and files["c.png"] == 2
    assert files[name].why == f"is there twice, as {first!r} and {second!r}: keep one of them"


def test_names_that_differ_in_case_are_two():
    assert listing([("a.png", 1), ("A.png", 2)], "root").files == {"a.png": 1, "A.png": 2}


def test_a_mask_is_found_whichever_way_its_accents_are_written():
    files = listing([(f"images/{COMPOSED}", 1), (f"masks/{DECOMPOSED}", 2)], "root").files
    assert files == {f"images/{COMPOSED}": 1, f"masks/{COMPOSED}": 2}


@pytest.mark.parametrize(
    "name",
    ["../b.png", "a/../a/b.png", "a/..", "/a/b.png", "a\\b.png", "C:\\b.png", "a/" * 99 + "b.png",
     "b" * 2000],
)  # fmt: skip
def test_names_that_are_no_plain_path(name):
    with pytest.raises(UserError, match="root: .*(no plain path below the data|too long or too)"):
        listing([(name, 1)], "root")


@pytest.mark.parametrize("character", "\x00\x1b\n\x9b\u2028\u202e\u2066\udcff")
def test_what_no_page_and_no_terminal_may_be_given(character):
    (name,), (refused,) = zip(
        *listing([(f"a{character}.png", 1)], "root").files.items(), strict=True
    )
    assert name == "a\ufffd.png"
    assert refused.why == "has characters that cannot be written: rename it"


def test_a_file_without_a_name_may_have_been_an_image():
    found = listing([("", 1), ("./", 2), ("a.png", 3)], "root")
    assert found.files == {"a.png": 3}
    assert list(found.lost) == ["(a file without a name)"]
