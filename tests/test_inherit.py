"""Options files that build on others: `_base_` and `${datasets}`."""

import shutil
from pathlib import Path

import pytest
import yaml

from srnas.errors import UserError
from srnas.inherit import RECIPES, read_options
from srnas.merging import merge, plain
from srnas.methods import load_method
from srnas.options import SearchOptions, check_options, load_options
from srnas.table.protocol import load_protocol
from srnas.table.study import load_study
from tests.helpers import ROOT, search_options, srnas, write_options


def write(folder, **files):
    """Write files of YAML, `name="text"`."""
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(text)
    return folder / f"{next(iter(files))}.yml"


def read(folder, **files):
    return plain(read_options(write(folder, **files)))


def test_mappings_merge_deeply_and_lists_and_values_are_replaced(tmp_path):
    # The oracle is written out: each key of the file, else that of its base.
    found = read(
        tmp_path,
        a="_base_: b.yml\nname: a\ndata: {train: {images: 1-2}, batch_size: 4}\nlist: [3]\n",
        b="name: b\nseed: 1\ndata: {train: {hr: x}, batch_size: 2, hr_patch: 8}\nlist: [1, 2]\n",
    )
    assert found == {
        "name": "a",
        "seed": 1,
        "data": {"train": {"hr": "x", "images": "1-2"}, "batch_size": 4, "hr_patch": 8},
        "list": [3],
    }


def test_later_bases_go_over_earlier_ones_and_the_file_over_all(tmp_path):
    files = {"a": "_base_: [b.yml, c.yml]\nx: 1\n", "b": "x: 2\ny: 2\nz: 2\n", "c": "x: 3\ny: 3\n"}
    assert read(tmp_path, **files) == {"x": 1, "y": 3, "z": 2}


def test_a_base_of_a_base_is_looked_up_beside_the_base(tmp_path):
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", b="_base_: c.yml\ny: 1\n", c="z: 1\n")
    assert read(tmp_path, a="_base_: inner/b.yml\nx: 1\n") == {"x": 1, "y": 1, "z": 1}


@pytest.mark.parametrize("name", ["search/imdn_x2.yml", "options/search/imdn_x2.yml"])
def test_a_bundled_recipe_is_a_base_from_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, a=f"_base_: {name}\nname: mine\ndata: {{batch_size: 3}}\n")
    mine, bundled = load_options("search", file), load_options("search", Path("search/imdn_x2.yml"))
    assert (mine.name, mine.data.batch_size) == ("mine", 3)
    assert mine.data.train == bundled.data.train
    given = {"_base_": name, "name": "mine", "data": {"batch_size": 3}}
    assert check_options("search", given, "here") == mine


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        # a part of another name replaces the part; one without a name changes it
        ({"name": "l1", "weight": 2}, {"name": "l2"}, {"name": "l2"}),
        ({"name": "l1", "weight": 2}, {"weight": 3}, {"name": "l1", "weight": 3}),
        ({"name": "l1", "x": 2}, {"name": "l1", "y": 1}, {"name": "l1", "x": 2, "y": 1}),
        ({"lr": 1}, {"name": "sgd"}, {"name": "sgd"}),
        ("softmax", {"temperature": 2}, {"name": "softmax", "temperature": 2}),
        ({"name": "softmax"}, "crb", "crb"),
        ({"name": "softmax"}, None, None),
        ({"hr": "a", "images": "1-2"}, {}, {}),
        # images of another source
        ({"hr": "a", "lr": "b", "images": "1-2"}, {"hr": "c"}, {"images": "1-2", "hr": "c"}),
        ({"hr": "a", "lr": "b"}, {"hr": "c", "lr": "d"}, {"hr": "c", "lr": "d"}),
        ({"hr": "a", "lr": "b", "images": "1-2"}, {"packaged": "train"}, {"packaged": "train"}),
        ({"packaged": "train"}, {"hr": "a"}, {"hr": "a"}),
        # the lr of an optimizer has nothing to do with images
        ({"lr": {"name": "a", "b": 1}}, {"lr": {"b": 2}}, {"lr": {"name": "a", "b": 2}}),
        # keys of a genotype are no options
        ({"genotype": {"a": 1}}, {"genotype": {"b": 2}}, {"genotype": {"b": 2}}),
    ],
)  # fmt: skip
def test_parts_images_and_genotypes_merge_as_what_they_are(base, over, merged):
    assert merge({"x": base}, {"x": over}) == {"x": merged}


