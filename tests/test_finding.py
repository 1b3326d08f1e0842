"""`srnas find`: a budget in, a network out."""

import json

import pytest
import torch
import yaml

import srnas as srnas_api
from srnas import finding
from srnas.errors import UserError
from srnas.finding import Limits, find
from srnas.model_file import Model, load_model, save_model
from srnas.score_table import read_table, write_table
from srnas.spaces import check_space, derived_network, published_genotype, read_genotype
from tests.helpers import ROOT, srnas

SMALL = Limits(size=(32, 18), repeats=2)


def saved(folder, name, seed=0, **options):
    """A model of random weights."""
    torch.manual_seed(seed)
    space = check_space({"name": "plain", "widths": [8, 4], "attention": "none", **options})
    genotype = published_genotype(space)
    file = folder / name
    file.parent.mkdir(exist_ok=True, parents=True)
    save_model(file, Model(derived_network(space, genotype), space, genotype, {}))
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs: a small and a large model, one of x4, a broken one, and the front of a search."""
    folder = tmp_path_factory.mktemp("runs")
    saved(folder, "small/model.safetensors")
    saved(folder, "large/model.safetensors", widths=[32, 32])
    saved(folder, "x4/model.safetensors", scale=4)
    (folder / "broken").mkdir()
    (folder / "broken/model.safetensors").write_bytes(b"no")
    space = {"name": "plain", "widths": [8, 4], "search_widths": [4, 8]}
    rows = [({"block1/width": 4, "block2/width": 4}, 29.0, 1.0),
            ({"block1/width": 8, "block2/width": 8}, 30.0, 2.0)]  # fmt: skip
    networks = [{"choices": c, "score": s, "cost": k, "deviation": 0.1} for c, s, k in rows]
    front = {"networks": networks}
    (folder / "search").mkdir()
    (folder / "search/front.json").write_text(json.dumps(front))
    (folder / "search/options.yml").write_text(yaml.safe_dump({"space": space}))
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three rows of the table of IMDN's space, one of which is worse and larger than another."""
    whole = read_table(ROOT / "datasets/imdn_x2.csv.gz")
    rows = sorted(whole.front("params"), key=lambda row: row.params)[:2]
    worse = next(row for row in whole.rows if row.params > 25_000 and row.psnr < rows[0].psnr)
    file = tmp_path_factory.mktemp("table") / "t.csv"
    write_table(file, {"space": whole.about["space"], "name": "t", "report": {}}, [*rows, worse])
    return file


def test_the_best_model_and_the_best_of_each_front_are_those_that_fit(folder, table):
    answer = find([folder, table], Limits(params=25_000, size=(32, 18), repeats=2))
    assert [one.name for one in answer.best] == [
        "small/model.safetensors", "search/front.json 2", "t.csv 2",
    ]  # fmt: skip
    model, front, promised = answer.best
    expected = srnas_api.evaluate(load_model(model.source), "packaged")["packaged"]["psnr"]
    assert model.psnr == pytest.approx(expected, abs=1e-9)
    again = srnas_api.find(folder / "small", table, params=25_000, size=(32, 18), repeats=2)
    assert [one.name for one in again.best] == [model.name, promised.name]
    with pytest.raises(UserError, match="find: max_ms: did you mean 'macs'"):
        srnas_api.find(max_ms=3)
    within = read_table(table).best({"params": 25_000})
    assert (str(promised.genotype), promised.predicted) == (within.genotype, within.psnr)
    assert front.genotype.choices == {"block1/width": 8, "block2/width": 8}
    assert {one.name for one in answer.others if one.trained} == {
        "default", "large/model.safetensors"
    }  # fmt: skip
    assert len(answer.left_out) == 2
    assert any("x4/model.safetensors: not for scale 2" in line for line in answer.left_out)
    assert any("broken/model.safetensors" in line for line in answer.left_out)


def test_kilobytes_are_those_of_the_exported_file(folder, tmp_path):
    answer = find([folder / "small"], Limits(kb=100, size=(32, 18), repeats=2))
    (one,) = answer.fitting
    out = tmp_path / "small.onnx"
    assert srnas("export", "--model", one.source, "--out", out).returncode == 0
    assert one.costs["kb"] == out.stat().st_size / 1000


