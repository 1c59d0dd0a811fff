"""Splits: whole groups, each by its own name, the same on every machine and as the data grow."""

import hashlib
from collections import Counter, defaultdict
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from defect_jax.data.sources.records import split_faults
from defect_jax.data.sources.splits import HOLD_OUT_SHARES, SHARES, Member, grouped_split

GROUPS = st.lists(
    st.tuples(st.sampled_from(["good", "defect", "crack"]), st.integers(1, 3)), max_size=40
)
MANY = st.lists(st.sampled_from(["good", "defect"]), min_size=20, max_size=80)
SEEDS = st.integers(0, 9)


def members_of(groups):
    return [
        Member(f"{number}/{image}", f"group {number}", class_name)
        for number, (class_name, size) in enumerate(groups)
        for image in range(size)
    ]


def singles(class_names):
    return [Member(f"{i}", f"group {i}", class_name) for i, class_name in enumerate(class_names)]


def by_hash_alone(members, shares, seed):
    """The split of each image by the rule as it is documented, in exact fractions."""
    splits = {}
    for member in members:
        digest = hashlib.sha256(f"{seed}\n{member.group}".encode()).hexdigest()
        place, end = Fraction(int(digest[:16], 16), 2**64), Fraction(0)
        for split, share in shares.items():
            end += Fraction(str(share))
            if place < end:
                splits[member.id] = split
                break
    return splits


def is_filled(members, splits, shares):
    """Whether every split has good and defective groups by itself, so that none is borrowed."""
    places = {(splits[m.id], m.class_name == "good") for m in members}
    return len(places) == 2 * len(shares)


@given(groups=GROUPS, seed=SEEDS, shares=st.sampled_from([SHARES, HOLD_OUT_SHARES]))
def test_properties(groups, seed, shares):
    members = members_of(groups)
    splits = grouped_split(members, shares, seed)
    assert splits == grouped_split(members[::-1], shares, seed)
    assert splits.keys() == {member.id for member in members}
    places = defaultdict(set)
    for member in members:
        places[member.group].add(splits[member.id])
    assert all(len(inside) == 1 for inside in places.values())
    for kind in (True, False):
        inside = [splits[m.id] for m in members if (m.class_name == "good") == kind]
        count = sum((name == "good") == kind for name, _ in groups)
        assert set(inside) <= shares.keys()
        assert set(inside) == shares.keys() or count < len(shares)


@given(class_names=MANY, seed=SEEDS, shares=st.sampled_from([SHARES, HOLD_OUT_SHARES]))
def test_the_hash_of_the_name_alone_decides(class_names, seed, shares):
    members = singles(class_names)
    expected = by_hash_alone(members, shares, seed)
    assume(is_filled(members, expected, shares))
    assert grouped_split(members, shares, seed) == expected


@given(class_names=MANY, seed=SEEDS, data=st.data())
def test_whoever_comes_goes_or_changes_moves_nobody_else(class_names, seed, data):
    before = singles(class_names)
    chosen = data.draw(st.sets(st.sampled_from(range(len(before))), max_size=8))
    relabelled = data.draw(st.sets(st.sampled_from(range(len(before))), max_size=8))
    later = data.draw(st.lists(st.sampled_from(["good", "defect"]), max_size=20))
    other = {"good": "defect", "defect": "good"}
    after = [
        m._replace(class_name=other[m.class_name]) if i in relabelled else m
        for i, m in enumerate(before)
        if i not in chosen
    ] + [Member(f"later {i}", f"later {i}", name) for i, name in enumerate(later)]
    first, second = (grouped_split(members, SHARES, seed) for members in (before, after))
    for members in (before, after):
        assume(is_filled(members, by_hash_alone(members, SHARES, seed), SHARES))
    assert all(first[id] == second[id] for id in first.keys() & second.keys())


def test_one_part_more_of_a_thousand():
    """900 good and 100 defective parts: one more put 46 validation images into the test split."""
    members = singles(["good"] * 900 + ["defect"] * 100)
    before = grouped_split(members, SHARES, seed=0)
    for more in ("good", "defect"):
        after = grouped_split([*members, Member("new", "new", more)], SHARES, seed=0)
        assert {id: split for id, split in after.items() if id != "new"} == before


@pytest.mark.parametrize("seed", range(3))
def test_shares_are_met_on_average_by_good_and_defective_alike(seed):
    class_names = ["good"] * 8000 + ["defect"] * 2000
    splits = grouped_split(singles(class_names), SHARES, seed)
    for class_name, total in (("good", 8000), ("defect", 2000)):
        numbers = [i for i, name in enumerate(class_names) if name == class_name]
        counts = Counter(splits[f"{i}"] for i in numbers)
        for split, share in SHARES.items():
            deviation = (total * share * (1 - share)) ** 0.5
            assert abs(counts[split] - share * total) < 3.5 * deviation


def test_membership_never_drifts():
    members = members_of([("good", 1)] * 10 + [("defect", 2)] * 5)
    splits = grouped_split(members, SHARES, seed=0)
    groups = {member.group: splits[member.id] for member in members}
    inside = {split: [g for g, where in groups.items() if where == split] for split in SHARES}
    assert inside == {
        "train": [f"group {number}" for number in (0, 3, 5, 6, 7, 10, 12)],
        "val": [f"group {number}" for number in (1, 2, 4, 9, 13)],
        "test": [f"group {number}" for number in (8, 11, 14)],
    }


def test_another_seed_gives_another_split():
    members = members_of([("good", 1)] * 400)
    first, second = (grouped_split(members, SHARES, seed) for seed in (0, 1))
    # Two independent splits agree in 0.6² + 0.2² + 0.2² of the groups.
    assert sum(first[id] == second[id] for id in first) / 400 == pytest.approx(0.44, abs=0.08)


def test_an_empty_split_takes_the_group_that_came_nearest():
    """Four defective groups that all lie in the interval of training."""
    names = [
        n
        for n in range(200)
        if by_hash_alone([Member("a", f"group {n}", "")], SHARES, 0)["a"] == "train"
    ]
    members = [Member(f"{n}", f"group {n}", "defect") for n in names[:4]]
    assert set(by_hash_alone(members, SHARES, 0).values()) == {"train"}

    def place(member):
        return hashlib.sha256(f"0\n{member.group}".encode()).hexdigest()

    highest, second = sorted(members, key=place)[:-3:-1]
    splits = grouped_split(members, SHARES, 0)
    assert splits[highest.id] == "val" and splits[second.id] == "test"
    assert Counter(splits.values()) == {"train": 2, "val": 1, "test": 1}
    assert set(grouped_split(members[:2], SHARES, 0).values()) == {"train"}, "too few to share"


def test_a_group_with_a_defect_counts_as_defective():
    # Each group holds nine good images and one with a defect: taken as good groups, their three
    # could all end up in training.
    members = [
        Member(f"cracked {group}/{i}", f"cracked {group}", "crack" if i == 0 else "good")
        for group in range(3)
        for i in range(10)
    ] + members_of([("good", 10)] * 9)
    splits = grouped_split(members, SHARES, seed=0)
    cracks = Counter(splits[m.id] for m in members if m.class_name == "crack")
    assert cracks == {"train": 1, "val": 1, "test": 1}


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
