"""groups.csv as people write it, and exact copies that stay together."""

from collections import Counter, defaultdict

import pytest
import raw_data

from defect_jax.data.files.raw_files import open_root
from defect_jax.data.sources import folder
from defect_jax.data.sources.records import SPLITS


def catalogue(root, tmp_path, needed=SPLITS, **changes):
    data = raw_data.config("folder", root, tmp_path, **changes)
    return folder.catalogue(open_root(data.root), data, needed)


def texts(found):
    return [str(fault) for fault in found.faults]


def write_groups(root, *ids):
    lines = [f"{id},part {number}" for number, id in enumerate(ids)]
    raw_data.write(root / "groups.csv", "\n".join(["id,group", *lines]).encode())


@pytest.mark.parametrize(
    "written",
    [
        "images/line 1/ä.b", "line 1/ä.b", "images/line 1/ä.b.png", "line 1/ä.b.PNG",
        "images\\line 1\\ä.b.png", "line 1\\ä.b", "./images/line 1/ä.b", "/line 1/ä.b.png",
        "  line 1/ä.b  ", "line 1/a\u0308.b", "/data/my parts/images/line 1/ä.b.png",
        "my_parts/images/line 1/ä.b", '"line 1/ä.b"',
    ],
)  # fmt: skip
def test_ways_to_write_an_id(tmp_path, written):
    root = tmp_path / "raw"
    raw_data.write(root / "images/line 1/ä.b.png", raw_data.noise(0))
    raw_data.write(root / "images/c.JPG", raw_data.encoded(raw_data.noise(1), "JPEG"))
    write_groups(root, written, "c.jpg")
    found = catalogue(root, tmp_path)
    assert not found.faults
    assert {r.id: r.group for r in found.records} == {
        "images/line 1/ä.b": "part 0", "images/c": "part 1",
    }  # fmt: skip


@pytest.mark.parametrize("home", ["train/images", "images/train", "Train/images", "images/train/a"])
@pytest.mark.parametrize("spelled", ["{home}/1", "train/{below}1.png", "{below}1"])
def test_ids_with_and_without_the_split(tmp_path, home, spelled):
    root = tmp_path / "raw"
    raw_data.write(root / home / "1.png", raw_data.noise(0))
    below = "a/" if home.endswith("a") else ""
    split = "Train" if "Train" in home else "train"
    write_groups(root, spelled.format(home=home, below=below).replace("train", split))
    (record,) = catalogue(root, tmp_path, ("train", "test")).records
    assert record.group == "part 0"


def test_an_id_that_may_mean_two_images(tmp_path):
    root = tmp_path / "raw"
    for split in ("train", "test"):
        raw_data.write(root / split / "images/1.png", raw_data.noise(len(split)))
    write_groups(root, "1", "train/1", "test/images/1")
    found = catalogue(root, tmp_path)
    assert texts(found) == [
        f"{root}/groups.csv, line 2: '1' may be test/images/1, train/images/1: write the whole id"
    ]


def test_the_whole_id_goes_before_a_shorter_one(tmp_path):
    root = tmp_path / "raw"
    for number, name in enumerate(["a.png", "images/a.png", "b.png", "b.png.png"]):
        raw_data.write(root / "images" / name, raw_data.noise(number))
    write_groups(root, "images/a", "images/images/a", "b", "images/b.png.png")
    found = catalogue(root, tmp_path)
    assert not found.faults
    assert [r.group for r in sorted(found.records, key=lambda r: r.id)] == [
        "part 0", "part 2", "part 3", "part 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "written, says",
    [
        ("b", "lists 'b', but no image has that id"),
        ("a.jpg", "lists 'a.jpg', but no image has that id"),
        ("A", "lists 'A', but no image has that id"),
        ("masks/a", "lists 'masks/a', but no image has that id"),
    ],
)
def test_ids_of_no_image(tmp_path, written, says):
    root = tmp_path / "raw"
    raw_data.write(root / "images/a.png", raw_data.noise(0))
    write_groups(root, "a", written)
    (fault,) = catalogue(root, tmp_path).faults
    assert fault.what.startswith(says)


