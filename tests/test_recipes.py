"""What papers and their released code fixed, against the options that srnas resolves to.

The numbers are read from the sources named beside them; no code is taken over.
"""

import math

import pytest
import torch

from srnas.cli.check import check_method
from srnas.distributed import Process
from srnas.engine.stepper import SearchStepper
from srnas.engine.train import train
from srnas.errors import UserError
from srnas.files import read_json_lines
from srnas.methods import BUNDLED, list_methods, load_method
from srnas.options import SearchOptions, check_options, load_options
from tests.helpers import ROOT, class_options, class_train_options, srnas, write_options

HALVES = ((0.0, 0.5), (0.5, 1.0))
FILES = {"darts": "darts_cifar10", "nasbench201": "nb201_cifar10"}

# The columns: epochs, epochs of rest, batch, steps an epoch, learning rate from and to, its weight
# decay, Nesterov, alphas' learning rate, betas[0], weight decay, norm over the alphas as well.
KEYS = (
    "epochs", "rest", "batch", "steps", "lr", "lr_end", "decay", "nesterov",
    "alpha_lr", "alpha_beta", "alpha_decay", "clips_alphas",
)  # fmt: skip
# Rows of several methods, named after whose code they are; HUNDRED is DrNAS' and SmoothDARTS' on
# NAS-Bench-201.
DARTS = (50, 0, 64, 391, 0.025, 0.001, 3e-4, False, 3e-4, 0.5, 1e-3, False)
PRIME = (50, 0, 64, 711, 0.025, 0.001, 3e-4, False, 3e-4, 0.5, 1e-3, False)
HUNDRED = (100, 0, 64, 391, 0.025, 0.001, 3e-4, False, 3e-4, 0.5, 1e-3, True)
AUTODL = (50, 0, 64, 391, 0.025, 0.001, 5e-4, True, 3e-4, 0.5, 1e-3, True)
SA = (50, 0, 64, 391, 0.025, 0.001, 3e-4, False, 3e-4, 0.5, 0.0, True)
TABLE = {
    "darts": {
        # cnn/train_search.py of DARTS
        "darts": DARTS,
        "darts_second_order": DARTS,
        # train_search.py of PC-DARTS, "if epoch >= 15"
        "pc_darts": (50, 15, 256, 98, 0.1, 0.0, 3e-4, False, 6e-4, 0.5, 1e-3, False),
        # fairdarts/train_search.py and the README's command
        "fair_darts": (50, 0, 128, 196, 0.005, 0.001, 3e-4, False, 3e-3, 0.9, 1e-3, False),
        # src/search/args.py of DARTS-
        "darts_minus": DARTS,
        # DARTS-space/train_search.py of DrNAS; decay 0 with the paper's regularizer (architect.py)
        "drnas_progressive": (50, 10, 64, 391, 0.1, 0.0, 3e-4, False, 6e-4, 0.5, 0.0, False),
        # sota/cnn/train_search.py of SmoothDARTS, and of Beta-DARTS
        "sdarts_rs": DARTS,
        "sdarts_adv": DARTS,
        "beta_darts": DARTS,
        # src/train_scheduled_hard_statebn.py of DARTS-PRIME; 45,454 images in batches of 64
        "darts_prime": PRIME,
        "fimt": PRIME,
        "cs10": PRIME,
        "proximity": DARTS,
        "admm": DARTS,
        "crb": (50, 0, 64, 391, 0.025, 0.001, 3e-4, False, 3e-4, 0.5, 0.0, False),
        # GDAS.py and GDAS-NASNet-CIFAR.config of AutoDL
        "gdas": (250, 0, 256, 98, 0.025, 0.001, 5e-4, True, 3e-4, 0.5, 1e-3, True),
        # The text of SA-DARTS: 50 epochs, no decay of the alphas, 15 epochs of rest with PC
        "sa_darts": (50, 0, 64, 391, 0.025, 0.001, 3e-4, False, 3e-4, 0.5, 0.0, False),
        "sac_darts": (50, 15, 256, 98, 0.1, 0.0, 3e-4, False, 6e-4, 0.5, 0.0, False),
    },
    "nasbench201": {
        # DARTS.config, DARTS-V1.py, DARTS-V2.py, GDAS.py, RANDOM-NAS.py of AutoDL
        "darts": AUTODL,
        "darts_second_order": AUTODL,
        "gdas": (250, 0, 64, 391, 0.025, 0.001, 5e-4, True, 3e-4, 0.5, 1e-3, True),
        "random_search_ws": (250, 0, 64, 391, 0.025, 0.001, 5e-4, True, 3e-4, 0.5, 1e-3, False),
        # 201-space/train_search.py and train_search_progressive.py of DrNAS
        "drnas": (100, 0, 64, 391, 0.025, 0.001, 3e-4, False, 3e-4, 0.5, 0.0, True),
        "drnas_progressive": (100, 10, 64, 391, 0.025, 0.001, 3e-4, False, 3e-4, 0.5, 0.0, True),
        "snas": HUNDRED,
        # nasbench201/train_search.py of SmoothDARTS, and of Beta-DARTS
        "sdarts_rs": HUNDRED,
        "sdarts_adv": HUNDRED,
        "beta_darts": HUNDRED,
        # The texts of SA-DARTS and Single-DARTS (all 50,000 images in batches of 64)
        "sa_darts": SA,
        "sac_darts": SA,
        "snas_sa": SA,
        "single_darts": (50, 0, 64, 782, 0.005, 0.0, 3e-4, False, 3e-4, 0.5, 0.0, False),
    },
}  # fmt: skip
ROWS = {(method, space): row for space, rows in TABLE.items() for method, row in rows.items()}