DOUBLED = {
    one: f"_base_: [{two}.yml, {two}.yml]" for one, two in zip("abcdefg", "bcdefgh", strict=True)
} | {"h": "x: 1"}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a": "_base_: b.yml", "b": "_base_: a.yml"}, "b.yml: _base_: a.yml leads back to itself"),
        ({"a": "_base_: a.yml"}, "a.yml: _base_: a.yml leads back to itself"),
        ({"a": "_base_: nosuch.yml"}, "a.yml: _base_: no file nosuch.yml there or among"),
        ({"a": "_base_: search/imdn_x5.yml"}, "did you mean 'search/imdn_x2.yml'"),
        ({"a": "_base_: 3"}, "a.yml: _base_: write the name of a file, or a list of names"),
        ({"a": "_base_: [b.yml, {}]", "b": "x: 1"}, "a.yml: _base_: write the name of a file"),
        ({"a": "_base_: b.yml", "b": "[1]"}, "b.yml: expected keys with values, found list"),
        ({"a": "_base_: b.yml", "b": "x: {"}, "b.yml: line "),
        (
            {f"f{n}": f"_base_: f{n + 1}.yml" for n in range(11)},
            "f9.yml: _base_: f10.yml is the base of a base, 10 times",
        ),
        (DOUBLED, "is one of more than 100 bases"),
    ],
)  # fmt: skip
def test_a_wrong_base_is_one_line_that_names_its_file(tmp_path, files, told):
    with pytest.raises(UserError) as error:
        read(tmp_path, **files)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_ten_files_in_a_chain_are_read(tmp_path):
    files = {f"f{n}": f"_base_: f{n + 1}.yml\nx{n}: 1\n" for n in range(9)}
    assert len(read(tmp_path, **files, f9="x9: 1\n")) == 10


def test_datasets_are_where_the_option_says_else_the_environment_else_datasets(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("SRNAS_DATASETS", raising=False)
    options = search_options(tmp_path, tmp_path)
    options["data"]["train"] = {"hr": "${datasets}/A", "lr": "${datasets}/B"}
    file = write_options(tmp_path / "o.yml", options)

    def folder(*overrides):
        read = load_options("search", file, overrides)
        assert not hasattr(read, "datasets")
        assert (read.data.train.hr.name, read.data.train.lr.name) == ("A", "B")
        return str(read.data.train.hr.parent)

    assert folder() == "datasets"
    monkeypatch.setenv("SRNAS_DATASETS", "/from/environment")
    assert folder() == "/from/environment"
    assert folder("datasets=/mine") == "/mine"
    options["datasets"] = "/from/file"
    write_options(file, options)
    assert folder() == "/from/file"
    assert folder("datasets=/mine") == "/mine"
    assert folder("datasets=null") == "/from/environment"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("datasets=[a]", "o.yml: datasets: write the folder of the data sets"),
        ("datasets=''", "o.yml: datasets: write the folder of the data sets"),
        ("data.train.hr=${dataset}/A", r"'${dataset}/A': did you mean ${datasets}?"),
    ],
)
def test_what_stands_for_no_folder_is_told(tmp_path, override, told):
    file = write_options(tmp_path / "o.yml", search_options(tmp_path, tmp_path))
    with pytest.raises(UserError) as error:
        load_options("search", file, [override])
    assert told in str(error.value)


def test_studies_protocols_and_methods_inherit_too(tmp_path, monkeypatch):
    monkeypatch.setenv("SRNAS_DATASETS", "/data")
    study = write(
        tmp_path,
        s="_base_: study/imdn_table.yml\nname: mine\nsearch: {_base_: more.yml}\nseeds: [7]\n",
        more="epochs: 5\n",
    )
    found = load_study(study)
    assert (found.seeds, len(found.arms)) == (
        [7],
        len(load_study(Path("study/imdn_table.yml")).arms),
    )
    assert found.options("darts", 7).epochs == 5, "the section goes over that of the base"
    assert str(found.options("darts", 7).data.train.hr) == "/data/BSD399"
    protocol = write(tmp_path, p="_base_: table/imdn_x2.yml\nversion: 9\ntrain: {steps: 3}\n")
    assert (load_protocol(protocol).version, load_protocol(protocol).training(0).steps) == (9, 3)
    method = write(tmp_path, m="_base_: methods/sa_darts.yml\nalpha_std: 0.5\n")
    known = SearchOptions.model_fields
    options = load_method(RECIPES / "methods/sa_darts.yml", known).options
    assert load_method(method, known).options == {**options, "alpha_std": 0.5}
    shown = srnas("check", study).stdout + srnas("check", protocol).stdout
    assert "valid options for srnas study" in shown
    assert "valid options for srnas table" in shown


def test_every_file_of_a_data_set_is_a_base_and_no_recipe_names_its_folders():
    files = sorted((ROOT / "options").rglob("*.yml"))
    bases = set()
    for file in files:
        content = yaml.safe_load(file.read_text())
        for part in (content, content.get("train"), content.get("search")):
            named = part.get("_base_", []) if isinstance(part, dict) else []
            names = [named] if isinstance(named, str) else named
            bases |= {(file.parent / name).resolve() for name in names}
        text = "\n".join(line.partition("#")[0] for line in file.read_text().splitlines())
        assert "root: datasets" not in text
        assert "hr: datasets/" not in text
    data = {file.resolve() for file in files if file.parent.name == "data"}
    assert data
    assert data <= bases


def test_a_recipe_works_outside_of_its_folder_by_its_bundled_bases(tmp_path):
    file = Path(shutil.copy(ROOT / "options/search/darts_cifar10.yml", tmp_path / "o.yml"))
    file.write_text(file.read_text().replace("../data/", "data/"))
    expected = load_options("search", ROOT / "options/search/darts_cifar10.yml")
    assert load_options("search", file) == expected
