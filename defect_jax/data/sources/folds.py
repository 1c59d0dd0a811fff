"""The folds of cross-fitting: each part is in one, and each fold has its share of every class.

Unlike the splits of `splits`, the folds are exact: of few defective parts, those that a hash dealt
out would be one in this fold and five in that. A part that is added may so move others, which is
why a workdir keeps the folds that it began with.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from defect_jax.data.sources.records import GOOD
from defect_jax.data.sources.splits import Member, place_of
from defect_jax.runtime.errors import UserError

FIELD = "config.data.folds"
NOT_DRAWN = "without a mask"


def class_of_groups(members: Iterable[Member]) -> dict[str, str]:
    """Return the class of each group: "good" if all its images are, else its first defect's; one
    of its own where nobody has drawn the defects.

    >>> class_of_groups([Member("1", "a", "good"), Member("2", "a", "pit"), Member("3", "b", GOOD)])
    {'a': 'pit', 'b': 'good'}
    """
    names = defaultdict(set)
    for member in members:
        drawn = member.masked or member.class_name == GOOD
        names[member.group].add(member.class_name if drawn else f"{member.class_name} {NOT_DRAWN}")
    return {group: min(inside - {GOOD}, default=GOOD) for group, inside in names.items()}


def assigned_folds(class_of: Mapping[str, str], folds: int, seed: int) -> dict[str, int]:
    """Deal groups out to folds: class after class, in an order that their names and the seed make.

    Folds differ by at most one defective group, by one of each class, by one good group, and by one
    in all.

    >>> class_of = {"a": "pit", "b": "pit", "c": "crack", "d": GOOD, "e": GOOD, "f": GOOD}
    >>> assigned_folds(class_of, 2, seed=0)
    {'c': 0, 'a': 1, 'b': 0, 'd': 1, 'f': 0, 'e': 1}

    Args:
        class_of: group -> "good", or a class of defects.
        folds: their number.
        seed: another seed gives other folds.

    Returns:
        The fold of each group, from 0.

    Raises:
        UserError: a fold would have no defective or no good group.
    """
    refuse_too_many(class_of, folds)
    order = sorted(class_of, key=lambda g: (class_of[g] == GOOD, class_of[g], place_of(g, seed), g))
    return {group: place % folds for place, group in enumerate(order)}


def refuse_too_many(class_of: Mapping[str, str], folds: int) -> None:
    """Refuse more folds than there are defective, or good, groups.

    Raises:
        UserError: with the number that is possible.
    """
    good = sum(name == GOOD for name in class_of.values())
    defective = len(class_of) - good
    if min(good, defective) >= folds:
        return
    most = min(good, defective)
    advice = f"give at most {most}" if most > 1 else "folds need at least 2 of each: add parts"
    raise UserError(
        f"{FIELD} is {folds}: each fold needs a defective and a good part, and there are "
        f"{defective} defective and {good} good ones: {advice}"
    )
