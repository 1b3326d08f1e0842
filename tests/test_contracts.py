"""What every registered part must keep, whoever adds it."""

import math
import re

import numpy as np
import pytest
import torch

from srnas.choice import RELAXATIONS, Supernet
from srnas.components import options_model
from srnas.errors import UserError
from srnas.export.target import EXPORT_TARGETS
from srnas.losses import LOSSES, hfen
from srnas.metrics import METRICS
from srnas.optimizers import OPTIMIZERS
from srnas.options import RunOptions, kinds, options_models
from srnas.perturbations import PERTURBATIONS
from srnas.primitives.darts import DARTS_PRIMITIVES
from srnas.primitives.dlsr import DLSR_PRIMITIVES
from srnas.primitives.nasbench201 import NB201_PRIMITIVES
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.regularizers import REGULARIZERS
from srnas.schedules import SCHEDULES
from srnas.spaces import (
    SPACES,
    check_space,
    derived_network,
    is_open,
    published_genotype,
    read_published,
    space_builder,
    space_class,
)
from srnas.tasks import TASKS, task_class
from srnas.tasks.classification.datasets import DATASETS
from srnas.tasks.classification.losses import CLASS_LOSSES
from srnas.updates import UPDATES

REGISTRIES = [
    SPACES, RELAXATIONS, REGULARIZERS, LOSSES, SCHEDULES, UPDATES, DATASETS, OPTIMIZERS,
    PERTURBATIONS, CLASS_LOSSES, EXPORT_TARGETS, METRICS,
]  # fmt: skip
EVERYTHING = [(registry, name) for registry in REGISTRIES for name in registry]
OPEN = [name for name in SPACES if is_open(name)]  # those that can be searched
SAME = (1, 3, 16, 20)
SHAPES = {  # of a network's input and output, where they differ
    "super_resolution": ((1, 3, 16, 20), (1, 3, 32, 40)),
    "classification": ((1, 3, 32, 32), (1, 10)),
}
FAMILIES = {
    "sr": SR_PRIMITIVES,
    "dlsr": DLSR_PRIMITIVES,
    "darts": DARTS_PRIMITIVES,
    "nasbench201": NB201_PRIMITIVES,
}
SCHEDULE_OPTIONS = {
    "constant": {"value": 0.1},
    "linear": {"start": 0, "end": 1},
    "cosine": {"start": 1},
    "multistep": {"value": 1, "milestones": [0.5]},
    "one_cycle": {"peak": 1},
    "piecewise": {"points": [[0, 0.1], [0.5, 1]]},
}


@pytest.mark.parametrize(("registry", "name"), EVERYTHING, ids=lambda x: getattr(x, "kind", x))
def test_every_part_has_a_docstring_and_a_schema(registry, name):
    assert registry[name].__doc__
    schema = options_model(registry, name).model_json_schema()
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_a_registry_answers_a_wrong_name_with_the_nearest_and_keeps_names_unique(registry):
    name = next(iter(registry))
    with pytest.raises(UserError, match=re.escape(f"no {registry.kind} is named '{name}x'")):
        registry[f"{name}x"]
    with pytest.raises(UserError, match=f"'{re.escape(name)}' is registered twice"):
        registry.register(name)(registry[name])


@pytest.mark.parametrize("registry", [SPACES, RELAXATIONS, REGULARIZERS, UPDATES, TASKS, METRICS])
def test_a_class_that_does_not_keep_the_contract_cannot_be_registered(registry):
    with pytest.raises(UserError, match=r"must extend srnas\.\w+"):
        registry.register("stranger")(type("Stranger", (), {}))
    assert "stranger" not in registry


@pytest.mark.parametrize("name", TASKS)
def test_every_task_brings_options_for_search_and_train_and_says_how_it_is_called(name):
    task = task_class(name)
    assert {"search", "train"} <= task.options.keys()
    assert set(task.options) <= set(kinds())
    for kind in ("search", "train"):
        model = options_models(kind)[name]
        assert issubclass(model, RunOptions)
        assert model.__doc__
        assert model.model_fields["data"].annotation is not RunOptions.model_fields["data"]
    assert task.score
    assert len(task.ports.sizes) == 3, "exports are checked at three sizes"


def test_a_registered_primitive_changes_no_space(monkeypatch):
    before = Supernet(space_builder("imdn"), "imdn").alphas
    for family in FAMILIES.values():
        monkeypatch.setitem(family, "newcomer", next(iter(family.values())))
    for name in OPEN:
        supernet = Supernet(space_builder(name), name)
        candidates = {c for p in supernet.choices.competing.values() for c in p.names}
        assert "newcomer" not in candidates, name
        if name == "imdn":
            assert {k: len(a) for k, a in supernet.alphas.items()} == {
                k: len(a) for k, a in before.items()
            }


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_finite_and_pure(name):
    schedule = SCHEDULES.build({"name": name, **SCHEDULE_OPTIONS[name]})
    values = [schedule(i / 50) for i in range(51)]
    assert all(math.isfinite(v) for v in values)
    assert values[::-1] == [schedule(i / 50) for i in reversed(range(51))]


