"""The command line: one file a command; a user's mistake is one line and exit code 2."""

import sys

import typer

from srnas.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def build_app() -> typer.Typer:
    """All commands."""
    from srnas.cli import (
        check,
        data,
        demo,
        doctor,
        export,
        nb201,
        profile,
        report,
        schema,
        search,
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
    for module in (
        demo, search, train, test, profile, export, upscale, report, check, schema, doctor
    ):  # fmt: skip
        name = module.__name__.rpartition(".")[2]
        app.command(name)(module.command)
    app.add_typer(data.app, name="data")
    app.add_typer(nb201.app, name="nb201")
    return app


def main() -> None:
    """Entry point of `srnas` and `python -m srnas`."""
    from srnas.engine.distributed import finish
    from srnas.engine.run import Interrupted

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
        finish()
