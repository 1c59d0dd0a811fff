"""Splits: whole groups, every image once, the right shares, the same on every machine."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defect_jax.data.sources.records import split_faults
from defect_jax.data.sources.splits import HOLD_OUT_SHARES, SHARES, Member, grouped_split

SIZES = st.lists(
    st.tuples(st.sampled_from(["good", "defect", "crack"]), st.integers(1, 6)), max_size=40
)


def members_of(groups):
    return [
        Member(f"{number}/{image}", f"group {number}", class_name)
        for number, (class_name, size) in enumerate(groups)
        for image in range(size)
    ]


@given(groups=SIZES, seed=st.integers(0, 9), shares=st.sampled_from([SHARES, HOLD_OUT_SHARES]))
def test_properties(groups, seed, shares):
    members = members_of(groups)
    splits = grouped_split(members, shares, seed)
    assert splits == grouped_split(members[::-1], shares, seed)
    assert splits.keys() == {member.id for member in members}
    assert set(splits.values()) <= shares.keys()
    places = defaultdict(set)
    for member in members:
        places[member.group].add(splits[member.id])
    assert all(len(inside) == 1 for inside in places.values())
    largest = max((size for _, size in groups), default=0)
    for class_name in ("good", "defect", "crack"):
        sizes = [size for name, size in groups if name == class_name]
        counts = Counter(splits[m.id] for m in members if m.class_name == class_name)
        if len(sizes) >= len(shares):
            assert set(counts) == set(shares)
        for split, share in shares.items():
            # A group goes where most is missing, so no split ends further off than a few groups.
            assert abs(counts[split] - share * sum(sizes)) <= 4 * largest


@given(groups=st.integers(5, 60), seed=st.integers(0, 5))
def test_groups_of_equal_size_come_within_one_group_of_their_share(groups, seed):
    splits = grouped_split(members_of([("good", 2)] * groups), SHARES, seed)
    counts = Counter(splits.values())
    for split, share in SHARES.items():
        assert abs(counts[split] / 2 - share * groups) < 1


def test_membership_never_drifts():
    members = members_of([("good", 1)] * 10 + [("defect", 2)] * 5)
    splits = grouped_split(members, SHARES, seed=0)
    groups = {member.group: splits[member.id] for member in members}
    inside = {split: [g for g, where in groups.items() if where == split] for split in SHARES}
    assert inside == {
        "train": [f"group {number}" for number in (1, 2, 3, 4, 6, 8, 10, 11, 13)],
        "val": [f"group {number}" for number in (0, 7, 14)],
        "test": [f"group {number}" for number in (5, 9, 12)],
    }


def test_another_seed_gives_another_split():
    members = members_of([("good", 1)] * 40)
    assert grouped_split(members, SHARES, 0) != grouped_split(members, SHARES, 1)


def test_a_group_with_a_defect_counts_as_defective():
    # Each group holds nine good images and one with a defect: taken as good groups, all five
    # could end up anywhere; as defective ones every split gets one.
    members = [
        Member(f"{group}/{i}", str(group), "crack" if i == 0 else "good")
        for group in range(5)
        for i in range(10)
    ] + members_of([("good", 10)] * 5)
    splits = grouped_split(members, SHARES, seed=0)
    cracks = Counter(splits[m.id] for m in members if m.class_name == "crack")
    assert cracks == {"train": 3, "val": 1, "test": 1}


@pytest.mark.parametrize("classes", [3, 4, 6, 11])
def test_many_rare_classes_together_keep_the_shares(classes):
    members = members_of([(f"class {number}", 2) for number in range(classes)])
    counts = Counter(grouped_split(members, SHARES, seed=0).values())
    assert set(counts) == set(SHARES)
    for split, share in SHARES.items():
        assert abs(counts[split] / 2 - share * classes) <= 1


def test_no_images():
    assert grouped_split([], SHARES, seed=0) == {}


@pytest.mark.parametrize(
    "classes, reason",
    [
        ([], "split 'val': holds no image"),
        (["good", "good"], "split 'val': none of its 2 parts is defective"),
        (["MT_Crack"], "split 'val': none of its 1 parts is good"),
    ],
)
def test_one_sided_splits_are_faults(classes, reason):
    (fault,) = split_faults({"train": ["good", "defect"], "val": classes})
    assert str(fault).startswith(reason)
