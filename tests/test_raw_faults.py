"""What a listing passes over or cannot follow never turns a defective part good in silence."""

import os
import stat
import subprocess
import tarfile

import pytest
import raw_data

from defect_jax.data.files.raw_files import open_root
from defect_jax.data.prepare.check import find_faults
from defect_jax.data.prepare.prepare import prepare
from defect_jax.data.sources.data_sets import data_set
from defect_jax.data.sources.records import SPLITS
from defect_jax.runtime import memory
from defect_jax.runtime.errors import UserError

GOOD, DEFECTIVE = 12, 9


@pytest.fixture
def folder(tmp_path):
    return raw_data.folder_data(tmp_path / "raw", GOOD, DEFECTIVE)


def defective(config):
    """How many parts the catalogue files as defective, and its notes."""
    chosen = data_set(config.name)
    found = chosen.catalogue(chosen.open(config), config, SPLITS)
    assert found.faults == []
    return sum(record.class_name != "good" for record in found.records), found.notes


def masks(folder):
    return sorted((folder / "masks/bad").iterdir())


def link(path, target, kind):
    """Moves a mask to `target` and leaves a link of either kind."""
    target.parent.mkdir(exist_ok=True)
    os.rename(path, target)
    if kind == "hard":
        os.link(target, path)
    else:
        path.symlink_to(os.path.relpath(target, path.parent))


@pytest.mark.parametrize("pack", ["folder", "tar", "system's tar"])
def test_linked_masks_are_masks(folder, tmp_path, pack):
    """Three are hard links, three links, three as they were; a tar once lost the first six."""
    for number, mask in enumerate(masks(folder)[:6]):
        link(mask, folder / f"store/{number}.png", "hard" if number < 3 else "symbolic")
    root = folder
    if pack == "tar":
        root = raw_data.pack_tar(folder, tmp_path / "raw.tar")
    elif pack == "system's tar":
        root = tmp_path / "raw.tar"
        subprocess.run(["tar", "-C", folder, "-cf", root, "images", "masks", "store"], check=True)
    found, notes = defective(raw_data.config("folder", root, tmp_path))
    assert found == DEFECTIVE
    assert notes[0].startswith("ignored 6 files outside images/ and masks/: store/0.png")


def test_sparse_masks_are_faults_by_name(folder, tmp_path):
    """As `tar --sparse` packs them; the zeros between would have been taken for the file."""
    version = subprocess.run(["tar", "--version"], capture_output=True, check=False).stdout
    if b"GNU tar" not in version:
        pytest.skip("another tar, which does not pack holes")
    for mask in masks(folder)[:2]:
        data = mask.read_bytes()
        with mask.open("wb") as file:
            file.write(data)
            file.truncate(10**6)
    root = tmp_path / "raw.tar"
    subprocess.run(["tar", "--sparse", "-C", folder, "-cf", root, "images", "masks"], check=True)
    faults = find_faults(raw_data.config("folder", root, tmp_path))
    assert [str(fault) for fault in faults] == [
        f"{root}: masks/bad/{mask.name}: is stored as a sparse file, which is not read: "
        "pack it again without --sparse"
        for mask in masks(folder)[:2]
    ]


def test_a_mask_of_two_members_is_a_fault_that_names_both(folder, tmp_path):
    root = raw_data.pack_tar(folder, tmp_path / "raw.tar")
    with tarfile.open(root, "a") as archive:
        archive.add(masks(folder)[0], "masks//bad/part_012.png")
    (fault,) = find_faults(raw_data.config("folder", root, tmp_path))
    assert fault.where == f"{root}: masks/bad/part_012.png"
    assert fault.what == (
        "is there twice, as './masks/bad/part_012.png' and 'masks//bad/part_012.png': "
        "keep one of them"
    )


