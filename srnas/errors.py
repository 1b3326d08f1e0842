"""The one exception that a user's mistake raises."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the user's, told in one line: what, where, what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names what `name` was probably meant to be, else all that is known."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=2, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known: " + ", ".join(known)