# Candidates without "none": FairDARTS, DrNAS, SmoothDARTS, Beta-DARTS (and SA on it), CRB.
WITHOUT_NONE = {
    "fair_darts", "drnas_progressive", "sdarts_rs", "sdarts_adv", "beta_darts", "sa_darts", "crb",
}  # fmt: skip
SPLITS = dict.fromkeys(("darts_prime", "fimt", "cs10"), ((0, 10 / 11), (10 / 11, 1)))
CELLS = {("darts", m): (16, 8) for m, s in ROWS if s == "darts"}
CELLS |= {("darts", "drnas_progressive"): (36, 20), ("darts", "gdas"): (16, 6)}
# What else is not the default: first the weights (AutoDL), partial channels, ramps.
WEIGHTS_FIRST = {("darts", "nasbench201"), ("gdas", "nasbench201"), ("gdas", "darts")}
PARTIAL = {
    ("pc_darts", "darts"): 4,
    ("sac_darts", "darts"): 4,
    ("sac_darts", "nasbench201"): 4,
    ("drnas_progressive", "darts"): 6,
    ("drnas_progressive", "nasbench201"): 4,
}


def resolved(method, space, *overrides):
    file = ROOT / f"options/search/{FILES[space]}.yml"
    return load_options("search", file, [f"method={method}", *overrides])


def values(options):
    weights, alphas = options.weight_optimizer.options, options.alpha_optimizer.options
    assert options.weight_optimizer.name == "sgd"
    assert options.alpha_optimizer.name == "adam"
    assert (weights.update, weights.momentum, options.clip_grad_norm) == ("epoch", 0.9, 5)
    lr, alpha_lr = weights.lr.build(), alphas.lr.build()
    row = (
        options.epochs,
        options.warmup_epochs,
        options.data.batch_size,
        options.steps_per_epoch,
        lr(0.0),
        lr(1.0),
        weights.weight_decay,
        weights.nesterov,
        alpha_lr(0.0),
        alphas.betas[0],
        alphas.weight_decay,
        options.clip_grad_scope == "weights_and_alphas",
    )
    return dict(zip(KEYS, row, strict=True))


def test_every_recipe_is_in_the_table():
    methods = list_methods(BUNDLED, SearchOptions.model_fields)
    assert {(m.name, space) for m in methods for space in m.recipes} == set(ROWS)


