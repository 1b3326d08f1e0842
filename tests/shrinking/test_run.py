"""The whole way on a small network: budgets are met, killed runs go on to the same bits."""

import json
import shutil

import numpy as np
import pytest
import torch

import srnas as srnas_api
from srnas.cost import count_macs, count_parameters
from srnas.errors import UserError
from srnas.files import read_json, read_json_lines
from srnas.model_file import load_model, save_model
from srnas.shrinking.activations import observe
from srnas.shrinking.alternatives import list_alternatives, open_model
from srnas.shrinking.fit import Fits
from srnas.shrinking.options import check_shrink_options
from srnas.shrinking.run import shrink
from srnas.shrinking.score import Scorer, composed
from srnas.shrinking.stages import Stages
from srnas.shrinking.start import Starter
from tests.helpers import assert_same_run, killed, srnas, told
from tests.shrinking.test_start import images, original

STAGES = ["options.json", "starts.pt", "fits.pt", "losses.jsonl", "costs.json", "choice.json",
          "again.jsonl", "again.json", "start.safetensors", "plan.json", "result.json"]  # fmt: skip


@pytest.fixture
def model(tmp_path):
    """An IMDN of 8 channels, as if it were trained."""
    torch.manual_seed(0)
    from srnas.model_file import Model
    from srnas.spaces import check_space, derived_network, published_genotype

    space = check_space({"name": "imdn", "num_feat": 8, "num_block": 2})
    genotype = published_genotype(space)
    network = derived_network(space, genotype)
    save_model(tmp_path / "m.safetensors", Model(network, space, genotype, {}))
    return tmp_path / "m.safetensors"


def options(tmp_path, photos, model, **changes):
    val = tmp_path / "val"
    if not val.exists():
        shutil.copytree(photos, val)
    given = {
        "model": model, "out": tmp_path / "out", "data": [photos], "fit_steps": 4, "steps": 3,
        "batch_size": 2, "lr_patch": 16, "threads": 1, "device": "cpu", "val": val, "check": 5,
        "space": {"search_rest": [2, 6], "search_feat": [8]},
    }  # fmt: skip
    if not {"params", "macs", "size", "speedup", "latency"} & changes.keys():
        changes["params"] = 0.7 * count_parameters(load_model(model).network)
    return check_shrink_options({**given, **changes})


def run(given):
    torch.set_num_threads(1)
    shrink(given, resume=True)


def same(one, other):
    assert_same_run(one, other)
    for name in (*STAGES[2:6], "again.jsonl", "again.json", "start.safetensors", "plan.json"):
        assert (one / "shrink" / name).read_bytes() == (other / "shrink" / name).read_bytes(), name
    a, b = (read_json(out / "shrink/result.json") for out in (one, other))
    assert {**a, "model": ""} == {**b, "model": ""}


@pytest.mark.parametrize(("budget", "share"), [("params", 0.7), ("macs", 0.6), ("size", 0.8)])
def test_the_result_keeps_the_budget(tmp_path, photo_folder, model, budget, share):
    count = {
        "params": count_parameters,
        "size": lambda net: 4 * count_parameters(net),
        "macs": lambda net: count_macs(net, 160, 90),
    }[budget]
    before = count(load_model(model).network)
    file = shrink(options(tmp_path, photo_folder, model, **{budget: share * before}))
    found = load_model(file)
    assert 0.5 * share * before < count(found.network) <= share * before
    result = read_json(tmp_path / "out/shrink/result.json")
    assert result["cost"]["result"] == pytest.approx(count(found.network))
    assert set(result["quality"]) == {"original", "started", "fitted", "distilled"}
    assert set(result["quality"]["fitted"]) == {"validation", "fine lines"}
    front = read_json(tmp_path / "out/shrink/again.json")["front"]
    costs, losses = ([row[key] for row in front] for key in ("cost", "loss"))
    assert costs == sorted(costs)
    assert losses == sorted(losses, reverse=True)


