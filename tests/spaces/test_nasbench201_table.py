"""The table of NAS-Bench-201 and the commands that ask it."""

import gzip
import itertools
import json

import pytest

from srnas.cli import build_app
from srnas.errors import UserError
from srnas.primitives.nasbench201 import NB201_PRIMITIVES
from srnas.spaces.nasbench201_table import load_table

STEM = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|"
SA, BEST = f"{STEM}nor_conv_3x3~2|", f"{STEM}nor_conv_1x1~2|"
SKIP = SA.replace("nor_conv_3x3", "skip_connect")
PUBLISHED = {
    SA: (94.3633, 73.5133, 46.3444, 1_288_506),
    SKIP: (54.2967, 15.6067, 16.3222, 73_306),
    BEST: (94.3733, 73.2200, 46.7111, 73_306 + 4 * 243_040 + 28_000),
}
HEAD = "arch,cifar10_test,cifar100_test,imagenet16_120_test\n"


@pytest.fixture(scope="module")
def table(shared):
    return shared / "data/nasbench201/nb201_test_accuracy_200epochs.csv.gz"


def srnas(*arguments):
    build_app()([*map(str, arguments)], standalone_mode=False)


def test_the_table_holds_every_cell_of_the_space_once(table):
    ops = itertools.product(NB201_PRIMITIVES, repeat=6)
    strings = {f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|" for a, b, c, d, e, f in ops}
    assert load_table(table).keys() == strings


@pytest.mark.parametrize("arch", PUBLISHED)
def test_query_gives_the_published_accuracies(arch, table, tmp_path, capsys):
    srnas("nb201", "query", arch, "--table", table, "--json", tmp_path / "o.json")
    result = json.loads((tmp_path / "o.json").read_text())
    assert result["arch"] == arch
    assert (*result["accuracy"].values(), result["params"]) == PUBLISHED[arch]
    assert list(result["accuracy"]) == ["cifar10", "cifar100", "imagenet16-120"]
    out = capsys.readouterr().out
    assert f"{PUBLISHED[arch][0]:.4f}" in out
    assert f"{PUBLISHED[arch][3]:,}" in out


@pytest.mark.parametrize(("dataset", "best"), [("cifar10", BEST), ("cifar100", SA)])
def test_best_is_the_best_cell_of_a_data_set(dataset, best, table, capsys):
    srnas("nb201", "best", "--table", table, "--dataset", dataset)
    assert capsys.readouterr().out.startswith(best)


def test_a_table_need_not_be_zipped_or_whole(tmp_path):
    text = f"{HEAD}{SA},1,2,3.5\n"
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    expected = {SA: {"cifar10": 1.0, "cifar100": 2.0, "imagenet16-120": 3.5}}
    assert load_table(tmp_path / "t.csv") == load_table(tmp_path / "t.csv.gz") == expected
    with pytest.raises(UserError, match="holds 1 cells, but not"):
        srnas("nb201", "query", SKIP, "--table", tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.csv.gz", None, "no such file; see datasets/README.md"),
        ("NAS-Bench-201-v1_1-096897.pth", b"\x80\x04.", "could execute code: not read"),
        ("NATS-tss-v1_0-3ffb9.pickle.pbz2", b"BZh", "could execute code: not read"),
        ("text.csv.gz", b"arch", "not a CSV table of arch, cifar10_test"),
        ("cut.csv.gz", gzip.compress(HEAD.encode() * 9, mtime=0)[:-9], "not a CSV table"),
        ("columns.csv", b"arch,accuracy\nx,1\n", "after 0 rows: 'cifar10_test'"),
        ("short.csv", f"{HEAD}a,1,2,3\nb,1\n".encode(), "after 1 rows"),
        ("words.csv", f"{HEAD}a,1,two,3\n".encode(), "two"),
        ("empty.csv", HEAD.encode(), "holds no cells"),
    ],
)
def test_what_is_no_table_is_told(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told):
        load_table(tmp_path / name)


def test_wrong_arguments_are_told():
    with pytest.raises(UserError, match="write it as"):
        srnas("nb201", "query", "skip_connect")
    with pytest.raises(UserError, match="did you mean 'cifar100'"):
        srnas("nb201", "best", "--dataset", "cifar1000")
