"""`srnas train`: train a genotype from scratch."""

from srnas.cli.arguments import DryRun, GenotypeFile, OptionsFile, Overrides, Resume


def command(
    opt: OptionsFile,
    overrides: Overrides = None,
    genotype: GenotypeFile = None,
    resume: Resume = False,
    dry_run: DryRun = False,
) -> None:
    """Train a derived network: srnas train -opt FILE [--genotype FILE] [key.path=value ...]."""
    from srnas.options import dump_options, load_options

    changes = {"genotype": genotype} if genotype else {}
    options = load_options("train", opt, overrides or (), changes)
    from srnas.engine.train import dry_run as describe
    from srnas.engine.train import train
    from srnas.report.page import write_report

    if dry_run:
        print(dump_options(options), end="")
        print(describe(options))
        return
    print(train(options, resume, report=write_report))