@pytest.mark.parametrize("name", RELAXATIONS)
def test_every_relaxation_gives_probabilities_with_a_gradient(name):
    relaxation = RELAXATIONS.build({"name": name})
    alpha = (relaxation.initial(7) + 0.02 * torch.randn(7)).requires_grad_()
    p = relaxation.probabilities(alpha)
    assert p.sum().item() == pytest.approx(1)
    assert (p >= 0).all()
    w = relaxation(alpha, True)
    assert w.shape == alpha.shape
    if name != "uniform_sample":  # whose logits are not learned
        (gradient,) = torch.autograd.grad(w[0], alpha)
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_title_and_says_which_values_are_better(name):
    metric = METRICS[name]
    assert metric.title
    assert isinstance(metric.higher_is_better, bool)
    assert metric.digits > 0


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_vanishes_for_equal_images_and_grows_with_the_difference(name):
    loss = LOSSES.build({"name": name})
    a, noise = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    equal, near, far = (loss(a, a + d * noise).item() for d in (0, 0.1, 0.3))
    assert equal < 1.1e-3
    assert equal < near < far


def test_hfen_is_what_scipy_says_of_the_released_recipe():
    from scipy import ndimage

    rng = np.random.default_rng(0)
    images = rng.random((2, 2, 3, 20, 24))
    profile = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.5**2))
    gaussian = np.outer(profile, profile) / profile.sum() ** 2
    maps = []
    for batch in images:
        smooth = [
            [ndimage.correlate(c, gaussian, mode="constant")[2:-2, 2:-2] for c in image]
            for image in batch
        ]
        cross = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
        edges = np.array(
            [sum(ndimage.correlate(c, cross, mode="constant") for c in image) for image in smooth]
        )
        maps.append(edges / edges.max())
    expected = np.abs(maps[0] - maps[1]).mean()
    sr, hr = torch.from_numpy(images)
    assert hfen(sr, hr).item() == pytest.approx(expected)
    assert hfen(255 * sr, 255 * hr).item() == pytest.approx(expected)
    assert hfen(torch.zeros_like(sr), torch.zeros_like(sr)).item() == 0
    assert torch.autograd.gradcheck(lambda x: hfen(x, hr), sr.requires_grad_())


def test_charbonnier_is_its_closed_form():
    a, b = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.3)
    loss = LOSSES.build({"name": "charbonnier", "eps": 0.4})
    assert loss(a, b).item() == pytest.approx(0.5)


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_every_regularizer_is_a_finite_scalar_on_every_space(name, regularizer):
    supernet = Supernet(space_builder({"name": name}), name)
    value = REGULARIZERS.build({"name": regularizer})(supernet)
    assert value.shape == ()
    assert torch.isfinite(value)


@pytest.mark.parametrize("name", OPEN)
def test_every_space_with_choices_searches_and_derives(name):
    torch.manual_seed(0)
    given, expected = SHAPES.get(space_class(name).task, (SAME, SAME))
    x = torch.rand(given)
    supernet = Supernet(space_builder({"name": name}), name).eval()
    with torch.no_grad():
        assert supernet(x).shape == expected
    derived = derived_network({"name": name}, supernet.genotype()).eval()
    assert derived(x).shape == expected
    assert not any("alphas" in key for key in derived.state_dict())


@pytest.mark.parametrize("name", SPACES)
def test_every_space_has_a_published_network_and_knows_its_weights(name):
    given, expected = SHAPES.get(space_class(name).task, (SAME, SAME))
    published = derived_network({"name": name}, published_genotype(name)).eval()
    assert published(torch.rand(given)).shape == expected
    state = published.state_dict()
    settled, ours = read_published(name, state)
    assert ours.keys() == state.keys()
    assert settled.keys() <= SPACES.options_of(name).keys()


@pytest.mark.parametrize("name", SPACES)
def test_every_space_can_be_merged_into_the_network_that_its_options_then_describe(name):
    given, _ = SHAPES.get(space_class(name).task, (SAME, SAME))
    x, space, genotype = torch.rand(given), check_space(name), published_genotype(name)
    network = derived_network(space, genotype).eval()
    with torch.no_grad():
        expected = network(x)
        described = derived_network(space.with_options(**network.merge()), genotype).eval()
        described.load_state_dict(network.state_dict())
        assert torch.equal(network(x), expected)
        assert torch.equal(described(x), expected)


def test_a_space_without_a_published_network_says_so(monkeypatch):
    monkeypatch.setattr(space_class("imdn"), "published", None)
    with pytest.raises(UserError, match="space 'imdn' has no published network; name a genotype"):
        published_genotype("imdn")


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, table in FAMILIES.items() for name in table]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_candidate_keeps_its_shape_contract_and_counts_its_macs(family, name, stride):
    from fvcore.nn import FlopCountAnalysis

    primitive = FAMILIES[family][name]
    channels = (4, 6) if family in ("sr", "dlsr") else (6, 6)  # a cell keeps them
    module = primitive.build(*channels, stride, affine=False).eval()
    x = torch.rand(1, channels[0], 12, 10)
    assert module(x).shape == (1, channels[1], 12 // stride, 10 // stride)
    if stride == 1:
        counted = FlopCountAnalysis(module, x).unsupported_ops_warnings(False).by_operator()
        assert counted["conv"] == primitive.macs_per_pixel(*channels) * 12 * 10
        assert primitive.parameter_free == (not list(module.parameters()))
