"""metrics.jsonl as somebody may have left it: lines of a run, or one line that refuses them."""

import json

import pytest
from edited_json import EDITS, paths, replaced, with_more, without

from defect_jax.runtime.errors import UserError
from defect_jax.workdir.best_weights import SELECTION, read_history, selection_scores

LINES = [
    {"step": 2, "split": "train", "loss": 0.5, "learning_rate": 0.001},
    {"step": 4, "split": "val", "image_ap": None, SELECTION: 0.25},
    {"step": 6, "split": "val", "image_ap": 0.5, SELECTION: 0.75},
]


def written(folder, texts):
    (folder / "metrics.jsonl").write_text("\n".join(texts) + "\n")


@pytest.mark.parametrize("edit", EDITS)
def test_a_value_replaced_by_anything_is_history_or_one_line(edit, tmp_path):
    texts = [json.dumps(line) for line in LINES]
    for number, line in enumerate(LINES):
        for path in paths(line):
            for text in (
                replaced(line, path, EDITS[edit]),
                without(line, path),
                "[1]",
                EDITS[edit],
            ):
                written(tmp_path, [*texts[:number], text, *texts[number + 1 :]])
                try:
                    scores = selection_scores(read_history(tmp_path))
                except UserError as error:
                    assert f"metrics.jsonl, line {number + 1}: cannot be read" in str(error)
                    assert "\n" not in str(error)
                else:
                    assert all(isinstance(step, int) for step in scores)
                    assert max(scores, key=scores.get, default=6) in (4, 6, 0, 10**9)


def test_numbers_of_any_name_are_history(tmp_path):
    written(tmp_path, [with_more(line, ("step",)) for line in LINES])
    assert [line["extra"] for line in read_history(tmp_path)] == [1, 1, 1]


def test_a_checkpoint_whose_score_is_no_number_is_never_the_best(tmp_path):
    written(tmp_path, [json.dumps(line | {SELECTION: None}) for line in LINES])
    assert selection_scores(read_history(tmp_path)) == {}


@pytest.mark.parametrize("cut", ['{"step": 8, "spl', '{"step": 8, "split": "val"', "\0\0\0\0", "{"])
def test_the_last_line_may_be_cut_off_and_no_other(cut, tmp_path):
    texts = [json.dumps(line) for line in LINES]
    written(tmp_path, [*texts, cut])
    assert read_history(tmp_path) == LINES
    written(tmp_path, [texts[0], cut, *texts[1:]])
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2: cannot be read"):
        read_history(tmp_path)
