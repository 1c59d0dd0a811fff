"""weights.json: written, read back, and refused where it is none."""

import json

import pytest

from defect_jax.runtime.errors import UserError
from defect_jax.workdir import weights_record
from defect_jax.workdir.weights_record import WeightsRecord

RECORD = WeightsRecord("resnet18", "hf://timm/resnet18.a1_in1k@491b427b", "ab" * 32, "")


def test_a_record_is_read_as_it_was_kept(tmp_path):
    assert weights_record.read(tmp_path) is None
    weights_record.keep(tmp_path, RECORD)
    assert weights_record.read(tmp_path) == RECORD


@pytest.mark.parametrize(
    "changed", [{"origin": 1}, {"more": ""}, {"encoder": None}, {"licence": ["Apache-2.0"]}]
)
def test_what_is_no_record_is_refused(tmp_path, changed):
    fields = RECORD._asdict() | changed
    (tmp_path / "weights.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match="must hold the texts encoder, origin, sha256, licence"):
        weights_record.read(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '"text"', '{"encoder": "resnet18"}'])
def test_what_lacks_a_field_is_refused(tmp_path, text):
    (tmp_path / "weights.json").write_text(text)
    with pytest.raises(UserError, match="must hold the texts"):
        weights_record.read(tmp_path)
