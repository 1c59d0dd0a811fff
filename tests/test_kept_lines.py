"""A line of an earlier prediction counts if it is what the program writes, or else not at all."""

import json
import os

import hypothesis
import pytest
from hypothesis import strategies

from defect_jax.deploy.kept_lines import read_lines, read_settings

LINE = {
    "id": "a/1",
    "probability": 0.25,
    "score": 0.5,
    "mask_score": 1.0,
    "decision": 0,
    "mask_decision": 1,
    "predicted_px": 3,
    "height": 40,
    "width": 50,
    "rejected": 0,
    "file": "a/1.png",
    "sha256": "0" * 64,
    "files": {"masks": "1" * 64, "overlays": "2" * 64},
    "regions": [{"box_px": [0, 1, 3, 1], "area_px": 3, "class": "pit", "score": 1.0}],
}
FAULT = {"id": "b", "fault": "b.png: is empty", "file": "b.png"}
WRONG = [
    None, True, [], {}, "", "1", "nan", -1, 2, 0.5, 1e308, 10**400, float("nan"), float("inf"),
    ["a"], {"a": "b"}, "\ud800",
]  # fmt: skip


def read(tmp_path, *texts):
    (tmp_path / "x.jsonl").write_bytes(
        b"\n".join(t if isinstance(t, bytes) else t.encode() for t in texts)
    )
    return read_lines(tmp_path / "x.jsonl")


def test_whole_lines_come_back_and_what_is_between_them_does_not(tmp_path):
    texts = [json.dumps(LINE), "", '{"id": "a/8", "prob', "[]", "1", "null", '"x"', "{}", b"\xff"]
    assert read(tmp_path, *texts, json.dumps(FAULT)) == [LINE, FAULT]
    assert read(tmp_path, json.dumps(FAULT | {"sha256": "3" * 64}))[0]["sha256"] == "3" * 64


@pytest.mark.parametrize("field", LINE)
def test_a_line_with_a_wrong_value_or_without_one_is_none(tmp_path, field):
    allowed = {
        "probability": (0.5,), "score": (0.5,), "mask_score": (0.5,), "predicted_px": (2,),
        "height": (2,), "width": (2,), "id": ("1", "nan"), "file": ("1", "nan"), "files": ({},),
        "regions": ([],),
    }  # fmt: skip
    for value in WRONG:
        fits = any(value == good and type(value) is type(good) for good in allowed.get(field, ()))
        assert bool(read(tmp_path, json.dumps(LINE | {field: value}))) == fits, value
    assert not read(tmp_path, json.dumps({k: v for k, v in LINE.items() if k != field}))
    assert not read(tmp_path, json.dumps(LINE | {"more": 1}))


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "1" * 5000, '{"id": ' + "9" * 5000 + "}", "NaN", "\0" * 9],
)
def test_hostile_json_is_no_line(tmp_path, text):
    assert read(tmp_path, text, json.dumps(LINE)) == [LINE]


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats()
    | strategies.text(max_size=3),
    lambda inner: strategies.lists(inner, max_size=3)
    | strategies.dictionaries(strategies.sampled_from([*LINE, "fault"]), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@pytest.mark.fuzz
@hypothesis.given(field=strategies.sampled_from([*LINE, "fault"]), value=JSON)
def test_whatever_a_line_holds_it_is_read_or_not(tmp_path_factory, field, value):
    folder = tmp_path_factory.getbasetemp()
    for line in read(folder, json.dumps(LINE | {field: value}), json.dumps(FAULT | {field: value})):
        assert isinstance(line["id"], str) and isinstance(line["file"], str)


def test_a_file_that_is_none_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    assert read_lines(tmp_path / "fifo") == read_lines(tmp_path / "missing") == []
    for name in ("fifo", "link"):
        with pytest.raises((OSError, ValueError)):
            read_settings(tmp_path / name)


@pytest.mark.parametrize("text", ["[]", "1", "[" * 100_000, "", "\xff", " " * 2_000_000 + "{}"])
def test_settings_that_are_none_are_a_value_error(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):
        read_settings(tmp_path / "run.json")
