"""DARTS: published sizes, shapes, reduced candidate sets, and what is derived."""

import random

import pytest
import torch
from torch import nn

from srnas.choice import DerivedBuilder, Genotype, Place, RelaxedBuilder, Supernet
from srnas.cost import count_parameters
from srnas.errors import UserError
from srnas.primitives.darts import DARTS_PRIMITIVES
from srnas.regularizers import REGULARIZERS
from srnas.spaces import derived_network, published_genotype, space_builder
from srnas.spaces.darts import DARTS

CIFAR = {"name": "darts", "num_feat": 36, "num_cell": 20}
IMAGENET = {
    "name": "darts", "num_feat": 48, "num_cell": 14, "stem": "imagenet", "num_classes": 1000
}  # fmt: skip
SMALL = {"name": "darts", "num_feat": 4, "num_cell": 3}
SHORT = {
    "sk": "skip_connect", "mp": "max_pool_3x3", "ap": "avg_pool_3x3", "s3": "sep_conv_3x3",
    "s5": "sep_conv_5x5", "d3": "dil_conv_3x3", "d5": "dil_conv_5x5",
}  # fmt: skip
PUBLISHED = {  # normal, reduce: two operations a node, as in the released genotype files
    "DARTS_V1": (
        "s3~1 s3~0 sk~0 s3~1 sk~0 s3~1 s3~0 sk~2",
        "mp~0 mp~1 sk~2 mp~0 mp~0 sk~2 sk~2 ap~0",
    ),
    "DARTS_V2": (
        "s3~0 s3~1 s3~0 s3~1 s3~1 sk~0 sk~0 d3~2",
        "mp~0 mp~1 sk~2 mp~1 mp~0 sk~2 sk~2 mp~1",
    ),
    "PC_DARTS_cifar": (
        "s3~1 sk~0 s3~0 d3~1 s5~0 s3~1 ap~0 d3~1",
        "s5~1 mp~0 s5~1 s5~2 s3~0 s3~3 s3~1 s3~2",
    ),
    "PC_DARTS_image": (
        "sk~1 s3~0 s3~0 sk~1 s3~1 s3~3 s3~1 d5~4",
        "s3~0 sk~1 d5~2 mp~1 s3~2 s3~1 s5~0 s3~3",
    ),
}


def genotype(name):
    choices = {}
    for cell, text in zip(("normal", "reduce"), PUBLISHED[name], strict=True):
        pairs = [[SHORT[op], int(i)] for op, i in (edge.split("~") for edge in text.split())]
        choices[cell] = [pairs[i : i + 2] for i in range(0, 8, 2)]
    return Genotype("darts", choices)


@pytest.mark.parametrize(
    ("name", "space", "parameters"),
    [
        ("DARTS_V1", CIFAR, 3_169_414),
        ("DARTS_V2", CIFAR, 3_349_342),
        ("PC_DARTS_cifar", CIFAR, 3_634_678),
        ("PC_DARTS_image", IMAGENET, 5_342_464),
    ],
)
def test_published_networks_have_the_parameters_of_the_released_code(name, space, parameters):
    with torch.device("meta"):
        assert count_parameters(derived_network(space, genotype(name))) == parameters


def test_the_published_network_is_darts_v2():
    assert published_genotype("darts") == genotype("DARTS_V2")


def test_the_supernet_has_the_weights_and_alphas_of_the_released_code():
    with torch.device("meta"):
        supernet = Supernet(
            space_builder({"name": "darts"}),
            "darts",
            choose=RelaxedBuilder(edge_normalization=True),
        )
    assert sum(p.numel() for p in supernet.weight_parameters()) == 1_930_618
    assert [m.shape for m in supernet.alpha_matrices()] == [(14, 8), (14, 8)]
    assert list(supernet.choices.competing["normal/2<-0"].candidates) == [
        "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect",
        "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
    ]  # fmt: skip
    weights = {label: len(row) for label, row in supernet.alphas.items() if "<-" not in label}
    assert weights == {f"{c}/{n}": n for c in ("normal", "reduce") for n in (2, 3, 4, 5)}


def test_inside_searched_cells_no_batchnorm_is_affine_and_pooling_has_one():
    for network, affine in (
        (Supernet(space_builder(SMALL), "darts").network, False),
        (derived_network(SMALL, genotype("DARTS_V2")), True),
    ):
        norms = [m for m in network.cells.modules() if isinstance(m, nn.BatchNorm2d)]
        assert {norm.affine for norm in norms} == {affine}
        assert all(m.affine for m in network.stem0.modules() if isinstance(m, nn.BatchNorm2d))
        pools = [m for m in network.cells.modules() if isinstance(m, nn.MaxPool2d)]
        normed = [
            m
            for m in network.cells.modules()
            if isinstance(m, nn.Sequential)
            and len(m) == 2
            and isinstance(m[0], nn.MaxPool2d)
            and isinstance(m[1], nn.BatchNorm2d)
        ]
        assert pools
        assert len(normed) == (0 if affine else len(pools))