@pytest.mark.parametrize("header", ["id,group", "ID,Group", "\ufeffid , group", '"id","group"'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_spreadsheets_save(tmp_path, header, end):
    raw_data.write(tmp_path / "raw/images/a.png", raw_data.noise(0))
    raw_data.write(tmp_path / "raw/groups.csv", f"{header}{end}a,1{end}{end}".encode())
    found = catalogue(tmp_path / "raw", tmp_path)
    assert not found.faults and [record.group for record in found.records] == ["1"]


@pytest.mark.parametrize("text", ["id;group\na;1\n", "id\tgroup\na\t1\n", "id,group,\na,1,\n"])
def test_columns_that_are_parted_otherwise(tmp_path, text):
    raw_data.write(tmp_path / "raw/images/a.png", raw_data.noise(0))
    raw_data.write(tmp_path / "raw/groups.csv", text.encode())
    (fault,) = catalogue(tmp_path / "raw", tmp_path).faults
    assert fault.what == (
        f"begins with {text.splitlines()[0]!r}, and not with the line 'id,group': write that with "
        "a comma, and two columns in this order below it"
    )


def test_a_file_of_groups_without_a_line(tmp_path):
    raw_data.write(tmp_path / "raw/images/a.png", raw_data.noise(0))
    raw_data.write(tmp_path / "raw/groups.csv", b"id,group\n")
    (fault,) = catalogue(tmp_path / "raw", tmp_path).faults
    assert fault.what == "does not list 'images/a': add its line"


def test_a_faulty_line_is_named_once(tmp_path):
    for name in "ab":
        raw_data.write(tmp_path / f"raw/images/{name}.png", raw_data.noise(ord(name)))
    raw_data.write(tmp_path / "raw/groups.csv", b"id,group\na,1\nb,\n")
    (fault,) = catalogue(tmp_path / "raw", tmp_path).faults
    assert fault.where.endswith("groups.csv, line 3")


def test_one_image_written_in_two_ways(tmp_path):
    root = tmp_path / "raw"
    raw_data.write(root / "images/a.png", raw_data.noise(0))
    write_groups(root, "a", "images/a.png")
    (fault,) = catalogue(root, tmp_path).faults
    assert str(fault) == (
        f"{root}/groups.csv, line 3: names 'images/a' a second time, with another value: "
        "keep one line"
    )


def test_short_ids_where_a_split_is_not_there(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw/test").parent
    ids = [f"bad/part_{n:03}" for n in range(10, 15)] + [f"good/part_{n:03}" for n in range(10)]
    write_groups(root, *ids, "only/in/train")
    assert not catalogue(root, tmp_path, ("test",)).faults
    (fault,) = (f for f in catalogue(root, tmp_path).faults if "only/in/train" in f.what)
    assert fault.what.startswith("lists 'only/in/train', but no image")


@pytest.mark.parametrize("name", ["Groups.csv", "train/groups.csv", "other/GROUPS.CSV"])
def test_a_file_of_groups_that_would_not_be_read(tmp_path, name):
    root = raw_data.folder_data(tmp_path / "raw/train").parent
    raw_data.write(root / name, b"id,group\n")
    (fault,) = catalogue(root, tmp_path, ("train",)).faults
    assert str(fault) == (
        f"{root}/{name}: is not read: call it groups.csv and put it beside images/"
    )


# Exact copies.


def copy(root, old, new):
    raw_data.write(root / new, (root / old).read_bytes())
    mask = root / old.replace("images", "masks")
    if mask.exists():
        raw_data.write(root / new.replace("images", "masks"), mask.read_bytes())


@pytest.fixture
def copied(tmp_path):
    """Thirty parts, twelve of them there twice under other names."""
    root = raw_data.folder_data(tmp_path / "raw", good=20, defective=10)
    for number in [*range(6), *range(20, 26)]:
        kind = "good" if number < 20 else "bad"
        copy(root, f"images/{kind}/part_{number:03}.png", f"images/{kind}/z_copy_{number:03}.png")
    return root


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("packed", ["folder", "tar", "zip"])
def test_copies_are_in_one_split(copied, tmp_path, packed, seed):
    pack = {"tar": raw_data.pack_tar, "zip": raw_data.pack_zip}.get(packed, lambda root, _: root)
    found = catalogue(pack(copied, tmp_path / f"raw.{packed}"), tmp_path, seed=seed)
    assert not found.faults and len(found.records) == 42
    of = {record.id.replace("z_copy", "part"): [] for record in found.records}
    for record in found.records:
        of[record.id.replace("z_copy", "part")].append(record)
    assert Counter(map(len, of.values())) == {1: 18, 2: 12}
    for id, records in of.items():
        assert {record.group for record in records} == {id}
        assert len({record.split for record in records}) == 1


def test_a_copy_that_is_added_moves_nothing(tmp_path):
    root = raw_data.folder_data(tmp_path / "raw", good=20, defective=10)
    before = {r.id: r.group for r in catalogue(root, tmp_path).records}
    copy(root, "images/good/part_003.png", "images/good/part_003_copy.png")
    after = {r.id: r.group for r in catalogue(root, tmp_path).records}
    added = {"images/good/part_003_copy": "images/good/part_003"}
    assert after == before | added


def test_a_copy_joins_the_groups_of_groups_csv(copied, tmp_path):
    ids = sorted(
        path.relative_to(copied).with_suffix("").as_posix()
        for path in (copied / "images").rglob("*.png")
    )
    write_groups(copied, *ids)
    found = catalogue(copied, tmp_path)
    assert not found.faults and found.grouped
    splits = defaultdict(set)
    for record in found.records:
        splits[record.id.replace("z_copy", "part")].add((record.split, record.group))
    assert all(len(places) == 1 for places in splits.values())


def test_files_of_one_size_that_differ_are_no_copies(tmp_path):
    for number in range(6):
        data = raw_data.encoded(raw_data.noise(number), "BMP")
        raw_data.write(tmp_path / f"raw/images/{number}.bmp", data)
    found = catalogue(tmp_path / "raw", tmp_path)
    assert all(record.group == record.id for record in found.records)
    assert not found.grouped
