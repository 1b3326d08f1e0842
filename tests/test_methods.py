"""Published methods as YAML: each runs on every space that it fits."""

import math
from pathlib import Path

import pytest
import torch

from srnas.choice import Genotype
from srnas.engine.search import search
from srnas.engine.train import train
from srnas.errors import UserError
from srnas.files import read_json_lines
from srnas.methods import BUNDLED, apply_method, find_method, list_methods, method_folders
from srnas.options import SearchOptions, check_options, load_options
from tests.helpers import (
    CLASS_SPACES,
    ROOT,
    class_options,
    class_train_options,
    search_options,
    srnas,
    train_options,
    write_options,
)

METHODS = [file.stem for file in sorted(BUNDLED.glob("*.yml"))]
SPACES = {
    "imdn": {"name": "imdn", "scale": 2, "num_feat": 16, "num_block": 1},
    "dlsr": {"name": "dlsr", "scale": 2, "num_feat": 8, "num_cell": 3},
}
SHORTER = {
    "random_search_ws": ["update_rule.samples=5", "update_rule.batches=1"],
    "crb": ["alpha_optimizer.lr=1e-2"],  # its own falls from 3e-4 to 0
    "fimt": ["update_rule.threshold=100"],  # small networks have large gradients
    "darts_prime": ["update_rule.threshold=100"],
    "cs10": ["update_rule.n=3"],  # its own 10 are more steps than an epoch here has
    # on darts its recipe has 6 and 4, which do not divide 4 channels
    "thompson": ["epochs=4", "steps_per_epoch=2", "sampled.random=2"],
    "drnas_progressive": ["partial_channels=4", "shrink.0.partial_channels=2"],
}
STILL = {"random", "random_search_ws"}  # their alphas do not learn


def options_on(space, tmp_path, photo_folder):
    """Of a search and of a training of what it found."""
    steps = {
        "epochs": 2,
        "steps_per_epoch": 3,
        "warmup_epochs": 0,
        "alpha_optimizer": {"lr": 1e-2},
        "checkpoint_every": 100,
        "val_every_epochs": 2,
    }
    if space in CLASS_SPACES:
        given = class_options(tmp_path, space, **steps)
        return given, class_train_options(tmp_path, space, steps=2)
    given = search_options(tmp_path, photo_folder, space=SPACES[space], regularizers=[], **steps)
    return given, train_options(tmp_path, photo_folder, space=SPACES[space], steps=2)


@pytest.mark.matrix
@pytest.mark.parametrize("space", [*SPACES, *CLASS_SPACES])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_searches_derives_and_trains_on_every_space(
    tmp_path, photo_folder, space, method
):
    given, trained = options_on(space, tmp_path, photo_folder)
    file = write_options(tmp_path / "o.yml", given)
    options = load_options("search", file, [f"method={method}", *SHORTER.get(method, ())])
    run = search(options).parent
    rows = read_json_lines(run / "metrics.jsonl")
    assert all(math.isfinite(value) for row in rows for value in row.values())
    first, *_, last = [row["alphas"] for row in read_json_lines(run / "alphas.jsonl")] * 2
    chance = method == "thompson" and space in CLASS_SPACES  # two steps leave all accuracies equal
    if method not in STILL and not chance:
        moved = [(torch.tensor(first[k]) - torch.tensor(last[k])).abs().max() for k in first]
        assert max(moved) > 1e-3
    genotype = Genotype.load(run / "genotype.json")
    assert genotype.provenance["options"]["from_method"] == method
    trained["genotype"] = str(run / "genotype.json")
    assert train(check_options("train", trained, "t")).is_file()


def test_a_methods_options_go_over_the_files_and_the_command_lines_over_both():
    plain = load_options("search", ROOT / "options/search/dlsr_x2.yml")
    file = ROOT / "options/search/dlsr_x2.yml"
    with_sac = load_options("search", file, ["method=sac_darts", "partial_channels=2"])
    assert (plain.partial_channels, with_sac.partial_channels) == (1, 2)
    assert plain.alpha_optimizer.options.weight_decay == 1e-8
    assert with_sac.alpha_optimizer.options.weight_decay == 0
    assert with_sac.alpha_optimizer.options.lr == plain.alpha_optimizer.options.lr
    terms = [r.term.name for r in with_sac.regularizers]
    assert terms == ["expected_cost", "smooth_activation"], "the space's own penalty stays"
    assert with_sac.update_rule == plain.update_rule
    single = load_options("search", file, ["method=single_darts"])
    assert single.update_rule.to_dict() == {"name": "single_level", "data": "single"}
    assert (single.method, single.from_method) == (None, "single_darts")


def test_the_command_lines_method_replaces_the_files():
    file = ROOT / "options/search/imdn_sa_x2.yml"
    replaced = load_options("search", file, ["method=beta_darts"])
    assert [r.term.name for r in replaced.regularizers] == ["beta_decay"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("about: {title: x}\nupdte: every_n\n", r"m\.yml: unknown key 'updte'; did you mean 'upd"),
        ("about: [x]\nupdate: every_n\n", r"m\.yml: about: write title:"),
        ("about: {titel: x}\nupdate: every_n\n", r"m\.yml: about: write title:"),
        ("about: {title: x}\nname: other\n", r"m\.yml: unknown key 'name'"),
    ],
)
def test_a_wrong_method_file_is_told_by_its_own_name(tmp_path, text, told):
    (tmp_path / "m.yml").write_text(text)
    content = {"method": str(tmp_path / "m.yml")}
    with pytest.raises(UserError, match=told):
        apply_method(content, [], SearchOptions.model_fields)