def random_genotype(seed):
    draw = random.Random(seed)
    names = [name for name in DARTS_PRIMITIVES if name not in ("none", "noise")]
    return Genotype(
        "darts",
        {
            cell: [
                [[draw.choice(names), i] for i in sorted(draw.sample(range(node), 2))]
                for node in (2, 3, 4, 5)
            ]
            for cell in ("normal", "reduce")
        },
    )


def derived_with_weights(supernet, genotype):
    """The derived network with the weights of the chosen candidates."""
    derived = derived_network(SMALL, genotype).eval()
    ours, theirs = derived.state_dict(), supernet.network.state_dict()
    flat = DARTS.read_choices(genotype.choices)
    for key in ours:
        source = key
        if ".nodes." in key:
            head, _, rest = key.partition(".edges.")
            _, cell, _, node = head.split(".")
            number, _, inner = rest.partition(".")
            kind = "normal" if cell == "0" else "reduce"
            op, index = flat[Place(kind, str(int(node) + 2))][int(number)]
            source = f"{head}.edges.{index}.candidates.{op}.{inner}"
        if source in theirs:  # all but the scales and shifts, which are 1 and 0
            ours[key].copy_(theirs[source])
    return derived


@pytest.mark.parametrize("seed", range(3))
def test_one_hot_alphas_give_the_derived_network(seed):
    torch.manual_seed(seed)
    chosen = random_genotype(seed)
    supernet = Supernet(space_builder(SMALL), "darts", alpha_std=1.0).train()
    with torch.no_grad():
        for _ in range(3):
            supernet(torch.rand(8, 3, 8, 8))  # running statistics unlike the initial ones
    for module in supernet.modules():  # the derived network's pooling is bare
        if isinstance(module, nn.Sequential) and isinstance(module[0], nn.MaxPool2d | nn.AvgPool2d):
            module[1].reset_running_stats()
            module[1].eps = 1e-12  # torch 2.10 refuses 0
    wanted = {}
    for place, pairs in DARTS.read_choices(chosen.choices).items():
        edges = [edge.place for edge in supernet.choices[str(place)].edges]
        wanted |= dict.fromkeys(map(str, edges), "none")
        wanted |= {str(edges[index]): op for op, index in pairs}
    with torch.no_grad():
        for label, alpha in supernet.alphas.items():
            # a softmax of 200 against 0 is one-hot in float32
            alpha.zero_()
            alpha[list(supernet.choices.competing[label].candidates).index(wanted[label])] = 200.0
        assert supernet.genotype() == chosen
        x = torch.rand(2, 3, 16, 16)
        expected = supernet.eval()(x)
        torch.testing.assert_close(
            derived_with_weights(supernet, chosen)(x), expected, rtol=0, atol=1e-5
        )


def test_reduction_cells_at_one_and_two_thirds_halve_the_sides_and_double_the_channels():
    shapes = []
    network = derived_network({**SMALL, "num_cell": 8}, genotype("PC_DARTS_cifar")).eval()
    for cell in network.cells:
        cell.register_forward_hook(lambda m, args, y: shapes.append(tuple(y.shape[1:])))
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    wide, middle, small = (16, 32, 32), (32, 16, 16), (64, 8, 8)  # four nodes, concatenated
    assert shapes == [wide, wide, middle, middle, middle, small, small, small]


def test_the_imagenet_stem_divides_the_sides_by_eight():
    shapes = []
    space = {**SMALL, "stem": "imagenet", "auxiliary": True, "num_classes": 7}
    network = derived_network(space, genotype("PC_DARTS_image"))
    for cell in network.cells:
        cell.register_forward_hook(lambda m, args, y: shapes.append(tuple(y.shape[2:])))
    logits, second = network(torch.rand(2, 3, 224, 224))
    assert shapes == [(28, 28), (14, 14), (7, 7)]
    assert logits.shape == second.shape == (2, 7)


def stem_shapes(**space):
    network = derived_network({**SMALL, **space}, genotype("DARTS_V2"))
    convs = [m for stem in (network.stem0, network.stem1) for m in stem.modules()]
    return [tuple(m.weight.shape[:2]) for m in convs if isinstance(m, nn.Conv2d)]


def test_the_stem_is_three_times_as_wide_in_searches():
    # PC-DARTS: model_search_imagenet.py, stem_multiplier=3; DARTS: cnn/model.py, NetworkImageNet.
    assert stem_shapes(num_feat=16, stem="imagenet", stem_multiplier=3) == [
        (24, 3),
        (48, 24),
        (48, 48),
    ]
    assert stem_shapes(num_feat=48, stem="imagenet") == [(24, 3), (48, 24), (48, 48)]
    assert stem_shapes(num_feat=16) == [(48, 3)]