def test_a_width_of_the_whole_network_is_chosen_and_all_begins_anew(tmp_path, photo_folder, model):
    narrow = {"search_rest": [6], "search_feat": [6, 8], "candidates": ["conv_3x3"]}
    before = count_parameters(load_model(model).network)
    with pytest.raises(UserError, match=r"budget of .* parameters cannot be met"):
        shrink(options(tmp_path, photo_folder, model, space=narrow, params=0.5 * before))
    narrow["search_rest"] = [2, 6]
    given = options(tmp_path, photo_folder, model, space=narrow, params=0.55 * before,
                    out=tmp_path / "other")  # fmt: skip
    found = load_model(shrink(given))
    assert found.genotype.choices["feat"] == 6
    assert (tmp_path / "other/shrink/narrowed/losses.jsonl").exists()
    assert count_parameters(found.network) <= 0.55 * before


def test_killed_in_any_stage_it_goes_on_to_the_same_bits(tmp_path, photo_folder, model):
    given = options(tmp_path, photo_folder, model, out=tmp_path / "runs/out")
    run(given)
    (tmp_path / "runs").rename(tmp_path / "whole")
    moment, deaths = 2, 0
    while killed(moment, tmp_path / "runs", run, given):
        deaths += 1
        moment = 5 + 7 * deaths  # later and later stages
    assert deaths >= 5
    same(tmp_path / "whole/out", given.out)


def test_fits_do_not_depend_on_what_else_is_fitted():
    net = original()
    found = list_alternatives(net)
    start = Starter(net, observe(net, found, images))
    some = found[::7]

    def fitted(which):
        fits = Fits(net.network, which, [start.network(one) for one in which], 3)
        for step, x in enumerate(images(3)):
            fits.step(step, x)
        return {str(one): m.state_dict() for one, m in zip(which, fits.modules, strict=True)}

    together = fitted(some)
    for one in some:
        alone = fitted([one])[str(one)]
        for key, tensor in alone.items():
            torch.testing.assert_close(together[str(one)][key], tensor, rtol=0, atol=1e-6)


def test_a_fit_lowers_the_error_on_other_images():
    net = original()
    found = [one for one in list_alternatives(net) if one.scope][::5]
    start = Starter(net, observe(net, found, images))
    fits = Fits(net.network, found, [start.network(one) for one in found], 60)
    scorer = Scorer(net.network, [torch.rand(2, 3, 20, 20)])

    def losses():
        modules = dict(zip(found, fits.modules, strict=True))
        return [scorer.added(net.network, one, modules) for one in found]

    before = losses()
    for step, x in enumerate(images(60)):
        fits.step(step, x)
    after = losses()
    assert sum(after) < 0.8 * sum(before)
    assert sum(a < b for a, b in zip(after, before, strict=True)) > 0.8 * len(found)


def test_the_composed_network_computes_what_its_modules_do_in_place():
    net = original()
    found = list_alternatives(net)
    start = Starter(net, observe(net, found, images))
    wide = next(one for one in found if one.scope == "blocks.1")
    narrow = next(one for one in found if one.scope == "blocks.0.c2")
    fitted = {one: start.network(one).get_submodule(one.scope) for one in (wide, narrow)}
    x = torch.rand(1, 3, 18, 18)
    features = net.network.head(x)
    block = net.network.blocks[0]
    block.c2 = fitted[narrow]  # by hand
    first = block(features)
    second = fitted[wide](first)
    fused = net.network.fuse(torch.cat([first, second], 1))
    fused = torch.nn.functional.leaky_relu(fused, 0.05)
    expected = net.network.upsample(net.network.body_end(fused) + features)
    fresh = original()
    network = composed(fresh, [wide, narrow], fitted)
    torch.testing.assert_close(network(x), expected)


