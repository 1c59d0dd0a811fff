"""What a checkpoint says of itself, as somebody may have written it."""

import json

import pytest
from edited_json import EDITS, paths, replaced, with_more, without

from defect_jax.runtime.json_files import NotJson, parse
from defect_jax.workdir.checkpoint_record import is_record

RECORD = {"arrays": {"ema": {"params/a": "float32[2] 00"}}, "unlogged": [{"loss": 0.5}], "step": 4}


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_is_a_record_or_none(edit):
    assert is_record(RECORD) and is_record({k: v for k, v in RECORD.items() if k != "step"})
    for place in paths(RECORD):
        for text in (replaced(RECORD, place, EDITS[edit]), without(RECORD, place)):
            try:
                record = parse(text)
            except NotJson:
                record = json.loads(text) if edit in ("NaN", "infinity") else None
            if is_record(record):
                assert all(
                    isinstance(s, str) for t in record["arrays"].values() for s in t.values()
                )
                assert all(abs(n) < 1e300 for step in record["unlogged"] for n in step.values())
    assert not is_record(json.loads(with_more(RECORD, ("arrays",))))
