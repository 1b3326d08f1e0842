"""The command line, with one module per command.

What a user can mend, and what the operating system refuses, is printed in one line, and the exit
code is 2. An interruption ends a command with 130 (SIGINT, Ctrl-C) or 143 (SIGTERM); a search or a
training saves its state first, unless a second SIGINT comes. Modules that are slow to import are
imported inside the functions that use them, so that `srnas --help` answers at once.
"""

import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

from srnas.errors import Interrupted, UserError, describe, one_line
from srnas.plugins import fault_of, load_plugin, loaded_plugins
from srnas.renames import COMMANDS as RENAMED
from srnas.renames import new_name

if TYPE_CHECKING:
    import typer

EXIT_ERROR = 2
COMMANDS = (
    "demo", "init", "search", "train", "shrink", "find", "test", "profile", "convert", "export",
    "upscale", "report", "compare", "analyze", "methods", "spaces", "check", "schema", "doctor",
)  # fmt: skip
GROUPS = ("data", "latency", "table", "study", "nb201")
STOPPED = {128 + signal.SIGINT: "interrupted", 128 + signal.SIGTERM: "terminated"}


def build_app() -> "typer.Typer":
    """Build the app with all commands."""
    import typer

    app = typer.Typer(
        help="Find, train, prove and ship small super-resolution networks.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def plugins(
        plugin: Annotated[
            list[Path] | None,
            typer.Option(
                metavar="FILE.py",
                envvar="SRNAS_PLUGINS",
                help="Run this Python file first, to register components of your own; repeatable",
            ),
        ] = None,
        version: Annotated[
            bool,
            typer.Option("--version", is_eager=True, callback=_version, help="Print the version"),
        ] = False,
    ) -> None:
        for file in plugin or ():
            load_plugin(file)

    for name in COMMANDS:
        app.command(name)(import_module(f"srnas.cli.{name}").command)
    for name in GROUPS:
        app.add_typer(import_module(f"srnas.cli.{name}").app, name=name)
    return app


def _version(asked: bool) -> None:
    if asked:
        import typer

        from srnas.version import __version__

        print(__version__)
        raise typer.Exit


def plugins_first(arguments: Sequence[str]) -> list[str]:
    """Move every `--plugin FILE` before the command, where it belongs; rename an old command."""
    plugins: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--plugin":
            plugins += [argument, *islice(waiting, 1)]
        else:
            (plugins if argument.startswith("--plugin=") else rest).append(argument)
    command = [new_name(name, RENAMED, "command") for name in rest[:1]]
    return [*plugins, *command, *rest[1:]]


def main() -> None:
    """Run the command line: the entry point of `srnas` and `python -m srnas`.

    A `UserError` and an exception from the code of a plugin end with one line and exit code 2,
    SIGINT and SIGTERM with 130 and 143. Any other exception is a defect and keeps its traceback.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)
    try:
        build_app()(plugins_first(sys.argv[1:]))
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(describe(error))
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.number)
    except KeyboardInterrupt:
        print(STOPPED[128 + signal.SIGINT], file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as leaving:  # typer makes one of a KeyboardInterrupt
        if leaving.code in STOPPED:
            print(STOPPED[leaving.code], file=sys.stderr)
        raise
    except Exception as error:
        if _lacks_memory(error):
            _fail(f"not enough memory, use smaller batches, images or networks ({error})")
        raised = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        plugins = [file for file in raised if file in loaded_plugins]
        if not plugins:
            raise
        _fail(f"--plugin {plugins[-1]}: {fault_of(error, plugins[-1])}")
    finally:
        if "srnas.distributed" in sys.modules:  # otherwise there is no process group
            from srnas.distributed import finish

            finish()


def _fail(message: str) -> NoReturn:
    print(f"error: {one_line(message)}", file=sys.stderr)
    sys.exit(EXIT_ERROR)


def _lacks_memory(error: Exception) -> bool:
    """Return whether an error is a MemoryError, or torch's error for a CPU or a GPU."""
    text = str(error) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End the process as an exception does, so that it removes unfinished files and workers."""
    sys.exit(128 + number)