def test_sums_of_losses_are_compared_with_those_of_random_compositions(
    tmp_path, photo_folder, model
):
    shrink(options(tmp_path, photo_folder, model, steps=0, fit_steps=0, check=12))
    found = read_json(tmp_path / "out/shrink/sums.json")
    losses = [row["loss"] for row in read_json_lines(tmp_path / "out/shrink/losses.jsonl")]
    rows = found["compositions"]
    assert len(rows) == 12
    for row in rows:
        assert row["sum"] == pytest.approx(sum(losses[n] for n in row["numbers"]))
        if len(row["numbers"]) == 1:
            assert row["loss"] == pytest.approx(row["sum"], rel=1e-3, abs=1e-12)
    pairs = [[row[key] for row in rows] for key in ("sum", "loss")]
    assert found["pearson"] == pytest.approx(np.corrcoef(pairs)[0, 1], abs=1e-3)


def test_what_cannot_be_is_one_line(tmp_path, photo_folder, model, shared):
    def says(**changes):
        changes = {"out": tmp_path / "refused", **changes}
        chosen = changes.pop("file", model)
        return told(lambda: shrink(options(tmp_path, photo_folder, chosen, **changes)))

    assert "cannot be met: the network has" in says(params=10)
    assert "folder" in says(data=[tmp_path / "none"], params=3000, out=tmp_path / "no")
    assert "runtime" in says(latency=1.0, runtime="tflite", out=tmp_path / "r")
    with pytest.raises(UserError, match="give one budget"):
        options(tmp_path, photo_folder, model, params=3, macs=4)
    teacher = shared / "checkpoints/teachers/rlfn_x2.pth"
    assert "not an srnas model file" in says(file=teacher, params=1, out=tmp_path / "t")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no images" in says(data=[empty], params=3000, out=tmp_path / "e")
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(photo_folder.iterdir())[:2]:
        shutil.copy(file, few)
    assert "2 images in all; fits and losses need 4 photographs" in says(data=[few], params=3000)
    offers = {"search_rest": [2], "search_feat": [6]}
    said = says(space=offers, params=3000, out=tmp_path / "o")
    assert "choices.feat: no alternative is 8; known: 6; offer what the network has, too" in said
    assert "export onnxx: did you mean 'onnx'" in says(export=["onnxx"], params=3000)
    assert "export onnx:int3: onnx has fp32, fp16, int8" in says(export=["onnx:int3"], params=3000)


def test_a_folder_is_not_written_twice_nor_with_other_options(tmp_path, photo_folder, model):
    given = options(tmp_path, photo_folder, model, steps=0, fit_steps=0)
    shrink(given)
    assert "continue it by --resume" in told(lambda: shrink(given))
    other = given.model_copy(update={"seed": 1})
    assert "seed was 0" in told(lambda: shrink(other, resume=True))


