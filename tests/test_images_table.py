"""predictions.csv and metrics.json as somebody may have left them: a table, or one line."""

import json

import pytest
from edited_json import EDITS, paths, replaced

from defect_jax.metrics.images import ImageRow, read_predictions, write_predictions
from defect_jax.metrics.summary import read_metrics, write_metrics
from defect_jax.runtime.errors import UserError

ROW = ImageRow("a/1", "a", 1, 0.9, 0.8, 1, 1, 0.5, 20, 30, 30, 0.9, 1)
NUMBERS = [name for name in ImageRow._fields if name not in ("id", "group")]
CELLS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "-0.5",
    "1e400",
    "9" * 5000,
    "x",
    "[1]",
    "1_0",
    " 1",
    "٣",
    "\x1b]0;x\x07",
]


@pytest.mark.parametrize("column", NUMBERS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_that_is_no_number_of_its_kind_is_named(column, cell, tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, [ROW])
    header, row = path.read_text().splitlines()
    cells = row.split(",")
    cells[ImageRow._fields.index(column)] = cell
    path.write_text(f"{header}\n{','.join(cells)}\n")
    if (column, cell) in {("score", " 1"), ("mask_score", " 1"), ("iou", " 1")} | {
        ("probability", " 1")
    }:
        assert getattr(read_predictions(path)[0], column) == 1.0
        return
    with pytest.raises(UserError, match=f"predictions.csv, line 2: {column} cannot be") as caught:
        read_predictions(path)
    assert len(str(caught.value)) < 400 and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the first line must be"),
        ("id,group\n", "the first line must be"),
        (f"{','.join(ImageRow._fields)}\na,b\n", "line 2: 2 columns instead of 14"),
        (f"{','.join(ImageRow._fields)}\n{'x' * 200_000}\n", "cannot be read as a table"),
        (f"{','.join(ImageRow._fields)}\na\x1b,b,1,1,1,1,1,,0,0,0,1,1,1\n", "line 2: id cannot be"),
        (
            f"{','.join(ImageRow._fields)}\n" + "a,b,1,1,1,1,1,,0,0,0,1,1,1\n" * 2,
            "'a' is there twice",
        ),
    ],
)
def test_a_table_that_is_none_is_named(text, says, tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=f"predictions.csv.*{says}"):
        read_predictions(path)


@pytest.mark.parametrize("edit", EDITS)
def test_metrics_replaced_by_anything_are_numbers_or_one_line(edit, tmp_path):
    path, metrics = tmp_path / "metrics.json", {"images": 3, "seg_miou": 0.5, "image_ap": None}
    write_metrics(path, metrics)
    assert read_metrics(path) == metrics
    texts = [replaced(metrics, place, EDITS[edit]) for place in paths(metrics)]
    for text in [EDITS[edit], *texts]:
        path.write_text(text)
        try:
            read = read_metrics(path)
        except UserError as error:
            assert "metrics.json: " in str(error) and "\n" not in str(error)
        else:
            assert json.loads(text) == read
            assert all(value is None or abs(value) < 1e300 for value in read.values())
