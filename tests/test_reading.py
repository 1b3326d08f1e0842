"""Files that are broken, too large, or of another kind: told in one line that names them."""

import gzip
import json
import os
import random
import re
import warnings

import pytest
import torch

from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.files import (
    append_line,
    finish_lines,
    load_tensors,
    read_json_lines,
    read_start,
    read_text,
    read_yaml,
)
from srnas.latency.table import read_latency_table
from srnas.model_file import load_published
from srnas.score_table import read_table
from srnas.spaces import check_space, derived_network, genotype_space, published_genotype
from srnas.spaces.nasbench201_table import load_table
from srnas.table.results import read_results
from tests.helpers import told

SPACE = {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1}


def mutated(data, count, seed):
    """Copies of bytes with some of them changed, cut off, or left out; never equal to the bytes."""
    draw = random.Random(seed)
    for number in range(count):
        copy = bytearray(data)
        if number % 3 == 0:
            for _ in range(draw.choice([1, 20])):
                copy[draw.choice([draw.randrange(len(copy)), -1 - draw.randrange(300)])] ^= 255
        elif number % 3 == 1:
            del copy[draw.randrange(len(copy)) :]
        else:
            start = draw.randrange(len(copy) - 1)
            del copy[start : start + draw.choice([1, 100])]
        yield bytes(copy)


def test_mutated_weight_files_load_or_are_told(tmp_path):
    torch.manual_seed(0)
    state = derived_network(check_space(SPACE), published_genotype("imdn")).state_dict()
    counts = []
    for form in (True, False):
        torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=form)
        for data in mutated((tmp_path / "w.pth").read_bytes(), 90, seed=form):
            (tmp_path / "m.pth").write_bytes(data)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a warning would be a second line
                line = told(load_tensors, tmp_path / "m.pth")
                told(load_published, tmp_path / "m.pth", SPACE)
            assert line is None or line.startswith(f"{tmp_path / 'm.pth'}: ")
            counts.append(line is not None)
    assert sum(counts) > 100


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({1: torch.zeros(1)}, "key 1 is not a name"),
        ({("a",): torch.zeros(1)}, r"key \('a',\) is not a name"),
        ({"x": 5}, "'x' is not a tensor"),
        ({"x" * 1000: [5]}, "is not a tensor"),
        ({"head.bias": torch.zeros(())}, "weights of another network"),
        ({"IMDB²": torch.zeros(1)}, "weights of another network"),
        ({"head.weight": torch.zeros(8, 3, 3, 3).to_sparse()}, "not plain tensors"),
    ],
)
def test_a_state_dict_of_other_content_is_told(tmp_path, change, why):
    state = derived_network(check_space(SPACE), published_genotype("imdn")).state_dict()
    torch.save({**state, **change}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"w\.pth: .*{why}"):
        load_published(tmp_path / "w.pth", SPACE)


def test_gzip_files_that_are_broken_are_told(tmp_path):
    rows = "".join(json.dumps({"step": step, "x": "é" * step}) + "\n" for step in range(200))
    for data in mutated(gzip.compress(rows.encode()), 60, seed=2):
        for name, read in (("r.jsonl.gz", read_json_lines), ("t.csv.gz", read_table),
                           ("n.csv.gz", load_table)):  # fmt: skip
            (tmp_path / name).write_bytes(data)
            line = told(read, tmp_path / name)
            assert line is None or line.startswith(f"{tmp_path / name}: ")
        assert told(read_results, [tmp_path / "r.jsonl.gz"]) is not None
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"whole"))
    assert read_text(tmp_path / "x.gz") == "whole"
    assert read_start(tmp_path / "x.gz", 2) == b"wh"


def test_a_file_beyond_the_limit_is_refused_before_it_is_read_to_its_end(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"x" * (1 << 20))
    assert len(read_text(tmp_path / "x.txt", 1 << 20)) == 1 << 20
    with pytest.raises(UserError, match=r"x\.txt: larger than 0\.5 MiB"):
        read_text(tmp_path / "x.txt", 1 << 19)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(64 << 20)))
    with pytest.raises(UserError, match=r"bomb\.gz: larger than 1 MiB"):
        read_text(tmp_path / "bomb.gz", 1 << 20)
    with pytest.raises(UserError, match=r"/dev/zero: larger than 16 MiB"):
        read_yaml("/dev/zero")


