"""Masks that can be read one by one, and are odd together: named, and refused when all are."""

import numpy as np
import pytest
import raw_data

from defect_jax.data.files.raw_files import open_root
from defect_jax.data.prepare.check import find_faults
from defect_jax.data.prepare.examine import Facts
from defect_jax.data.prepare.plausibility import doubts_about_masks
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.sources.records import DEFECT, GOOD, Record
from defect_jax.runtime.errors import UserError


def part(
    name: str, defect_px: int = 12, levels: tuple[str, ...] | None = None, truth: str = "", **more
) -> tuple[Record, Facts]:
    """Returns an image of 192 px with its mask; each has a mask of its own unless told."""
    record = Record(
        id=f"images/{name}",
        image=f"images/{name}.png",
        mask=f"masks/{name}.png",
        group=more.get("group", name),
        class_name=DEFECT if defect_px else GOOD,
        split="train",
    )
    levels = (("0", "255") if defect_px else ("0",)) if levels is None else levels
    facts = Facts(
        *(12, 16, 1, 8, False, defect_px, name, name),
        truth_sha256=truth or name,
        mask_levels=levels,
    )
    return record, facts


@pytest.fixture
def doubts(tmp_path):
    (tmp_path / "images").mkdir()
    raw = open_root(str(tmp_path))

    def of(*parts: tuple[Record, Facts], **options):
        data = raw_data.config("folder", tmp_path, tmp_path, **options)
        found = doubts_about_masks(raw, data, parts)
        return [str(fault).removeprefix(f"{tmp_path}/") for fault in found.faults], found.notes

    return of


def test_nothing_odd(doubts):
    assert doubts() == ([], [])
    assert doubts(part("a"), part("b", 96), part("c", 0, ("0",)), part("d", 0, ())) == ([], [])


def test_most_masks_mark_most_of_their_images(doubts):
    faults, notes = doubts(part("a", 180), part("b", 192), part("c"), part("d", 0, ("0",)))
    what = "as do 2 of all 3 masks: they show the parts and not the defects; invert them"
    assert [fault.partition(" (")[0] for fault in faults] == [
        f"masks/a.png: marks 94% of its image, {what}",
        f"masks/b.png: marks 100% of its image, {what}",
    ]
    assert all(
        fault.endswith("set config.data.trust_masks=True if they are right") for fault in faults
    )
    assert notes == []


def test_few_masks_that_mark_most_of_their_images_are_a_note(doubts):
    faults, notes = doubts(part("a", 97), part("b", 96), part("c"))
    assert faults == []
    assert notes == [
        "1 masks mark more than half of their image; invert those that mark the background: "
        "images/a (51%)"
    ]


def test_what_is_trusted_is_a_note(doubts):
    faults, (note,) = doubts(part("a", 180), trust_masks=True)
    assert faults == [] and note.startswith("1 masks mark more than half")


def test_a_threshold_above_all_values(doubts):
    low = ("0", "1")
    faults, notes = doubts(
        part("a", 0, low), part("b", 0, ("#000000", "#010000")), mask_threshold=127
    )
    assert notes == [] and len(faults) == 2
    assert faults[0].startswith(
        "masks/a.png: holds values up to 1, none above config.data.mask_threshold, "
        "as do 2 of all 2 masks that hold any: lower the threshold"
    )
    faults, notes = doubts(part("a", 0, low), part("b"), part("c"), mask_threshold=127)
    assert faults == []
    assert notes == [
        "1 masks hold values, but none above config.data.mask_threshold=127, so these parts count "
        "as good; lower it if they are not: images/a (up to 1)"
    ]


def test_more_than_two_values(doubts):
    parts = part("a", levels=("0", "1", "2")), part("b")
    assert doubts(*parts)[1] == [
        "1 masks hold more than two values, all of which but 0 count as defect; name kinds of "
        "defect in config.data.classes, or set config.data.mask_threshold: images/a (0, 1, 2)"
    ]
    assert doubts(*parts, mask_threshold=127) == ([], [])


def test_folders_that_say_otherwise(doubts):
    parts = part("line/Good/a"), part("good/b", 0), part("NG/c", 0), part("ng/d"), part("e/good")
    assert doubts(*parts)[1] == [
        "1 images in a folder of good parts have a mask that marks a defect and count as "
        "defective; empty or remove the mask if they are good: images/line/Good/a",
        "1 images in a folder of defective parts have no mask, or an empty one, and count as "
        "good; add their masks, or move them from images/ into bad/: images/NG/c",
    ]


def test_identical_masks(doubts):
    parts = part("a", truth="same"), part("b", truth="same"), part("c")
    assert doubts(*parts)[1] == [
        "2 masks are the same, pixel for pixel, as that of another part; look whether they were "
        "copied by mistake: images/a, images/b"
    ]
    one_part = [part(name, truth="same", group="g") for name in "ab"]
    assert doubts(*one_part) == ([], [])
    empty = [part(name, 0, ("0",), truth="same") for name in "ab"]
    assert doubts(*empty) == ([], [])


def inverted(root, defective: int):
    raw_data.folder_data(root, good=10, defective=5)
    for number in range(10, 10 + defective):
        raw_data.write(root / f"masks/bad/part_{number:03}.png", 255 - raw_data.defect_mask())
    return root


def test_a_set_inside_out_is_refused_by_check_and_by_training(tmp_path):
    root = inverted(tmp_path / "raw", 5)
    data = raw_data.config("folder", root, tmp_path)
    faults = [str(fault).removeprefix(f"{root}/") for fault in find_faults(data)]
    assert len(faults) == 5 and faults[0].startswith("masks/bad/part_010.png: marks 94% of its")
    with pytest.raises(UserError, match=r"part_01\d.png: marks 94% .* \(and 4 more: --mode=check"):
        prepare(data)
    assert not list((tmp_path / "prepared").rglob("*.array_record*"))
    data.trust_masks = True
    assert find_faults(data) == []
    prepared = prepare(data)
    assert any(note.startswith("5 masks mark more than half") for note in prepared.info.notes)
    total = sum(row.defect_px for split in prepared.splits.values() for row in split.rows)
    assert total == 5 * (192 - 12)


def test_one_mask_inside_out_is_named_in_the_notes_of_training(tmp_path, capsys):
    root = inverted(tmp_path / "raw", 1)
    data = raw_data.config("folder", root, tmp_path)
    assert find_faults(data) == []
    notes = prepare(data).info.notes
    expected = "1 masks mark more than half of their image; invert those that mark the background"
    assert f"{expected}: images/bad/part_010 (94%)" in notes
    assert expected in capsys.readouterr().err


def test_listing_and_examination_agree_on_what_is_refused(tmp_path):
    """A part whose mask is refused must not be listed as good, nor pass with another mask."""
    root = raw_data.folder_data(tmp_path / "raw")
    clear = np.dstack([np.zeros((12, 16, 3), np.uint8), raw_data.defect_mask()])
    raw_data.write(root / "masks/bad/part_010.png", clear)
    data = raw_data.config("folder", root, tmp_path)
    (fault,) = find_faults(data)
    assert "transparency varies: set config.data.mask_alpha=True" in fault.what
    for number in range(11, 15):
        raw_data.write(root / f"masks/bad/part_{number:03}.png", clear)
    data.mask_alpha = True
    assert find_faults(data) == []
    rows = [row for split in prepare(data).splits.values() for row in split.rows]
    assert sorted(row.defect_px for row in rows) == [0] * 10 + [12] * 5
