"""A prepared set is read only if its files say what ours say: TFDS imports what they name."""

import json
import shutil
import sys

import pytest
from edited_json import EDITS, paths, replaced, with_more, without

from defect_jax.configs import synthetic
from defect_jax.data.prepare import prepared
from defect_jax.data.prepare.prepare import prepare
from defect_jax.runtime.errors import UserError

NAME = "synthetic"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a prepared set."""
    config = synthetic.get_config("debug")
    config.data.parts = 20
    config.data.data_dir = str(tmp_path_factory.mktemp("prepared"))
    return prepare(config.data).directory


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "set")


def refused(directory, says="is damaged"):
    with pytest.raises(UserError, match=says) as caught:
        prepared.load(directory, ["test"])
    assert "\n" not in str(caught.value) and "delete it" in str(caught.value)


def test_what_we_prepared_is_read(whole):
    assert len(prepared.load(whole, ["test"]).splits["test"].rows) > 0


@pytest.mark.parametrize("where", ["the whole", "a feature"])
def test_a_class_that_somebody_names_is_never_imported(where, copied, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("raise SystemExit('planted code ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = copied / NAME / "1.0.0" / "features.json"
    features = json.loads(path.read_text())
    inside = features if where == "the whole" else features["featuresDict"]["features"]["image"]
    inside["pythonClassName"] = "planted.Feature"
    path.write_text(json.dumps(features))
    refused(copied, "is damaged .features.json is not ours")
    assert "planted" not in sys.modules


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_every_edit_of_what_tfds_reads_is_refused(name, copied):
    path = copied / NAME / "1.0.0" / name
    fields = json.loads(path.read_text())
    free = {"description"}
    for place in paths(fields):
        edits = [with_more(fields, place)]
        if place[0] not in free and "numBytes" not in place and "shardLengths" not in place:
            texts = (EDITS["text"], EDITS["path out"], EDITS["object"], EDITS["NaN"])
            edits += [replaced(fields, place, text) for text in texts]
        for text in edits:
            path.write_text(text)
            if "NaN" in text or json.loads(text) != fields:
                refused(copied)
    path.write_text(json.dumps(fields))
    prepared.load(copied, ["test"])


def test_every_edit_of_info_json_is_read_or_refused(copied):
    path = copied / "info.json"
    fields = json.loads(path.read_text())
    for place in [place for place in paths(fields) if place[0] != "origin"]:
        path.write_text(without(fields, place))
        if len(place) == 1:
            refused(copied)
        for text in EDITS.values():
            path.write_text(replaced(fields, place, text))
            try:
                prepared.load(copied, [])
            except UserError as error:
                assert "\n" not in str(error)
    path.write_text(replaced(fields, ("name",), '"../set/synthetic"'))
    refused(copied, "is no data set's name")


@pytest.mark.parametrize("column", ["label", "height", "width", "defect_px"])
@pytest.mark.parametrize("value", ["-1", "1000000000000", "x", "", "nan", "9" * 5000])
def test_a_number_of_split_csv_that_cannot_be_is_refused(column, value, copied):
    path = copied / "split.csv"
    header, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    cells[header.split(",").index(column)] = value
    path.write_text("\n".join([header, ",".join(cells), *rest]) + "\n")
    refused(copied)


@pytest.mark.parametrize("edit", EDITS)
def test_where_a_set_came_from_is_read_or_unknown(edit, copied):
    path = copied / "info.json"
    fields = json.loads(path.read_text())
    for place in [place for place in paths(fields) if place[0] == "origin"]:
        path.write_text(replaced(fields, place, EDITS[edit]))
        found = prepared.read_origin(copied)
        assert found is None or isinstance(found[0]["splits"], list)
