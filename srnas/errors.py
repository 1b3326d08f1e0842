"""The exceptions that the command line turns into one line and an exit code."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Report a user's mistake in one line: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class Interrupted(Exception):  # noqa: N818  (not an error)
    """Report that a run stopped because the user asked for it; its state is saved."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Suggest the known names closest to a wrong one.

    Args:
        name: What the user wrote.
        known: The names that would have been right.

    Returns:
        Up to two close names as a question, or the list of all known names.

    >>> did_you_mean("imnd", ["imdn", "dlsr"])
    "did you mean 'imdn'?"
    >>> did_you_mean("resnet", ["imdn", "dlsr"])
    'known: dlsr, imdn'
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=2, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known: " + ", ".join(known)