@pytest.mark.parametrize(("method", "space"), ROWS)
def test_a_methods_recipe_is_that_of_its_authors(method, space):
    options = resolved(method, space)
    assert values(options) == pytest.approx(dict(zip(KEYS, ROWS[method, space], strict=True)))
    first, second = SPLITS.get(method, HALVES)
    assert options.data.train == pytest.approx(first, abs=1e-4)
    assert options.data.alpha == pytest.approx(second, abs=1e-4)
    assert options.data.cutout == 0, "no search of these has cutout"
    cell = options.space.options
    if space == "darts":
        assert (cell.num_feat, cell.num_cell) == CELLS[space, method]
        assert cell.space_set == ("s5" if method in WITHOUT_NONE else "full")
    else:
        assert (cell.num_feat, cell.num_cell) == (16, 5)
    order = getattr(options.update_rule.options, "order", None)
    if options.update_rule.name == "alternate":
        first = (method, space) in WEIGHTS_FIRST
        assert order == ("weights_first" if first else "alpha_first")
        assert options.update_rule.options.objective == "val_only"
    assert options.partial_channels == PARTIAL.get((method, space), 1)
    assert options.alpha_std == {"fair_darts": 0, "crb": 1e-4}.get(method, 1e-3)


def by_epoch(options, schedule, epochs=None):
    epochs = epochs or options.epochs
    return [schedule(epoch / epochs) for epoch in range(epochs)]


def test_what_changes_over_the_epochs_follows_the_released_formulas():
    # optimizers/darts/architect.py of Beta-DARTS: 50 * epoch / 100
    for space, epochs in (("nasbench201", 100), ("darts", 50)):
        options = resolved("beta_darts", space)
        assert options.epochs == epochs
        ramp = by_epoch(options, options.regularizers[0].weight.build())
        assert ramp == pytest.approx([50 * e / 100 for e in range(epochs)])
    # train_search.py of SmoothDARTS: 0.03 + 0.27 e / E
    for space in FILES:
        perturbation = resolved("sdarts_rs", space).perturbation.options
        assert (perturbation.start, perturbation.end) == (0.03, 0.3)
    # src/utils.py of DARTS-: (E - e) / E
    options = resolved("darts_minus", "darts")
    fading = by_epoch(options, options.auxiliary_skip.build())
    assert fading == pytest.approx([(50 - e) / 50 for e in range(50)])


def test_drnas_rests_for_ten_epochs_in_each_stage():
    # train_search_progressive.py and DARTS-space/train_search.py: "if epoch >= 10" in each stage
    for space, epochs, keep, channels in (("nasbench201", 100, 3, 2), ("darts", 50, 4, 4)):
        options = resolved("drnas_progressive", space)
        (stage,) = options.shrink
        assert (options.epochs, options.warmup_epochs) == (epochs, 10)
        assert (stage.at, stage.keep, stage.partial_channels) == (0.5, keep, channels)
        assert stage.warmup * options.epochs == 10


def weight_rates(kind, file):
    options = load_options(kind, ROOT / "options" / kind / file)
    optimizer = options.weight_optimizer if kind == "search" else options.optimizer
    assert optimizer.options.update == "epoch"
    epochs = options.steps // options.steps_per_epoch
    return options, by_epoch(options, optimizer.options.lr.build(), epochs)


def test_pc_darts_on_imagenet_searches_as_released():
    # train_search_imagenet.py: 0.5 (e + 1) / 5 for e < 5, else the cosine of 50 epochs; clip 5 of
    # the alphas' own gradient; begin 35; model_search_imagenet.py: stem of 3 C, K = 2
    options, rates = weight_rates("search", "darts_imagenet.yml")
    cosine = [0.25 * (1 + math.cos(math.pi * e / 50)) for e in range(50)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, *cosine[5:]])
    assert rates[20] == pytest.approx(0.32725, abs=1e-5)
    assert (options.clip_grad_norm, options.clip_alpha_grad_norm) == (5, 5)
    assert options.clip_grad_scope == "weights"
    assert (options.epochs, options.warmup_epochs, options.partial_channels) == (50, 35, 2)
    assert (options.space.options.stem, options.space.options.stem_multiplier) == ("imagenet", 3)
    assert options.data.dataset.options.color_jitter is False
    assert options.data.batch_size == 1024
    assert options.alpha_optimizer.options.lr.build()(0.5) == 6e-3