def test_the_auxiliary_head_speaks_in_training_only_and_has_the_released_size():
    plain = derived_network(SMALL, genotype("DARTS_V2"))
    network = derived_network({**SMALL, "auxiliary": True}, genotype("DARTS_V2"))
    x = torch.rand(2, 3, 32, 32)
    logits, second = network(x)
    assert logits.shape == second.shape == (2, 10)
    assert network.eval()(x).shape == (2, 10)
    assert plain(x).shape == (2, 10)
    # 1x1 from the last cell's 4 nodes of 16 channels, 2x2, two BatchNorms, linear
    head = 64 * 128 + 2 * 128 + 128 * 768 * 4 + 2 * 768 + 768 * 10 + 10
    assert count_parameters(network) - count_parameters(plain) == head


def test_partial_channels_and_edge_weights_search_strided_edges_too():
    supernet = Supernet(
        space_builder(SMALL),
        "darts",
        choose=RelaxedBuilder(partial_channels=2, edge_normalization=True),
    )
    supernet(torch.rand(2, 3, 16, 16)).sum().backward()
    assert all(alpha.grad.isfinite().all() for alpha in supernet.arch_parameters())
    assert all(alpha.grad.any() for alpha in supernet.arch_parameters())
    assert derived_network(SMALL, supernet.genotype())


def test_drop_path_moves_training_alone():
    torch.manual_seed(0)
    network = derived_network(SMALL, genotype("PC_DARTS_cifar"))
    x = torch.rand(4, 3, 16, 16)
    plain, evaluated = network(x), network.eval()(x)
    network.drop_path_prob = 0.5
    assert network.drop_path_prob == 0.5
    assert torch.equal(network(x), evaluated)
    assert not torch.allclose(network.train()(x), plain)


@pytest.mark.parametrize(
    ("space_set", "sizes"), [("s1", 2), ("s2", 2), ("s3", 3), ("s4", 2), ("s5", 7), ("full", 8)]
)
def test_reduced_spaces_search_and_derive(space_set, sizes):
    space = {**SMALL, "space_set": space_set}
    supernet = Supernet(space_builder(space), "darts").eval()
    assert [m.shape for m in supernet.alpha_matrices()] == [(14, sizes)] * 2
    with torch.no_grad():
        assert supernet(torch.rand(1, 3, 8, 8)).isfinite().all()
    assert derived_network(space, supernet.genotype())


def test_s1_has_two_candidates_of_its_own_at_each_edge():
    supernet = Supernet(space_builder({**SMALL, "space_set": "s1"}), "darts")
    for edge, names in {
        "normal/2<-1": ["skip_connect", "dil_conv_5x5"],
        "normal/4<-0": ["max_pool_3x3", "skip_connect"],
        "normal/5<-4": ["dil_conv_3x3", "dil_conv_5x5"],
        "reduce/3<-2": ["skip_connect", "dil_conv_5x5"],
        "reduce/4<-1": ["max_pool_3x3", "sep_conv_3x3"],
    }.items():
        assert list(supernet.choices.competing[edge].candidates) == names
    choices = supernet.genotype().choices
    choices["normal"][0] = [["sep_conv_3x3", 0], ["skip_connect", 1]]
    with pytest.raises(UserError, match=r"choices\.normal/2: no candidate is named 'sep_conv_3x3'"):
        derived_network({**SMALL, "space_set": "s1"}, Genotype("darts", choices))


def test_edges_that_cost_nothing_add_nothing_to_the_expected_cost():
    supernet = Supernet(space_builder({**SMALL, "space_set": "s1"}), "darts", alpha_std=0.0)
    term = REGULARIZERS.build({"name": "expected_cost"})
    # each of the 28 edges has two candidates, p = 1/2; 2 + 6 have pooling and skip connections only
    assert term(supernet).item() == pytest.approx((28 - 8) / 2)


def test_noise_is_standard_normal_whatever_the_input():
    torch.manual_seed(0)
    noise = DARTS_PRIMITIVES["noise"].build(4, 4, stride=2)(torch.full((64, 4, 16, 16), 9.0))
    assert noise.shape == (64, 4, 8, 8)
    assert noise.mean().item() == pytest.approx(0, abs=4 / 128)
    assert noise.std().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("nodes", [None, "x", [], [[["skip_connect", 0]]]])
def test_a_genotype_without_four_nodes_is_told(nodes):
    choices = {**genotype("DARTS_V2").choices, "reduce": nodes}
    with pytest.raises(UserError, match=r"choices\.reduce is missing, or not a list of 4 nodes"):
        derived_network(SMALL, Genotype("darts", choices))


def test_the_search_answers_affine_as_it_is_told():
    network = Supernet(space_builder(SMALL), "darts", choose=RelaxedBuilder(affine=True)).network
    assert network.cells[0].preprocess1[2].affine
    assert DerivedBuilder({}, "darts").affine
