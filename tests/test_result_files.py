"""Results appear whole, in place of the ones before, or not at all."""

import numpy as np
import pytest

from defect_jax.data.prepare.prepared import Split, SplitRow
from defect_jax.evaluation.result_files import ResultFolder
from defect_jax.runtime.errors import UserError


def test_new_results_take_the_place_of_old_ones(tmp_path):
    final = tmp_path / "eval" / "test"
    for text in ("old", "new"):
        with ResultFolder(final) as results:
            (results.folder / f"{text}.csv").write_text(text)
    assert sorted(path.name for path in final.iterdir()) == ["masks", "new.csv"]
    assert [path.name for path in final.parent.iterdir()] == ["test"]


def test_an_evaluation_that_fails_leaves_the_old_results(tmp_path):
    final = tmp_path / "test"
    with ResultFolder(final) as results:
        (results.folder / "kept.csv").write_text("")
    with pytest.raises(ZeroDivisionError), ResultFolder(final) as results:
        (results.folder / "half.csv").write_text("")
        raise ZeroDivisionError
    assert sorted(path.name for path in final.iterdir()) == ["kept.csv", "masks"]
    assert [path.name for path in tmp_path.iterdir()] == ["test"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="file/test: cannot be written"),
        ResultFolder(tmp_path / "file" / "test"),
    ):
        pass


def test_masks_lie_under_their_ids(tmp_path):
    row = SplitRow("cast/part_1/shot_2", "part_1", "pit", 1, 3, 3, 3)
    with ResultFolder(tmp_path / "test") as results:
        results.mask_of(Split([], [row]))(0, np.eye(3, dtype=bool))
    assert (tmp_path / "test" / "masks" / "cast" / "part_1" / "shot_2.png").stat().st_size > 0
