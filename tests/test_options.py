"""Options: strict, typed, and answered with the path and the nearest right name."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from srnas.cli.check import check_method
from srnas.errors import UserError
from srnas.options import check_options, dump_options, kinds, load_options
from srnas.table.protocol import load_protocol
from srnas.table.study import load_study
from tests.helpers import ROOT, search_options, write_options

SHIPPED = sorted((ROOT / "options").rglob("*.yml"))
FILES = [file for file in SHIPPED if file.parent.name != "data"]  # which are bases of these


@pytest.fixture
def options(tmp_path):
    return search_options(tmp_path, tmp_path / "photos")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("epoch=3", r"unknown key 'epoch'; did you mean 'epochs'"),
        ("data.batchsize=3", r"data: unknown key 'batchsize'; did you mean 'batch_size'"),
        ("space.num_feats=8", r"space: unknown key 'num_feats'; did you mean 'num_feat'"),
        ("space.name=imnd", r"space: no space is named 'imnd'; did you mean 'imdn'"),
        ("space.num_feat=10", r"space\.num_feat: .*multiple of 4"),
        ("space.scale=5", r"space\.scale: .*2, 3 or 4"),
        ("epochs=many", r"epochs: .*integer.*'many'"),
        ("seed=1.5", r"seed: .*integer"),
        ("regularizers.0.term.mu=-1", r"regularizers\.0\.term\.mu: .*greater than or equal to 0"),
        ("regularizers.0.term.reduces=1", r"0\.term: unknown key 'reduces'; did you mean 'reduce'"),
        ("regularizers.0.weight.name=linaer", r"regularizers\.0\.weight: .*'linaer'.*'linear'"),
        ("regularizers.9.weight=1", r"'9' is not one of 0-1"),
        ("update_rule.objective=val", r"update_rule\.objective: .*'mixed' or 'val_only'"),
        ("data.train={hr: a, packaged: train}", r"data\.train: give one of hr"),
        ("name=a/b", r"must be letters"),
        ("weight_optimizer.lr=.nan", r"weight_optimizer\.lr\.value: .*finite"),
        ("epochs", r"write it as key\.path=value"),
    ],
)
def test_a_mistake_is_told_with_its_path_and_the_nearest_name(tmp_path, options, override, told):
    file = write_options(tmp_path / "o.yml", options)
    with pytest.raises(UserError, match=told):
        load_options("search", file, [override])


def test_a_missing_key_is_named(options):
    del options["epochs"]
    with pytest.raises(UserError, match=r"here: epochs: is missing"):
        check_options("search", options, "here")


def test_broken_yaml_is_told_with_its_line(tmp_path):
    (tmp_path / "o.yml").write_text("name: x\nspace: {name: imdn\nepochs: 3\n")
    with pytest.raises(UserError, match=r"o\.yml: line 3"):
        load_options("search", tmp_path / "o.yml")


def test_yaml_with_a_python_object_is_refused(tmp_path):
    (tmp_path / "o.yml").write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError, match="could not determine a constructor"):
        load_options("search", tmp_path / "o.yml")


def test_overrides_and_exponents_without_a_point_are_numbers(tmp_path, options):
    # PyYAML reads 1e-4 as a string
    file = write_options(tmp_path / "o.yml", options)
    overrides = [
        "weight_optimizer.lr=1e-4",
        "space.num_feat=16",
        "regularizers.1.term.cost=true_io",
    ]
    read = load_options("search", file, overrides)
    assert read.weight_optimizer.options.lr.to_dict() == {"name": "constant", "value": 1e-4}
    assert read.space.options.num_feat == 16
    assert read.regularizers[1].term.options.cost == "true_io"


def test_resolved_options_read_back_the_same(tmp_path, options):
    read = load_options("search", write_options(tmp_path / "o.yml", options))
    (tmp_path / "dump.yml").write_text(dump_options(read))
    assert load_options("search", tmp_path / "dump.yml") == read


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_every_shipped_options_file_is_valid(file):
    folder = file.parent.name
    if folder == "methods":
        check_method(file)
    elif folder == "table" or "arms" in yaml.safe_load(file.read_text()):
        load_study(file) if folder == "study" else load_protocol(file)
    else:
        kind = "search" if folder == "study" else folder
        assert kind in kinds()
        options = load_options(kind, file)
        assert load_options(kind, Path(folder, file.name)) == options, "by its bundled name"
        assert "${" not in dump_options(options)


def test_the_schema_accepts_shipped_files_and_refuses_a_misspelt_key(tmp_path):
    printed = subprocess.run(
        [sys.executable, "-m", "srnas", "schema", "search"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    validator = jsonschema.Draft202012Validator(json.loads(printed.stdout))
    for file in FILES:
        if file.parent.name == "search":
            content = yaml.safe_load(file.read_text())
            validator.validate(content)
            assert not validator.is_valid({**content, "epoch": 1})
            assert validator.is_valid({**content, "datasets": "/data"})
            assert not validator.is_valid({**content, "space": {"name": "imdn", "num_feats": 3}})
            assert validator.is_valid({"_base_": "x.yml", "space": {"scale": 3}})
            assert not validator.is_valid({"_base_": "x.yml", "space": {"scales": 3}})
            assert not validator.is_valid({"space": {"name": "imdn"}}), (
                "nothing but a base is left out"
            )
