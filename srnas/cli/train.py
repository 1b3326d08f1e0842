"""`srnas train`: train a genotype from scratch."""

from srnas.cli.arguments import (
    DryRun,
    GenotypeFile,
    OptionsFile,
    Overrides,
    PrintOptions,
    Resume,
    need_file,
)


def command(
    opt: OptionsFile = None,
    overrides: Overrides = None,
    genotype: GenotypeFile = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    print_options: PrintOptions = False,
) -> None:
    """Train a derived network: srnas train -opt FILE [--genotype FILE] KEY.PATH=VALUE..."""
    from srnas.options import dump_options, load_options

    changes = {"genotype": genotype} if genotype else {}
    options = load_options("train", *need_file(opt, overrides, "train"), changes)
    from srnas.engine.train import dry_run as describe
    from srnas.engine.train import train
    from srnas.report.page import write_report

    if print_options:
        print(dump_options(options), end="")
        return
    if dry_run:
        print(describe(options))
        return
    print(train(options, resume, report=write_report))
