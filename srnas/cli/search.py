"""`srnas search`: find a genotype."""

from srnas.cli.arguments import DryRun, OptionsFile, Overrides, Resume


def command(
    opt: OptionsFile, overrides: Overrides = None, resume: Resume = False, dry_run: DryRun = False
) -> None:
    """Search for a genotype: srnas search -opt FILE [key.path=value ...]."""
    from srnas.options import dump_options, load_options

    options = load_options("search", opt, overrides or ())
    from srnas.engine.search import dry_run as describe
    from srnas.engine.search import search
    from srnas.report.page import write_report

    if dry_run:
        print(dump_options(options), end="")
        print(describe(options))
        return
    print(search(options, resume, write_report))