def test_pictures_of_a_nas_are_no_parts_and_are_counted(folder, tmp_path, capsys):
    image = next((folder / "images/bad").iterdir()).read_bytes()
    for number in range(75):
        place = ("images/@eaDir", "$RECYCLE.BIN", "#snapshot/images")[number % 3]
        raw_data.write(folder / place / f"{number}.png", image)
    note = (
        "skipped 75 hidden files and files of the system: 25 for #snapshot, 25 for $RECYCLE.BIN, "
        "25 for @eaDir"
    )
    for root in (
        folder,
        raw_data.pack_tar(folder, tmp_path / "raw.tar"),
        raw_data.pack_zip(folder, tmp_path / "raw.zip"),
    ):
        config = raw_data.config("folder", root, tmp_path)
        assert defective(config) == (DEFECTIVE, [note])
    info = prepare(config).info
    assert info.notes == [note]
    assert f"folder: {note}" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["folder", "tar"])
@pytest.mark.parametrize("name", ["masks/bad", "images/bad"])
def test_a_folder_that_is_a_link_to_nowhere_is_a_fault(folder, tmp_path, name, where):
    os.rename(folder / name, tmp_path / "gone")
    (folder / name).symlink_to("../../nowhere")
    root = folder if where == "folder" else raw_data.pack_tar(folder, tmp_path / "raw.tar")
    faults = find_faults(raw_data.config("folder", root, tmp_path))
    assert any(str(f).startswith(open_root(str(root)).where(name) + ": is a link") for f in faults)


def test_images_that_are_a_link_to_nowhere_are_what_the_refusal_names(tmp_path):
    links = [raw_data.tar_link("images", "/data/images"), ("masks/1.png", b"")]
    root = raw_data.tar_of(tmp_path / "raw.tar", *links)
    with pytest.raises(UserError, match="holds no images/ .*images: is a link to '/data/images'"):
        prepare(raw_data.config("folder", root, tmp_path))


def test_a_fifo_among_the_masks_is_a_fault_and_no_wait(folder, tmp_path):
    mask = masks(folder)[0]
    mask.unlink()
    os.mkfifo(mask)
    (fault,) = find_faults(raw_data.config("folder", folder, tmp_path))
    assert str(fault) == f"{mask}: is a FIFO, not a regular file: remove it"


def test_what_is_too_large_for_the_memory_is_named_with_the_limit(folder, tmp_path, monkeypatch):
    free = memory.FreeMemory(2500, "the 0.5 GB of the cgroup limit /sys/fs/cgroup/memory.max")
    monkeypatch.setattr(memory, "free_bytes", lambda: free)
    monkeypatch.setattr(memory, "LARGE_BYTES", 2000)
    large = folder / "images/good/part_000.png"
    raw_data.write(large, raw_data.noise(0, 20, 20))
    (fault,) = find_faults(raw_data.config("folder", folder, tmp_path))
    assert str(fault) == (
        f"{large}: needs 0.0 GB of memory, and there are 0.0 GB free within the 0.5 GB of the "
        "cgroup limit /sys/fs/cgroup/memory.max: make it smaller, or raise the limit"
    )


@pytest.mark.parametrize("shortage", [MemoryError(), MemoryError("Unable to allocate 9 GiB")])
def test_a_shortage_costs_one_image(folder, tmp_path, monkeypatch, shortage):
    kept = raw_data.config("folder", folder, tmp_path)
    seen = []

    def read(self, name):
        if name.endswith("good/part_003.png"):
            seen.append(name)
            raise shortage
        return (folder / name).read_bytes()

    monkeypatch.setattr("defect_jax.data.files.folder_files.Folder.read", read)
    (fault,) = find_faults(kept)
    assert fault.where == f"{folder}/images/good/part_003.png" and seen
    assert fault.what.startswith("needs more memory than there is (")
    assert "GB free within" in fault.what


def test_every_other_release_is_read_by_the_same_code(tmp_path):
    root = raw_data.ksdd2_release(tmp_path / "ksdd2", (6, 4), (3, 3), scale=0.1)
    raw_data.write(root / "train/@eaDir/10000.png/M.png", b"")
    (root / "train/more").symlink_to("/not/there")
    faults = find_faults(raw_data.config("ksdd2", root, tmp_path))
    assert [str(fault) for fault in faults] == [
        f"{root}/train/more: is a link to '/not/there', which cannot be followed: mend or remove it"
    ]
    assert stat.S_ISLNK(os.lstat(root / "train/more").st_mode)
