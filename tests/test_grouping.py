"""What is said of groups and near-duplicates, and the groups that are proposed."""

import csv

import numpy as np
import pytest
import raw_data
from test_near_duplicates import noisy, surface

from defect_jax.data.prepare.check import inspect
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.prepare.remarks import MOST_LINES, count_lines, remarks, write_proposal
from defect_jax.data.sources.records import SPLITS
from defect_jax.runtime.errors import UserError


def shots_of_parts(root, parts=20, shots=2, splits=("",)):
    """Writes shots of each part, every other part with a defect; `splits` take shots in turn."""
    for part in range(parts):
        image = surface(part)
        for shot in range(shots):
            above = splits[shot % len(splits)]
            name = f"part_{part:02}_{shot}.png"
            raw_data.write(root / above / "images" / name, noisy(image, 10 * part + shot)[..., 0])
            if part % 2:
                mask = np.roll(raw_data.defect_mask(*image.shape[:2]), part, axis=1)
                raw_data.write(root / above / "masks" / name, mask)
    return root


def inspected(root, tmp_path):
    return inspect(raw_data.config("folder", root, tmp_path))


def of_likeness(found):
    """The notes, but for those of masks: shots of one part have the same."""
    return [note for note in found.info.notes if "masks are the same" not in note]


def written_groups(path):
    with path.open(newline="") as file:
        return {row["id"]: row["group"] for row in csv.DictReader(file)}


def test_shots_without_groups(tmp_path):
    root = shots_of_parts(tmp_path / "raw")
    found = inspected(root, tmp_path)
    none, alike, leaking = of_likeness(found)
    assert none == "there is no groups.csv: every image counts as a part of its own"
    assert alike.startswith(
        "40 images look like one of another group (--mode=check proposes groups): "
    )
    split_of = {record.id: record.split for record, _ in found.stored}
    met = {split: 0 for split in ("val", "test")}
    for id, split in split_of.items():
        sister = f"{id[:-1]}{1 - int(id[-1])}"
        if split != "train" and split_of[sister] == "train":
            met[split] += 1
    assert leaking.startswith("leaking, as it seems: ")
    for split, count in met.items():
        total = sum(other == split for other in split_of.values())
        assert f"{count} of {total} images of {split} (" in leaking
    assert prepare(raw_data.config("folder", root, tmp_path)).info.notes == found.info.notes


def test_the_proposed_groups_mend_it(tmp_path):
    root = shots_of_parts(tmp_path / "raw")
    found = inspected(root, tmp_path)
    lines = list(remarks("folder", found))
    at = next(n for n, line in enumerate(lines) if line.startswith("groups.csv might join"))
    ids = [f"images/part_{part:02}_{shot}" for part in range(20) for shot in range(2)]
    assert lines[at + 1 :] == [f"{id},{id[:-1]}0" for id in ids]
    path = write_proposal(found, tmp_path / "new/folder")
    assert written_groups(path) == {id: f"{id[:-1]}0" for id in ids}
    (root / "groups.csv").write_bytes(path.read_bytes())
    found = inspected(root, tmp_path)
    assert not found.faults and found.info.notes == []
    splits = {}
    for record, _ in found.stored:
        splits.setdefault(record.id[:-1], set()).add(record.split)
    assert all(len(of_part) == 1 for of_part in splits.values())


def test_a_proposal_never_replaces_a_file(tmp_path):
    root = shots_of_parts(tmp_path / "raw", parts=10)
    found = inspected(root, tmp_path)
    raw_data.write(root / "groups.csv", b"mine")
    with pytest.raises(UserError, match=r"--output: .*/raw/groups.csv is there already"):
        write_proposal(found, root)
    assert (root / "groups.csv").read_bytes() == b"mine"
    with pytest.raises(UserError, match=r"--output: .*/mine/groups.csv cannot be written"):
        write_proposal(found, raw_data.write(tmp_path / "mine", b""))


def test_the_proposal_holds_images_with_faults_too(tmp_path):
    root = shots_of_parts(tmp_path / "raw", parts=10)
    raw_data.write(root / "images/part_99.png", b"no image")
    found = inspected(root, tmp_path)
    assert len(found.faults) == 1 and len(found.stored) == 20
    groups = written_groups(write_proposal(found, tmp_path / "new"))
    assert len(groups) == 21 and groups["images/part_99"] == "images/part_99"


def test_fixed_splits_with_one_part_in_both(tmp_path):
    root = shots_of_parts(tmp_path / "raw", splits=("train", "test"))
    raw_data.folder_data(root / "val")
    found = inspected(root, tmp_path)
    assert not found.faults
    leaking = "leaking, as it seems: 20 of 20 images of test (10 of 10 defective) look like an "
    assert any(note.startswith(leaking) for note in found.info.notes)


def test_groups_that_miss_a_likeness(tmp_path):
    root = shots_of_parts(tmp_path / "raw")
    groups = {f"part_{p:02}_{s}": f"{p}" for p in range(20) for s in range(2)}
    groups["part_03_1"] = "another"
    lines = [f"{id},{group}" for id, group in groups.items()]
    raw_data.write(root / "groups.csv", "\n".join(["id,group", *lines]).encode())
    notes = of_likeness(inspected(root, tmp_path))
    assert notes[0] == (
        "2 images look like one of another group (--mode=check proposes groups): "
        "images/part_03_0 ~ images/part_03_1"
    ) or notes[0].endswith("images/part_03_1 ~ images/part_03_0")
    assert not any("leak" in note for note in notes), "groups were known: it may well be a likeness"


def test_many_lines_are_cut_short(tmp_path):
    root = shots_of_parts(tmp_path / "raw", parts=22, shots=3)
    lines = list(remarks("folder", inspected(root, tmp_path)))
    assert lines[-1] == f"and {66 - MOST_LINES} lines more"


def test_counts_by_split_and_label(tmp_path):
    root = tmp_path / "raw"
    for split in SPLITS:
        raw_data.folder_data(root / split, good=4, defective=2)
    raw_data.write(root / "val/masks/good/part_001.png", raw_data.defect_mask() * 0)
    assert count_lines(inspected(root, tmp_path).found) == [
        "train, defect: 2 images, 2 with a mask, 0 without",
        "train, good: 4 images, 0 with a mask, 4 without",
        "val, defect: 2 images, 2 with a mask, 0 without",
        "val, good: 4 images, 1 with a mask, 3 without",
        "test, defect: 2 images, 2 with a mask, 0 without",
        "test, good: 4 images, 0 with a mask, 4 without",
    ]