def test_the_command(tmp_path, photo_folder, model):
    done = srnas(
        "shrink", "--model", model, "--data", photo_folder, "--out", tmp_path / "o",
        "--params", "4000", "--steps", "2", "--fit-steps", "1", "--threads", "1",
        "search_rest=[2, 6]", "--test", f"photos={photo_folder}", "--export", "onnx",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "photos" in done.stdout
    rows = read_json_lines(tmp_path / "o/shrink/losses.jsonl")
    assert len(rows) > 5
    assert json.loads((tmp_path / "o/shrink/options.json").read_text())["params"] == 4000
    assert count_parameters(load_model(tmp_path / "o/model.safetensors").network) <= 4000
    page = (tmp_path / "o/report.html").read_text()
    result = read_json(tmp_path / "o/shrink/result.json")
    for figure in (
        result["quality"]["distilled"]["photos"]["psnr"],
        result["quality"]["original"]["photos"]["psnr"],
    ):
        assert f"{figure:.3f}" in page
    assert result["replaced"][0] in page
    assert page.count("data:image/png") >= 1, "crops"
    sums = read_json(tmp_path / "o/shrink/sums.json")
    assert f"(Spearman: {sums['spearman']:.3f})" in page
    tested = read_json(tmp_path / "o/test.json")
    assert tested["results"][0]["psnr"] == pytest.approx(
        result["quality"]["distilled"]["photos"]["psnr"], abs=1e-3
    )
    assert [file.name for file in (tmp_path / "o/export").iterdir()] == ["model-onnx.onnx"]


def test_the_function_does_what_the_command_does(tmp_path, photo_folder, model):
    result = srnas_api.shrink(
        model=model, out=tmp_path / "f", data=[photo_folder], params=4000, steps=2, fit_steps=1,
        threads=1, space={"search_rest": [2, 6]},
    )  # fmt: skip
    assert result.folder == tmp_path / "f"
    assert count_parameters(result.model.network) <= 4000


def test_opened_networks_compute_what_they_did(shared):
    for name in ("IMDN_x2.pth", "DLSR_x2.pth", "plainusr/PlainUSRS_Rep_x2.pth"):
        file = shared / "checkpoints" / name
        loaded = load_model(file)
        net = open_model(loaded, name, {})
        x = torch.rand(1, 3, 24, 24)
        assert torch.equal(net.network(x), loaded.network(x))
        assert list_alternatives(net), name


def test_another_budget_takes_over_what_was_measured(tmp_path, photo_folder, model):
    first = options(tmp_path, photo_folder, model, steps=0)
    shrink(first)
    budget = {"params": 3500, "steps": 0}
    fresh = options(tmp_path, photo_folder, model, out=tmp_path / "fresh", **budget)
    shrink(fresh)
    reused = options(
        tmp_path, photo_folder, model, out=tmp_path / "reused", reuse=tmp_path / "out", **budget
    )
    shrink(reused)
    for name in (*STAGES[1:7], "start.safetensors"):
        one, other = (run.out / "shrink" / name for run in (fresh, reused))
        assert one.read_bytes() == other.read_bytes(), name
    assert (reused.out / "shrink/clock.json").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seed": 1}, "seed was 0, it is 1 now; leave --reuse out"),
        ({"runtime": "openvino", "latency": 1.0}, r"costs.json: measured as .*asked for is"),
        ({"reuse": "nothing"}, "no such file; --reuse takes the --out of a run"),
    ],
)
def test_measurements_of_something_else_are_refused(tmp_path, photo_folder, model, changes, text):
    shrink(options(tmp_path, photo_folder, model, steps=0, fit_steps=0))
    given = {"steps": 0, "fit_steps": 0, "reuse": tmp_path / "out", "out": tmp_path / "b"}
    other = options(tmp_path, photo_folder, model, **{**given, **changes})
    with pytest.raises(UserError, match=text):
        shrink(other)


def test_a_run_that_has_not_measured_all_is_not_reused(tmp_path, photo_folder, model):
    shrink(options(tmp_path, photo_folder, model, steps=0, fit_steps=0))
    rows = tmp_path / "out/shrink/losses.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    given = options(tmp_path, photo_folder, model, steps=0, fit_steps=0, reuse=tmp_path / "out",
                    out=tmp_path / "b")  # fmt: skip
    with pytest.raises(UserError, match="has not measured all alternatives; continue it first"):
        shrink(given)


def test_a_budget_that_measured_choices_miss_is_said(
    tmp_path, photo_folder, model, monkeypatch, capsys
):
    monkeypatch.setattr(Stages, "_ratio", lambda self, chosen: 0.9)
    given = options(tmp_path, photo_folder, model, steps=0, fit_steps=0)
    with pytest.raises(UserError, match="cannot be met"):
        shrink(given)
    monkeypatch.setattr(Stages, "_ratio", lambda self, chosen: 0.72)
    shrink(given, resume=True)
    assert "the budget is missed by 2.9%" in capsys.readouterr().out