def test_milliseconds_decide_by_what_was_measured(folder, monkeypatch):
    times = iter([[3.0, 1.0, 2.0], [9.0, 8.0, 10.0], [4.0, 4.5, 5.0]])

    def measured(calls, repeats, after_round):
        return [next(times) for _ in calls]

    monkeypatch.setattr(finding, "time_alternately", measured)
    answer = find([folder / "small", folder / "large"], Limits(ms=4.5, size=(32, 18)))
    assert {one.name: one.costs["ms"] for one in answer.fitting} == {
        "default": 2.0, "large/model.safetensors": 4.5,
    }  # fmt: skip
    assert [one.costs["ms"] for one in answer.others] == [9.0]
    psnrs = [one.psnr for one in answer.fitting]
    assert psnrs == sorted(psnrs, reverse=True)


def test_what_cannot_be_read_is_one_line_if_it_is_named(folder, tmp_path):
    for file, text in (
        (folder / "broken/model.safetensors", "broken/model.safetensors: "),
        (tmp_path / "none.csv", "none.csv: no such file"),
        (tmp_path, "no model.safetensors or front.json in this folder"),
    ):
        with pytest.raises(UserError, match=text) as caught:
            find([file], SMALL)
        assert "\n" not in str(caught.value)
    (tmp_path / "front.json").write_text('{"networks": [{"choices": 3}]}')
    for space, choices in (("{name: imdn}", "3"), ("", "{}"), ("imdn", "{}")):
        (tmp_path / "options.yml").write_text(f"space: {space}")
        networks = f'{{"networks": [{{"choices": {choices}, "score": 1}}]}}'
        (tmp_path / "front.json").write_text(networks)
        with pytest.raises(UserError, match=r"not the front.json of a sampled search"):
            find([tmp_path / "front.json"], SMALL)


def test_the_command_that_shrinks_has_one_budget():
    (shrink, _) = Limits(ms=5, kb=200).searches()
    assert " --latency 5 " in shrink
    assert "--size" not in shrink
    assert " --speedup 2 " in Limits().searches()[0]


def test_the_command(folder, tmp_path):
    setting = ("--input", "32x18", "--repeats", "2")
    page, figures = tmp_path / "p.html", tmp_path / "f.json"
    said = srnas("find", folder, "--max-kb", "100", *setting, "--page", page, "--json", figures)
    assert said.returncode == 0, said.stderr
    assert f"take small/model.safetensors: srnas upscale photo.jpg --model {folder}" in said.stdout
    found = json.loads(figures.read_text())
    assert found["best"] == ["small/model.safetensors", "search/front.json 2"]
    assert {row["name"]: row["fits"] for row in found["networks"]}["default"] is False
    text = page.read_text()
    assert "at most 100 kB" in text
    assert "small/model.safetensors" in text
    train = next(row["command"] for row in found["networks"] if row["name"].endswith(".json 2"))
    assert train.startswith("srnas train -opt train/default_x2.yml name=found 'space={")
    nothing = srnas("find", folder, "--max-kb", "1", *setting)
    assert nothing.returncode == 1
    assert "no trained model fits; to make one:" in nothing.stdout
    assert "srnas shrink --model MODEL --data PHOTOS --out experiments/shrunk --size 1000 " in (
        nothing.stdout
    )
    for wrong, told in (
        ([], "give --max-ms, --max-kb, --max-macs or --max-params, or --best"),
        (["--best", "--max-ms", "3"], "or --best without a limit"),
        (["--max-ms", "-3"], "a limit is a number above 0"),
        (["--max-ms", "3", "--runtime", "tflite"], "--runtime tflite"),
    ):
        refused = srnas("find", *wrong)
        assert refused.returncode == 2
        assert told in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("space", [
    {"name": "imdn"},
    {"name": "dlsr"},
    {"name": "plain", "search_feat": [8, 32], "search_convs": [1, 2]},
], ids=lambda space: space["name"])  # fmt: skip
def test_a_genotype_is_read_from_its_text(space):
    genotype = published_genotype(space)
    assert read_genotype(space, str(genotype)) == genotype
    with pytest.raises(UserError, match="write choices as"):
        read_genotype(space, "c1:conv_3x3")