def test_pc_darts_on_imagenet_trains_as_released():
    # train_imagenet.py, adjust_lr: 0.5 (245 - e) / 245, from 245 on 0.5 (250 - e) / 1225; warm-up
    def released(e):
        if e < 5:
            return 0.5 * (e + 1) / 5
        return 0.5 * (245 - e) / 245 if e < 245 else 0.5 * (250 - e) / 1225

    options, rates = weight_rates("train", "darts_imagenet.yml")
    assert rates == pytest.approx([released(e) for e in range(250)], rel=1e-4)
    assert rates[244] == pytest.approx(0.002, abs=5e-5)
    assert options.data.dataset.options.color_jitter is True
    assert options.space.options.stem_multiplier is None


def test_cells_train_by_epochs_as_darts_released_it():
    # cnn/train.py: cosine of 600 epochs from 0.025 to 0, drop path 0.2 e / 600
    options, rates = weight_rates("train", "darts_cifar10.yml")
    assert rates == pytest.approx(
        [0.0125 * (1 + math.cos(math.pi * e / 600)) for e in range(600)], abs=1e-9
    )
    dropped = by_epoch(options, options.drop_path.build(), 600)
    assert dropped == pytest.approx([0.2 * e / 600 for e in range(600)])
    assert options.drop_path_update == "epoch"


def test_dlsr_computes_in_0_to_255_in_its_recipes():
    # search/RFDN6_para_loss.py, train/train_beta_para.py: rgb_range 255; grad_clip 50 in training
    for file in sorted((ROOT / "options/search").glob("dlsr*.yml")):
        options = load_options("search", file)
        assert options.space.options.rgb_range == 255
        assert (options.regularizer_scale, options.clip_grad_norm) == (1, None)
    for file in sorted((ROOT / "options/train").glob("dlsr*.yml")):
        options = load_options("train", file)
        assert options.space.options.rgb_range == 255
        assert options.clip_grad_norm == 50


def test_imdn_trains_without_a_moving_average():
    # train_IMDN.py has Adam, L1 and a step decay, nothing else
    for scale in (2, 3, 4):
        assert load_options("train", ROOT / f"options/train/imdn_x{scale}.yml").ema == 0


