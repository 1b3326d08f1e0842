"""Old names of commands, options, methods and files: each works, and says its new name once."""

import pytest

from srnas import renames
from srnas.errors import UserError
from srnas.inherit import find_recipe
from srnas.methods import find_method, method_folders
from srnas.options import check_options
from srnas.schemas import schema
from srnas.table.study import load_study
from tests.helpers import ROOT, search_options, srnas, write_options


@pytest.fixture
def notes(monkeypatch, capsys):
    """A function that returns the lines of standard error since its last call."""
    monkeypatch.setattr(renames, "_said", set())
    return lambda: capsys.readouterr().err.splitlines()


def test_options_of_before_give_the_options_of_today(tmp_path, photo_folder, notes):
    content = search_options(tmp_path, photo_folder)
    rule = {"name": "every_n", "n": 3}
    new = check_options("search", content | {"update_rule": rule}, "here")
    assert not notes()
    old = check_options("search", content | {"update": rule}, "here")
    assert old == new
    assert notes() == ["note: option update is called update_rule now"]
    changed = check_options("search", content, "here", ["update.name=every_n", "update.n=3"])
    given = check_options("search", content, "here", changes={"update": rule})
    assert changed == given == new
    assert not notes(), "said twice"


def test_a_file_may_use_an_old_name_over_a_base_that_has_the_new_one(tmp_path, photo_folder, notes):
    content = search_options(tmp_path, photo_folder) | {"update_rule": {"name": "every_n", "n": 3}}
    write_options(tmp_path / "base.yml", content)
    over = {"_base_": str(tmp_path / "base.yml"), "update": {"n": 7}}
    options = check_options("search", over, "here")
    assert options.update_rule.to_dict() == {"name": "every_n", "n": 7}
    assert notes() == ["note: option update is called update_rule now"]


def test_methods_and_bundled_files_of_before_are_found(notes):
    assert find_method("random_sharing", method_folders()).stem == "random_search_ws"
    assert notes() == ["note: method random_sharing is called random_search_ws now"]
    assert find_recipe("options/bench/imdn_x2.yml") == find_recipe("table/imdn_x2.yml")
    assert find_recipe("table/imdn_x2.yml").is_file()
    assert find_recipe("methods/random_sharing.yml").is_file()
    assert schema("bench") == schema("table")


def test_a_method_of_the_user_keeps_an_old_name(tmp_path, notes):
    (tmp_path / "random_sharing.yml").write_text("epochs: 3\n")
    assert find_method("random_sharing", [tmp_path]) == tmp_path / "random_sharing.yml"
    assert not notes()


def test_the_command_of_before_runs_the_one_of_today():
    table = ROOT / "datasets/imdn_x2.csv.gz"
    now = srnas("table", "best", "--table", table, "--max-params", "50000")
    before = srnas("bench", "best", "--table", table, "--max-params", "50000")
    assert now.returncode == before.returncode == 0
    assert before.stdout == now.stdout
    assert not now.stderr
    assert before.stderr == "note: command bench is called table now\n"


def test_a_study_with_old_names_is_the_study_whose_results_are_stored(tmp_path, notes):
    new = load_study(ROOT / "options/study/imdn_table.yml")
    text = (ROOT / "options/study/imdn_table.yml").read_text()
    for old, name in (renames.OPTIONS | renames.METHODS).items():
        assert name in text
        text = text.replace(f"{name}: {{method: {name}", f"{name}: {{method: {old}")
        text = text.replace(f"  {name}: {{name", f"  {old}: {{name")
    assert "  update: {" in text
    assert "method: random_sharing" in text
    (tmp_path / "study.yml").write_text(text)
    old = load_study(tmp_path / "study.yml")
    assert [old.identity(arm) for arm in old.arms] == [new.identity(arm) for arm in new.arms]
    # of the options' text at the commit that measured the stored results
    assert new.identity("random_search_ws") == "8de879e9f652"


def test_a_method_that_is_no_name_is_one_line(tmp_path, photo_folder):
    given = {**search_options(tmp_path, photo_folder), "from_method": {"name": "x"}}
    with pytest.raises(UserError, match="from_method"):
        check_options("search", given, "here")
