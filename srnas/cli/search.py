"""`srnas search`: find a genotype."""

from srnas.cli.arguments import DryRun, OptionsFile, Overrides, PrintOptions, Resume, need_file


def command(
    opt: OptionsFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    print_options: PrintOptions = False,
) -> None:
    """Search for a genotype: srnas search -opt FILE KEY.PATH=VALUE..."""
    from srnas.options import dump_options, load_options

    options = load_options("search", *need_file(opt, overrides, "search"))
    from srnas.engine.search import dry_run as describe
    from srnas.engine.search import search
    from srnas.report.page import write_report

    if print_options:
        print(dump_options(options), end="")
        return
    if dry_run:
        print(describe(options))
        return
    print(search(options, resume, write_report))
