"""The exceptions that the command line turns into one line and an exit code."""

import difflib
import reprlib
import signal
from collections.abc import Iterable


class UserError(ValueError):
    """Report a user's mistake in one line: the mistake, its place, and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


class WriteError(UserError, OSError):
    """Report in one line that a file cannot be written."""


class Interrupted(Exception):  # noqa: N818  (not an error)
    """Report that a run stopped because the user asked for it; its state is saved.

    Args:
        message: What to tell the user.
        number: The signal that asked for it.
    """

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number


def describe(error: OSError) -> str:
    """Return the refusal of the operating system as "PATH: reason"; without a path, the reason.

    >>> describe(OSError(2, "No such file or directory", "x.yml"))
    'x.yml: no such file or directory'
    """
    if error.errno is None or not error.strerror:
        return one_line(str(error)) or type(error).__name__
    reason = error.strerror[0].lower() + error.strerror[1:]
    return reason if error.filename is None else f"{error.filename}: {reason}"


def one_line(text: str, longest: int = 2000) -> str:
    """Return a text as one line, cut in its middle if it is longer than a number of characters."""
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def first_line(error: Exception) -> str:
    """Return the first line of what an exception says, at most 200 characters; else its type."""
    return one_line((str(error).splitlines() or [type(error).__name__])[0], 200)


class _Short(reprlib.Repr):
    """Bounds in all directions, since a value may come from anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 4, 80, 80

    def repr_int(self, x: int, level: int) -> str:
        """Do not convert numbers that Python refuses to."""
        if x.bit_length() > 1000:
            return f"a number of {x.bit_length()} bits"
        return super().repr_int(x, level)


def short(value: object) -> str:
    """Return `repr` of any value for an error message, in a part of a line.

    >>> short("imdn"), short([1] * 100)
    ("'imdn'", '[1, 1, 1, 1, 1, 1, ...]')
    """
    return one_line(_Short().repr(value), 400)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or the plural.

    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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


def require(*packages: str, extra: str, what: str = "export") -> None:
    """Raise a UserError that names an extra of srnas if a package is missing.

    Args:
        extra: The extra that installs them.
        what: What needs them, for the message.
    """
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise UserError(
                f"{what} needs {error.name}; install it with: pip install 'srnas[{extra}]'"
            ) from error