def test_a_misspelt_method_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'sa_darts'"):
        find_method("sa_dart", [BUNDLED])


def test_an_options_file_at_a_filesystem_root_finds_its_method():
    root = Path(Path.cwd().anchor)
    assert method_folders(root / "o.yml")[0] == root / "methods"
    found = find_method("sa_darts", method_folders(root / "o.yml"))
    assert found.read_text() == (BUNDLED / "sa_darts.yml").read_text()


def test_the_methods_command_takes_a_method_of_the_folder_it_is_given(tmp_path):
    folder = tmp_path / "mine"  # not called methods
    folder.mkdir()
    (folder / "pull.yml").write_text("about: {title: Pull, paper: none}\nupdate: every_n\n")
    (folder / "sa_darts.yml").write_text("about: {title: My own SA}\nupdate: every_n\n")
    shown = srnas("methods", "pull", "--folder", folder)
    assert "Pull" in shown.stdout, shown.stderr
    assert "My own SA" in srnas("methods", "sa_darts", "--folder", folder).stdout
    missing = srnas("methods", "beta_darts", "--folder", folder)
    assert missing.returncode == 2
    assert "no file beta_darts.yml" in missing.stderr


def test_the_label_of_errors_is_no_search_path(tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/mine.yml").write_text("update_rule: every_n\n")
    content = search_options(tmp_path, tmp_path, method="mine")
    with pytest.raises(UserError, match=r"no file mine\.yml"):
        check_options("search", content, str(tmp_path / "search/o.yml"))
    folders = [tmp_path / "methods"]
    assert check_options("search", content, "x", folders=folders).update_rule.name == "every_n"


def test_a_method_is_merged_once():
    content = {"method": "sa_darts", "regularizers": [{"term": "l2"}]}
    once = apply_method(content, [BUNDLED], SearchOptions.model_fields)
    assert "method" not in once
    assert len(once["regularizers"]) == 2
    assert once["regularizers"][0] == {"term": "l2"}
    assert content["regularizers"] == [{"term": "l2"}], "what was given stays as it is"


def test_a_folder_without_methods_is_told(tmp_path):
    with pytest.raises(UserError, match="no methods"):
        list_methods(tmp_path, ())


def test_every_method_says_what_it_is_and_the_list_shows_them_all():
    methods = list_methods(BUNDLED, SearchOptions.model_fields)
    assert all(m.about["title"] and m.about["paper"] for m in methods)
    shown = srnas("methods").stdout
    assert all(m.name in shown and m.about["paper"] in shown for m in methods)


PLUGIN = '''
from srnas.regularizers import REGULARIZERS, Regularizer

@REGULARIZERS.register("pull_to")
class PullTo(Regularizer):
    """mean (alpha - value)^2."""

    def __init__(self, *, value: float = 0.0):
        self.value = value

    def __call__(self, supernet):
        return sum((a - self.value).square().mean() for a in supernet.alphas.values())
'''
METHOD = """
about: {title: Pull, note: a method from outside}
update_rule: {name: alternate, objective: val_only}
regularizers:
- term: {name: pull_to, value: 0.7}
  weight: 1000
"""


def test_a_regularizer_from_outside_is_found_validated_listed_and_searched_with(
    tmp_path, photo_folder
):
    (tmp_path / "pull.py").write_text(PLUGIN)
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "pull.yml").write_text(METHOD)
    options = search_options(tmp_path, photo_folder, regularizers=[], epochs=10)
    options["alpha_optimizer"] = {"lr": 0.05}
    (tmp_path / "search").mkdir()
    file = write_options(tmp_path / "search" / "o.yml", options)
    plugin = ("--plugin", tmp_path / "pull.py")

    listed = srnas(*plugin, "methods", "--folder", tmp_path / "methods")
    assert "a method from outside" in listed.stdout
    assert "pull_to" in listed.stdout
    assert "pull_to" in srnas(*plugin, "schema", "search").stdout
    wrong = srnas(*plugin, "search", "-opt", file, "method=pull", "regularizers.0.term.valu=1")
    assert wrong.returncode == 2
    assert "did you mean 'value'" in wrong.stderr
    unknown = srnas("search", "-opt", file, "method=pull")
    assert unknown.returncode == 2
    assert "'pull_to'" in unknown.stderr
    done = srnas(*plugin, "search", "-opt", file, "method=pull")
    assert done.returncode == 0, done.stderr
    last = read_json_lines(tmp_path / "experiments/search/alphas.jsonl")[-1]["alphas"]
    values = torch.tensor([value for row in last.values() for value in row])
    torch.testing.assert_close(values, torch.full_like(values, 0.7), rtol=0, atol=0.1)
