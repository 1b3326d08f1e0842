"""The two steps of a search: what moves, what does not, on which data."""

import copy
import re

import pytest
import torch

from srnas.choice import Genotype
from srnas.distributed import Process
from srnas.engine.search import search
from srnas.engine.stepper import SearchStepper, build_supernet
from srnas.engine.train import train
from srnas.errors import UserError
from srnas.files import load_tensors, read_json_lines
from srnas.options import check_options
from srnas.spaces import published_genotype
from srnas.updates import UPDATES
from tests.helpers import search_options, train_options


@pytest.fixture
def state(tmp_path, photo_folder):
    torch.manual_seed(0)
    options = check_options("search", search_options(tmp_path, photo_folder), "test")
    state = SearchStepper(options, Process(torch.device("cpu")))
    state.begin(10)  # of 20
    return state


def moved(state, step):
    """Which of (weights, alphas) a step changes."""
    before = copy.deepcopy(state.supernet)
    step()
    return tuple(
        any(not torch.equal(a, b) for a, b in zip(new, old, strict=True))
        for new, old in (
            (state.supernet.weight_parameters(), before.weight_parameters()),
            (state.supernet.arch_parameters(), before.arch_parameters()),
        )
    )


def test_a_weight_step_moves_weights_only_and_an_alpha_step_alphas_only(state):
    assert moved(state, lambda: state.weight_step(next(state.train_batches))) == (True, False)
    assert moved(state, lambda: state.alpha_step(next(state.alpha_batches))) == (False, True)


def test_the_alpha_gradient_is_that_of_the_loss_plus_weighted_terms(state):
    batches = [next(state.alpha_batches), next(state.train_batches)]
    supernet = copy.deepcopy(state.supernet)
    loss = sum(state.task.loss(supernet, b) for b in batches)
    penalty = sum(term.weight * term.regularizer(supernet) for term in state.terms)
    expected = torch.autograd.grad(loss + penalty, supernet.arch_parameters())
    assert [term.weight for term in state.terms] == [0.5, 0.1]
    state.alpha_step(*batches)
    for alpha, gradient in zip(state.supernet.arch_parameters(), expected, strict=True):
        torch.testing.assert_close(alpha.grad, gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("part", "alpha_moves", "expected"),
    [
        ({"order": "weights_first", "objective": "mixed"}, True, ["w train0", "a alpha0 train0"]),
        ({"order": "alpha_first", "objective": "val_only"}, True, ["a alpha0", "w train0"]),
        ({"order": "alpha_first", "objective": "mixed"}, False, ["w train0"]),
    ],
)
def test_the_update_rule_takes_steps_in_order_on_the_right_batches(part, alpha_moves, expected):
    class Recorder:
        def __init__(self):
            self.train_batches = (f"train{i}" for i in range(9))
            self.alpha_batches = (f"alpha{i}" for i in range(9))
            self.steps = []

        def weight_step(self, batch):
            self.steps.append(f"w {batch}")

        def alpha_step(self, *batches):
            self.steps.append(" ".join(("a", *batches)))

    recorder = Recorder()
    UPDATES.build({"name": "alternate", **part})(recorder, alpha_moves)
    assert recorder.steps == expected


def test_alphas_rest_during_warm_up_and_move_after_it(tmp_path, photo_folder):
    options = check_options("search", search_options(tmp_path, photo_folder), "test")
    run = search(options).parent
    rows = read_json_lines(run / "alphas.jsonl")
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    torch.manual_seed(options.seed)
    at_start = {k: a.tolist() for k, a in build_supernet(options).alphas.items()}
    assert rows[0]["alphas"] == at_start
    assert rows[1]["alphas"] != at_start


def test_training_learns(tmp_path, photo_folder):
    options = train_options(tmp_path, photo_folder, steps=150, val_every=50)
    run = train(check_options("train", options, "test")).parent
    rows = read_json_lines(run / "metrics.jsonl")
    losses = [row["loss"] for row in rows if "loss" in row]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    quality = [row["val_psnr"] for row in rows if "val_psnr" in row]
    assert len(quality) == 3
    assert quality[-1] > quality[0]


def test_a_loss_that_becomes_nan_is_told_and_not_checkpointed(tmp_path, photo_folder):
    options = train_options(tmp_path, photo_folder, optimizer={"lr": 1e30}, steps=60)
    with pytest.raises(UserError, match=r"is not finite at step .*lower the learning rate") as told:
        train(check_options("train", options, "test"))
    named = re.search(r"\(last images: ([\w, ]+)\)", str(told.value))[1].split(", ")
    assert named
    assert set(named) <= {file.stem for file in photo_folder.iterdir()}
    checkpoint = tmp_path / "experiments/train/checkpoints/last.pt"
    if checkpoint.exists():
        weights = load_tensors(checkpoint)["parts"]["network"]
        assert all(torch.isfinite(w).all() for w in weights.values())


def test_weights_that_blow_up_between_two_logs_are_not_checkpointed(tmp_path, photo_folder):
    options = train_options(
        tmp_path,
        photo_folder,
        optimizer={"lr": 1e37},
        log_every=20,
        val_every=20,
        steps=20,
        checkpoint_every=1,
    )
    with pytest.raises(UserError, match=r"network.* is not finite at step"):
        train(check_options("train", options, "test"))
    state = load_tensors(tmp_path / "experiments/train/checkpoints/last.pt")
    assert 0 < state["step"] < 19
    assert all(torch.isfinite(w).all() for w in state["parts"]["network"].values())


def test_resuming_with_another_genotype_under_the_same_name_is_refused(tmp_path, photo_folder):
    file = tmp_path / "g.json"
    published_genotype("imdn").save(file)
    content = train_options(tmp_path, photo_folder, steps=2, genotype=str(file))
    train(check_options("train", content, "test"))
    Genotype("imdn", dict.fromkeys(("c1", "c2", "c3", "c4"), "ds_conv_3x3")).save(file)
    with pytest.raises(UserError, match=r"genotype\.json: this run trains another genotype"):
        train(check_options("train", content, "test"), resume=True)


def test_resuming_with_other_options_is_refused_with_the_key(tmp_path, photo_folder):
    content = train_options(tmp_path, photo_folder, steps=4)
    train(check_options("train", content, "test"))
    with pytest.raises(UserError, match="this run exists; continue it with --resume"):
        train(check_options("train", content, "test"))
    other = check_options("train", {**content, "seed": 5}, "test")
    with pytest.raises(UserError, match="seed was 0 when this run began and is 5 now"):
        train(other, resume=True)


def test_bfloat16_trains_to_finite_losses(tmp_path, photo_folder):
    options = train_options(tmp_path, photo_folder, precision="bfloat16", steps=8)
    run = train(check_options("train", options, "test")).parent
    assert all(row.get("loss", 0) < 1 for row in read_json_lines(run / "metrics.jsonl"))


def test_tensorboard_gets_the_metrics_if_asked(tmp_path, photo_folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = train_options(tmp_path, photo_folder, tensorboard=True, steps=4)
    run = train(check_options("train", options, "test")).parent
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    logged = [row for row in read_json_lines(run / "metrics.jsonl") if "loss" in row]
    scalars = events.Scalars("loss")
    assert [s.step for s in scalars] == [row["step"] for row in logged]
    assert [s.value for s in scalars] == pytest.approx([row["loss"] for row in logged])
