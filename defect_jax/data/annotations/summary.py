"""What --mode=import says at its end: what was read, what was left out, what to do next."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from defect_jax.data.annotations.listing import Left, Listing
from defect_jax.data.sources.records import listed
from defect_jax.runtime.console import own_command

MOST_NAMES = 10  # that are shown for one reason


def summary(listing: Listing, output: str, good_ones: str) -> Iterator[str]:
    """Yield it line by line.

    Args:
        good_ones: which images the format counts as good.
    """
    shapes = [shape for item in listing.items for shape in item.entry.shapes]
    defective = sum(bool(item.entry.shapes) for item in listing.items)
    good = len(listing.items) - defective
    yield (
        f"wrote {output}: {len(listing.items)} images, {defective} defective, {good} good (those "
        f"{good_ones})"
    )
    kinds = Counter(shape.kind for shape in shapes)
    yield f"shapes: {_counted(kinds)}; classes: {_counted(Counter(s.label for s in shapes))}"
    if kinds["rectangle"]:
        yield "all inside a rectangle counts as defect: outline what is smaller"
    if listing.note:
        yield listing.note
    yield from _left_out(listing.left)
    yield from _next_commands(listing.classes, output)


def _counted(counts: Counter[str]) -> str:
    """Return counts with their names, the largest first.

    >>> _counted(Counter("abb"))
    'b (2), a (1)'
    """
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common())


def _left_out(left: Sequence[Left]) -> Iterator[str]:
    names = defaultdict(list)
    for one in left:
        names[one.why].append(one.name)
    for why, same in names.items():
        yield f"left out {len(same)}, {listed(same, MOST_NAMES)}: {why}"


def _next_commands(classes: Sequence[str], output: str) -> Iterator[str]:
    for mode in ("check", "train"):
        root = f"--config.data.root={shlex.quote(output)}"
        yield f"next: {own_command()} {mode} --config=folder {root}"
    if len(classes) > 1:
        names = shlex.quote(f"--config.data.classes={tuple(classes)!r}")
        yield f"to tell the classes apart, add {names} --config.model.num_classes={len(classes)}"
