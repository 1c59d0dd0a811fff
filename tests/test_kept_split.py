"""split.csv of a workdir: what was written is read, and nothing else is believed."""

import pytest
import raw_data

from defect_jax.data.prepare.prepare import prepare
from defect_jax.runtime.errors import UserError
from defect_jax.workdir import kept_split


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept")
    root = raw_data.folder_data(path / "raw")
    raw_data.write(root / 'images/an "odd", name é.png', raw_data.noise(99))
    return prepare(raw_data.config("folder", root, path))


def test_what_was_written_is_read(prepared, tmp_path):
    assert kept_split.read(tmp_path) is None
    kept_split.keep(tmp_path, prepared, anew=False)
    rows = kept_split.read(tmp_path)
    assert rows == kept_split.rows_of(prepared) and len(rows) == 16
    assert {row.split: row.id for row in rows}.keys() == {"train", "val", "test"}
    assert (
        (tmp_path / "split.csv")
        .read_text()
        .startswith("split,id,group,class_name,label,sha256,mask_sha256\n")
    )


def test_a_run_that_goes_on_keeps_what_it_has(prepared, tmp_path):
    (tmp_path / "split.csv").write_text("of before")
    kept_split.keep(tmp_path, prepared, anew=False)
    assert (tmp_path / "split.csv").read_text() == "of before"


LINE = "test,a,a,good,0,12,34"
HEADER = "split,id,group,class_name,label,sha256,mask_sha256"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER,
        f"{HEADER}\n{LINE}\n{LINE}",
        f"{HEADER}\nlater,a,a,good,0,12,34",
        f"{HEADER}\ntest,a,a,good,2,12,34",
        f"{HEADER}\ntest,a,a,good,,12,34",
        f"{HEADER}\ntest,a,a",
        "id,split\na,test",
        f'{HEADER}\n{LINE}\n"',
        "\0" * 100,
        "[1, 2]",
        f"{HEADER}\n{LINE[:-4]}" + "9" * 200_000,
    ],
)
def test_a_damaged_table_is_one_line(text, tmp_path):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(UserError, match=f"{tmp_path}/split.csv: is damaged .*copy it") as refusal:
        kept_split.read(tmp_path)
    assert len(str(refusal.value)) < 300 and "\n" not in str(refusal.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "split.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="split.csv: cannot be read"):
        kept_split.read(tmp_path)
