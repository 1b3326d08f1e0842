"""Tables: looked up, judged by, and read back; figures counted by hand."""

import pytest

from srnas.choice import Genotype
from srnas.engine.search import search
from srnas.errors import UserError
from srnas.files import read_json_lines
from srnas.options import check_options
from srnas.report.page import write_report
from srnas.score_table import Row, open_table, read_table, write_table
from tests.helpers import search_options, srnas

PAIR = ["conv_3x3", "conv_5x5"]


def genotype(bits):
    names = [PAIR[int(bit)] for bit in bits]
    return Genotype("imdn", dict(zip(("c1", "c2", "c3", "c4"), names, strict=True)))


def row(bits, psnr, params, macs, latency=None, measured=None):
    sets = {"Set5": psnr + 4}
    seeds = 0 if measured is None else 2
    return Row(str(genotype(bits)), psnr, measured, seeds, sets, params, macs, latency)


ROWS = [
    row("0000", 30.0, 100, 10, 1.0, 30.01),
    row("0001", 30.2, 110, 20, 3.0),
    row("0010", 30.1, 105, 30, 2.0),
    row("0011", 30.2, 120, 25, 4.0),
    row("1111", 30.4, 200, 50, 9.0),
]


@pytest.fixture
def file(tmp_path):
    write_table(tmp_path / "t.csv.gz", {"space": {"name": "imdn"}, "name": "x"}, ROWS)
    return tmp_path / "t.csv.gz"


@pytest.fixture
def whole(tmp_path):
    """A table of all 16 genotypes of two candidates."""
    bits = [f"{n:04b}" for n in range(16)]
    rows = [row(b, 30 + 0.01 * n, 100 + n, 10 + n) for n, b in enumerate(bits)]
    write_table(tmp_path / "w.csv", {"space": {"name": "imdn"}, "name": "x"}, rows)
    return tmp_path / "w.csv"


def test_a_table_reads_back(file):
    table = read_table(file)
    assert table.rows == ROWS
    assert table.about["name"] == "x"
    content = file.read_bytes()
    write_table(file, {"space": {"name": "imdn"}, "name": "x"}, ROWS)
    assert file.read_bytes() == content


def test_a_genotype_is_judged_against_all_and_at_equal_macs(file):
    judge = open_table("imdn", file)
    assert judge(genotype("0010")) == pytest.approx(
        # one of four others is worse; the best has 30.4; with at most 30 MACs 30.2
        {"psnr": 30.1, "percentile": 25, "regret": 0.3, "regret_at_macs": 0.1}
    )
    # of two equal ones, each counts half
    assert judge(genotype("0001"))["percentile"] == pytest.approx(100 * (2 + 0.5) / 4)
    assert judge(genotype("1111")) == pytest.approx(
        {"psnr": 30.4, "percentile": 100, "regret": 0, "regret_at_macs": 0}
    )
    assert judge(genotype("0000"))["percentile"] == 0


def test_best_and_front_are_those_counted_by_hand(file):
    table = read_table(file)
    assert table.best().genotype == str(genotype("1111"))
    assert table.best({"params": 119}).genotype == str(genotype("0001"))
    assert table.best({"macs": 30, "latency": 2}).genotype == str(genotype("0010"))
    assert [r.macs for r in table.front()] == [10, 20, 50]
    assert [r.params for r in table.front("params")] == [100, 105, 110, 200]
    assert [r.latency for r in table.front("latency")] == [1.0, 2.0, 3.0, 9.0]
    with pytest.raises(UserError, match="raise a limit"):
        table.best({"params": 99})


def test_a_search_is_judged_every_epoch(whole, tmp_path, photo_folder):
    space = {"name": "imdn", "num_feat": 8, "num_block": 1, "candidates": PAIR}
    given = search_options(tmp_path, photo_folder, space=space, table=str(whole), epochs=2)
    run = search(check_options("search", given, "t")).parent
    rows = [r for r in read_json_lines(run / "metrics.jsonl") if "table_percentile" in r]
    table = read_table(whole)
    found = [Genotype("imdn", r["genotype"]) for r in read_json_lines(run / "alphas.jsonl")]
    assert len(rows) == len(found) == 2
    for logged, one in zip(rows, found, strict=True):
        assert {k: logged[f"table_{k}"] for k in table.judge(one)} == table.judge(one)
    assert "Genotypes in the table that are worse" in write_report(run).read_text()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file"),
        ("arch,cifar10_test\n", "no table has the networks of this space"),
        ('# {"format": "srnas-table", "version": 9}\n', "not a table of srnas"),
        ('# {"format": "srnas-table"\n', "not a table of srnas"),
        (
            '# {"format": "srnas-table", "version": 1, "space": {"name": "dlsr"}, "sets": []}\n'
            "genotype,psnr,measured,seeds,params,macs,latency\nx,1,,0,1,1,\n",
            "a table of space 'dlsr', not of 'imdn'",
        ),
        (
            '# {"format": "srnas-table", "version": 1, "space": {"name": "imdn"}, "sets": []}\n'
            "genotype,psnr,measured,seeds,params,macs,latency\nx,high,,0,1,1,\n",
            "not a table of srnas",
        ),
        (
            '# {"format": "srnas-table", "version": 1, "space": {"name": "imdn"}, "sets": []}\n'
            "genotype,psnr,measured,seeds,params,macs,latency\n",
            "holds no genotypes",
        ),
    ],
)
def test_what_is_no_table_is_told(tmp_path, content, told):
    file = tmp_path / "t.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=told):
        open_table("imdn", file)


def test_a_genotype_that_is_not_in_the_table_is_told(file):
    with pytest.raises(UserError, match="holds 5 genotypes, but not"):
        read_table(file).judge(genotype("0111"))
    with pytest.raises(UserError, match="the genotype is of 'dlsr'"):
        read_table(file).judge(Genotype("dlsr", {}))


def test_the_commands_show_what_the_table_says(file, tmp_path):
    asked = str(genotype("0010"))
    shown = srnas("table", "query", asked, "--table", file, "--json", tmp_path / "q.json")
    assert "better than 25.0% of 5" in shown.stdout, shown.stderr
    assert "30.100" in shown.stdout
    genotype("0010").save(tmp_path / "g.json")
    assert srnas("table", "query", tmp_path / "g.json", "--table", file).stdout == shown.stdout
    best = srnas("table", "best", "--table", file, "--max-params", "119", "--max-macs", "22")
    assert str(genotype("0001")) in best.stdout
    front = srnas("table", "front", "--table", file, "--cost", "latency").stdout
    assert front.count("c1=") == 4
    for command in (
        ("query", "c1", "--table", file),
        ("query", "c1=conv_3x3", "--table", file),
        ("best", "--table", tmp_path / "none.csv"),
        ("best", "--table", file, "--max-latency", "0.5"),
        ("front", "--table", file, "--cost", "mass"),
    ):
        refused = srnas("table", *command)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), command
