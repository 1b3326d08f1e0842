"""The command line, with one module per command.

A user error is printed in one line, and the exit code is 2. Modules that need torch are imported
inside the functions that use them, so that `srnas --help` answers at once.
"""

import runpy
import sys
from pathlib import Path
from typing import Annotated

import typer

from srnas.errors import Interrupted, UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def build_app() -> typer.Typer:
    """Build the app with all commands."""
    from srnas.cli import (
        analyze,
        bench,
        check,
        data,
        demo,
        doctor,
        export,
        latency,
        methods,
        nb201,
        profile,
        report,
        schema,
        search,
        spaces,
        study,
        test,
        train,
        upscale,
    )

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
                help="Run this Python file first, to register parts of your own; repeatable",
            ),
        ] = None,
    ) -> None:
        for file in plugin or ():
            load_plugin(file)

    for module in (
        demo, search, train, test, profile, export, upscale, report, analyze, methods, spaces,
        check, schema, doctor,
    ):  # fmt: skip
        name = module.__name__.rpartition(".")[2]
        app.command(name)(module.command)
    app.add_typer(data.app, name="data")
    app.add_typer(latency.app, name="latency")
    app.add_typer(bench.app, name="bench")
    app.add_typer(study.app, name="study")
    app.add_typer(nb201.app, name="nb201")
    return app


def load_plugin(file: Path) -> None:
    """Run a Python file whose decorators register parts.

    Raises:
        UserError: There is no such file.
    """
    if not file.is_file():
        raise UserError(f"--plugin {file}: no such file")
    runpy.run_path(str(file))


def main() -> None:
    """Run the command line: the entry point of `srnas` and `python -m srnas`.

    The exit code is 2 after a user error and 130 after an interruption.
    """
    try:
        build_app()()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    finally:
        if "srnas.distributed" in sys.modules:  # otherwise there is no process group
            from srnas.distributed import finish

            finish()