def test_a_search_changes_its_rate_at_its_epochs_only(tmp_path):
    def rates(update):
        torch.manual_seed(0)
        given = class_options(tmp_path, "nasbench201", epochs=4, steps_per_epoch=5)
        given["weight_optimizer"] = {
            "name": "sgd",
            "lr": {"name": "cosine", "start": 0.1, "end": 0.02},
            "update": update,
        }
        stepper = SearchStepper(check_options("search", given, "t"), Process(torch.device("cpu")))
        found = []
        for step in range(20):
            stepper.begin(step)
            found.append(stepper.weight_optimizer.lr)
        return found

    def cosine(progress):
        return 0.02 + 0.04 * (1 + math.cos(math.pi * progress))

    assert rates("epoch") == pytest.approx([cosine(step // 5 / 4) for step in range(20)])
    assert rates("step") == pytest.approx([cosine(step / 20) for step in range(20)])


def test_a_training_drops_paths_by_epoch(tmp_path):
    given = class_train_options(tmp_path, "darts", steps=6, log_every=1)
    given |= {
        "steps_per_epoch": 3,
        "drop_path": {"name": "linear", "start": 0.0, "end": 0.2},
        "drop_path_update": "epoch",
    }
    given["optimizer"] = {
        "name": "sgd",
        "lr": {"name": "linear", "start": 0.1, "end": 0.0},
        "update": "epoch",
    }
    run = train(check_options("train", given, "t")).parent
    rows = [row for row in read_json_lines(run / "metrics.jsonl") if "lr" in row]
    assert [row["lr"] for row in rows] == pytest.approx([0.1] * 3 + [0.05] * 3)
    options = check_options("train", given, "t")
    assert [options.progress(step)[1] for step in range(6)] == [0, 0, 0, 0.5, 0.5, 0.5]
    del given["steps_per_epoch"]
    with pytest.raises(UserError, match="needs steps_per_epoch"):
        check_options("train", given, "t")


METHOD = """
about: {title: Mine}
update_rule: {name: alternate, order: alpha_first}
alpha_optimizer: {weight_decay: 0}
regularizers: [{term: beta_decay, weight: 1}]
on:
  nasbench201:
    source: me
    epochs: 7
    warmup_epochs: 2
    space: {num_feat: 6}
    update_rule: {order: weights_first}
    alpha_optimizer: {betas: [0.9, 0.99]}
    regularizers: [{term: beta_decay, weight: 3}]
  darts: like_me
"""


@pytest.fixture
def mine(tmp_path):
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "mine.yml").write_text(METHOD)
    (folder / "like_me.yml").write_text("about: {title: x}\non: {darts: {epochs: 9}}\n")

    def search(space="nasbench201", overrides=(), **changes):
        given = class_options(tmp_path, space, method="mine", epochs=4, **changes)
        given["space"] = {"name": space}
        del given["warmup_epochs"]
        file = write_options(tmp_path / "search/o.yml", given)
        return load_options("search", file, overrides)

    (tmp_path / "search").mkdir()
    return search


def test_a_recipe_goes_under_the_users_options_or_over_them(mine):
    under = mine()
    assert (under.epochs, under.warmup_epochs, under.space.options.num_feat) == (4, 2, 6)
    over = mine(recipe="over")
    assert (over.epochs, over.warmup_epochs) == (7, 2)
    assert mine(recipe="over", overrides=["epochs=5"]).epochs == 5
    off = mine(overrides=["recipe=false"])
    assert (off.epochs, off.warmup_epochs, off.recipe) == (4, 0, False)
    assert off.space.options.num_feat == 16
    for options in (under, over):  # what the recipe repeats of the definition takes its place
        assert options.update_rule.options.order == "weights_first"
        assert [r.weight.to_dict()["value"] for r in options.regularizers][-1] == 3
        assert options.alpha_optimizer.options.weight_decay == 0
    assert off.update_rule.options.order == "alpha_first"
    assert [r.weight.to_dict()["value"] for r in off.regularizers][-1] == 1
    assert mine("darts", recipe="over").epochs == 9
    assert mine("darts", recipe="over").update_rule.options.order == "alpha_first"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("on: {drats: {epochs: 3}}", "no space is named 'drats'; did you mean 'darts'"),
        ("on: {darts: {epoch: 3}}", "on.darts: unknown key 'epoch'; did you mean 'epochs'"),
        ("on: {darts: {epochs: none}}", "on.darts: epochs: "),
        ("on: {darts: 3}", "on.darts: write options, or the name of a method"),
        ("on: [darts]", "on: write SPACE: and its options"),
        ("on: {darts: x.yml}", "x.yml"),
        ("on: {darts: sa_dart}", "did you mean 'sa_darts'"),
        ("on: {imdn: sa_darts}", "sa_darts has no recipe on imdn"),
        ("on: {darts: m}", "like m, which is like this one"),
    ],
)
def test_a_wrong_recipe_is_told(tmp_path, text, told):
    (tmp_path / "m.yml").write_text(f"about: {{title: x}}\n{text}\n")
    with pytest.raises(UserError) as error:
        check_method(tmp_path / "m.yml")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_the_methods_command_shows_what_is_fixed_and_what_is_open():
    shown = srnas("methods", "pc_darts", "--space", "darts").stdout
    for line in ("warmup_epochs: 15", "batch_size: 256", "start: 0.1", "lr: 0.0006", "left open:"):
        assert line in shown
    assert "train_search.py of the released code" in shown
    assert "no recipe on space imdn" in srnas("methods", "sa_darts", "--space", "imdn").stdout
    wrong = srnas("methods", "sa_darts", "--space", "drats")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "did you mean 'darts'" in wrong.stderr
    assert srnas("methods", "--space", "darts").returncode == 2
    for method in list_methods(BUNDLED, SearchOptions.model_fields):
        for space in method.recipes:
            assert load_method(BUNDLED / f"{method.name}.yml", SearchOptions.model_fields)
            assert space in srnas("methods", method.name, "--space", space).stdout
