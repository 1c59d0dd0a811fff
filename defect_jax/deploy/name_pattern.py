"""A pattern that finds the part in the name of its image, such as `(.*)_[0-9]+`.

Python's matcher tries every way to divide a name among the repeats of a pattern: with a repeat
inside a repeat exponentially many. So none is taken, and a name may not have too many divisions.
"""

import math
import re
from typing import NamedTuple

from defect_jax.runtime.errors import UserError

FIELD = "--group"
EXAMPLE = "such as --group='(.*)_[0-9]+'"
MOST_CHARACTERS = 500  # of a pattern
MOST_DIVISIONS = 10**8  # of a name among the repeats, seconds of work
# What may stand for one of several things, told apart from escapes, sets and heads of groups.
TOKENS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[a-zA-Z:=!<>#-]*|[*+?{][*+?]?|\||[()]|.")


class NamePattern(NamedTuple):
    """A pattern that can be used."""

    compiled: re.Pattern[str]
    repeats: int  # places where the matcher may choose

    def group_of(self, id: str) -> str:
        """Return the part that an image shows, by its id.

        Raises:
            UserError: the pattern does not match the whole id, gives no name, or might take very
                long to say so.
        """
        if math.comb(len(id) + self.repeats, self.repeats) > MOST_DIVISIONS:
            raise UserError(
                f"{FIELD}: {id[:60]!r}, of {len(id)} characters, may be divided in too many ways "
                f"among the {self.repeats} repeats of the pattern: write fewer"
            )
        found = self.compiled.fullmatch(id)
        if not found or not found[1]:
            what = "names no part in" if found else "does not match"
            raise UserError(
                f"{FIELD}: {self.compiled.pattern!r} {what} the id {id!r}: it must match whole "
                f"ids (paths below the input, without suffix), {EXAMPLE}"
            )
        return found[1]


def name_pattern(text: str) -> NamePattern:
    """Return the pattern of a regular expression whose one group is the part.

    Raises:
        UserError: it is none, has not exactly one group, or a repeat inside a repeat.

    >>> name_pattern("(.*)_[0-9]+").group_of("monday/p7_3")
    'monday/p7'
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"{FIELD}: has {len(text)} characters, {MOST_CHARACTERS} may be: shorten")
    try:
        compiled = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{FIELD}: {text!r} is no regular expression: {error}") from error
    if compiled.groups != 1:
        raise UserError(
            f"{FIELD}: {text!r} has {compiled.groups} groups in round brackets, and needs one, the "
            f"part, {EXAMPLE}; write others as (?:…)"
        )
    if compiled.flags & re.VERBOSE:
        raise UserError(
            f"{FIELD}: {text!r} has the flag x, whose blanks mean nothing: leave it out"
        )
    tokens = [token[0] for token in TOKENS.finditer(text)]
    for before, token in zip(tokens, tokens[1:], strict=False):
        if before == ")" and token[0] in "*+{":
            what = "repeats a bracket, which may take for ever"
            raise UserError(f"{FIELD}: {text!r} {what}: write it without")
    return NamePattern(compiled, sum(token[0] in "*+?{|" for token in tokens))
