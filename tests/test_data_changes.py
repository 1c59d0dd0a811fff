"""What has become of the images that a network was trained with: by content, each counted once."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_jax.data.prepare.prepared import Split, SplitRow
from defect_jax.data.sources.records import SPLITS
from defect_jax.workdir.data_changes import changes_since
from defect_jax.workdir.kept_split import KeptRow

IDS = st.sampled_from("abcdef")
FILES = st.sampled_from("12345678")  # what their hashes are called here
KEPT = st.dictionaries(IDS, st.tuples(FILES, st.sampled_from(SPLITS)), min_size=1)
NOW = st.dictionaries(IDS, st.tuples(FILES, st.sampled_from(SPLITS)))


def kept_row(id, sha256, split="train", mask="m", class_name="good", group=None):
    label = int(class_name != "good")
    return KeptRow(split, id, group or id, class_name, label, sha256, mask)


def row(id, sha256, mask="m", class_name="good", group=None):
    label = int(class_name != "good")
    return SplitRow(id, group or id, class_name, label, 1, 1, label, sha256, mask)


def splits_of(**rows):
    return {name: Split(None, rows.get(name, [])) for name in SPLITS}


def of_names(names):
    """Kept rows from the letters of `id file split`, such as "a1 train"."""
    return [kept_row(one[0], one[1], one[3:]) for one in names]


@given(kept=KEPT, now=NOW)
def test_every_image_is_known_by_its_content_or_not_at_all(kept, now):
    rows = [kept_row(id, sha256, split) for id, (sha256, split) in kept.items()]
    today = {
        name: [row(id, s) for id, (s, where) in now.items() if where == name] for name in SPLITS
    }
    changes = changes_since(rows, splits_of(**today))
    assert sorted([*changes.known, *changes.new, *changes.replaced]) == sorted(now)
    for id, before in changes.known.items():
        assert now[id][0] == before.sha256 and kept[before.id] == (before.sha256, before.split)
    taken = [before.id for before in changes.known.values()]
    assert len(taken) == len(set(taken)), "an image of training stands for two of today"
    assert sorted([*taken, *changes.removed, *changes.replaced]) == sorted(kept)
    unchanged = [id for id in kept.keys() & now.keys() if kept[id][0] == now[id][0]]
    assert all(changes.known[id].id == id for id in unchanged)
    assert set(changes.replaced) == (kept.keys() & now.keys()) - changes.known.keys() - set(taken)


@given(kept=KEPT, names=st.permutations("uvwxyz"))
def test_names_alone_move_nothing(kept, names):
    """With each file once: equal files that were in different splits cannot be told apart."""
    rows = [kept_row(id, id, split) for id, (_, split) in kept.items()]
    today = splits_of(test=[row(new, before.id) for new, before in zip(names, rows, strict=False)])
    changes = changes_since(rows, today)
    assert len(changes.known) == len(rows) and not changes.removed and not changes.new
    assert changes.split_of == {n: b.split for n, b in zip(names, rows, strict=False)}
    assert changes.regrouped == [], "a group that is the id of its only image"


@pytest.mark.parametrize(
    "kept, now, known",
    [
        (
            ["a1 train", "b2 test"],
            ["a2", "b1"],
            {"a": "test", "b": "train"},
        ),  # names changed places
        (["a1 train", "b1 test"], ["a1", "b1"], {"a": "train", "b": "test"}),  # twins, as before
        (["a1 train", "b1 test"], ["c1", "d1"], {}),  # which was learnt, nobody knows
        (["a1 train", "b1 test"], ["a1", "d1"], {"a": "train", "d": "test"}),
        (["a1 test", "b1 test"], ["c1", "d1"], {"c": "test", "d": "test"}),
        (["a1 test"], ["a1", "b1"], {"a": "test"}),  # a copy is not counted
        (["a1 test"], ["b1", "c1"], {"b": "test"}),
        (["a1 train", "b2 test"], ["a1", "b1"], {"a": "train"}),  # overwritten with a learnt one
    ],
)
def test_equal_files(kept, now, known):
    changes = changes_since(of_names(kept), splits_of(val=[row(*names) for names in now]))
    assert changes.split_of == known


def test_what_was_not_looked_at_is_not_removed():
    kept = [kept_row("a", "1", "train"), kept_row("b", "2", "test"), kept_row("c", "3", "test")]
    now = {"test": Split(None, [row("c", "3")])}
    assert changes_since(kept, now).removed == ["b"]


def test_masks_labels_and_groups():
    kept = [
        kept_row("a", "1"),
        kept_row("b", "2", class_name="dent"),
        kept_row("c", "3"),
        kept_row("d", "4", mask=""),  # a version that did not note masks
        kept_row("e", "5", group="part"),
        kept_row("f", "6", group="part"),
    ]
    now = [
        row("a", "1", mask="n", class_name="dent"),
        row("b", "2", class_name="crack"),
        row("c", "3"),
        row("d", "4", mask="n"),
        row("e", "5", group="part"),
        row("f", "6", group="other"),
    ]
    changes = changes_since(kept, splits_of(test=now))
    assert (changes.remasked, changes.relabelled, changes.regrouped) == (["a"], ["a", "b"], ["f"])
    assert changes.in_words() == [
        "1 image with another mask file (a)",
        "2 images with another label (a, b)",
    ]


def test_nothing_changed():
    kept = [kept_row(id, id, split) for id, split in zip("abc", itertools.cycle(SPLITS))]
    changes = changes_since(kept, splits_of(train=[row(id, id) for id in "abc"]))
    assert not changes.any and changes.in_words() == []