def test_what_the_system_refuses_stays_an_oserror_that_names_the_file(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path, tmp_path / "loop", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=re.escape(str(path))) as error:
            read_text(path)
        assert not isinstance(error.value, UserError)
    (tmp_path / "file").write_bytes(b"\xff")
    for path, why in ((tmp_path / "no", "no such file"), (tmp_path / "file" / "x", "no such file"),
                      (tmp_path / "file", r"not text in UTF-8 \(byte 1\)")):  # fmt: skip
        with pytest.raises(UserError, match=why):
            read_text(path)


@pytest.mark.parametrize(
    ("content", "rows", "appended"),
    [
        (b"", [], [5]),
        (b'{"step', [], [5]),
        (b'{"step": 1}', [1], [5]),
        (b'{"step": 1}\n{"step": 2, "x": "\xc3', [1], [1, 5]),
        (b'{"step": 1}\n\n{"step": 2}\n' + bytes(50), [1, 2], [1, 2, 5]),
    ],
)
def test_a_line_that_a_crash_cut_short_is_dropped_before_lines_are_appended(
    tmp_path, content, rows, appended
):
    file = tmp_path / "x.jsonl"
    file.write_bytes(content)
    assert [row["step"] for row in read_json_lines(file)] == rows
    finish_lines(file)
    append_line(file, '{"step": 5}')
    assert [row["step"] for row in read_json_lines(file)] == appended
    assert os.listdir(tmp_path) == ["x.jsonl"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"step": 1, "st{"step": 2}', "not JSON"),
        ("[1]", "not keys with values"),
        ('{"a": ' + "9" * 5000 + "}", "a number of 5000 digits"),
        ('{"a": ' + "[" * 2000 + "]" * 2000 + "}", "more than 50 levels"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_a_broken_line_among_whole_ones_is_told_and_nothing_is_dropped(tmp_path, line, why):
    file = tmp_path / "x.jsonl"
    content = f'{{"step": 0}}\n{line}\n{{"step": 3}}\n'.encode(errors="surrogateescape")
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.jsonl: line 2: .*{why}.*; mend the line"):
        read_json_lines(file)
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("provenance", "why"),
    [
        ([1], "provenance: Input should be a valid dictionary"),
        ({"options": []}, "provenance.options: Input should be a valid dictionary"),
        ({"step": "x"}, "provenance.step: Input should be a valid integer"),
        ({"val": {"psnr": "x"}}, "provenance.val.psnr: Input should be a valid number"),
        ({"versions": "x"}, "provenance.versions"),
    ],
)
def test_a_provenance_of_another_form_is_told(provenance, why):
    content = {**published_genotype("imdn").to_dict(), "provenance": provenance}
    with pytest.raises(UserError, match=f"^here: {why}"):
        Genotype.from_dict(content, "here")


def test_a_genotype_whose_provenance_names_no_space_is_told():
    content = published_genotype("imdn").to_dict()
    for space in ("imdn", [1], None):
        content["provenance"] = {"options": {"space": space}}
        with pytest.raises(UserError, match=r"genotype: provenance\.options\.space: "):
            genotype_space(Genotype.from_dict(content, "here"))


@pytest.mark.parametrize("key", ["space", "setting", "base", "base_ms", "ms", "channels", "check"])
def test_a_latency_table_of_other_types_is_told(tmp_path, key):
    table = {"format": "srnas-latency", "space": SPACE, "setting": {}, "base": {}, "base_ms": 1.0,
             "ms": {"c1": {"conv_3x3": 1.0}}, "channels": {"c1": [8, 8]}, "check": {}}  # fmt: skip
    file = tmp_path / "l.json"
    file.write_text(json.dumps(table))
    assert read_latency_table(file).base_ms == 1.0
    for wrong in ([1], None, {"c1": {"conv_3x3": [1]}} if key == "ms" else "x"):
        file.write_text(json.dumps({**table, key: wrong}))
        with pytest.raises(UserError, match=r"l\.json: a broken latency table \(.*\)$"):
            read_latency_table(file)
