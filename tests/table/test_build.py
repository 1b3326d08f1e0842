"""Tables of trained networks: the sample, its trainings, what is kept and continued."""

import hashlib
import json
import os
import time
from collections import Counter

import pytest
import torch
import yaml
from fvcore.nn import FlopCountAnalysis

from srnas.choice import Genotype
from srnas.engine.sample import all_genotypes, count_genotypes, sample_genotypes
from srnas.engine.train import train
from srnas.errors import UserError
from srnas.files import read_json_lines
from srnas.lock import hold
from srnas.options import check_options
from srnas.spaces import derived_network, open_choices
from srnas.table.build import Workbench, fingerprint, remaining
from srnas.table.protocol import Job, jobs, load_protocol
from srnas.table.results import read_results
from tests.helpers import ROOT, kill_when, srnas, train_options, write_results

PROTOCOL = {
    "name": "tiny",
    "version": 1,
    "train": {
        "space": {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1},
        "data": {
            "train": {"packaged": "train"},
            "val": {"packaged": "val"},
            "batch_size": 2,
            "hr_patch": 32,
        },
        "steps": 6,
        "optimizer": {"lr": 1e-3},
        "ema": 0.9,
    },
    "sample": {"count": 5, "repeated": 1, "seeds": 2},
}


@pytest.fixture
def protocol(tmp_path):
    file = tmp_path / "tiny.yml"
    file.write_text(yaml.safe_dump(PROTOCOL))
    return file


def test_a_sample_is_stratified_and_begins_like_a_longer_one():
    sample = sample_genotypes("imdn", 24, 7)
    assert sample == sample_genotypes("imdn", 48, 7)[:24]
    assert sample != sample_genotypes("imdn", 24, 8)
    for block in (sample[:12], sample[12:]):
        for label in ("c1", "c2", "c3", "c4"):
            assert set(Counter(g.choices[label] for g in block).values()) == {1}
    assert len({str(g) for g in sample_genotypes("imdn", 600, 0)}) == 600


def test_given_genotypes_are_trained_with_given_seeds(protocol, tmp_path):
    chosen = [genotype.choices for genotype in sample_genotypes("imdn", 3, 5)]
    file = tmp_path / "found.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in [*chosen, chosen[0]]))
    given = load_protocol(
        protocol,
        [f"sample.listed={file}", "sample.count=9", "sample.repeated=2", "sample.first_seed=3"],
    )
    genotypes = given.genotypes()
    assert [genotype.choices for genotype in genotypes] == chosen
    done = [(job.genotype.choices, job.seed) for job in jobs(given, genotypes)]
    assert done == [(chosen[0], 3), (chosen[0], 4), (chosen[1], 3), (chosen[1], 4), (chosen[2], 3)]
    assert given.identity() == load_protocol(protocol).identity()
    file.write_text('{"c1": "conv_3x3"}\n')
    with pytest.raises(UserError, match=r"found.jsonl, line 1: genotype: choices.c2 is missing"):
        given.genotypes()


def test_a_sample_keeps_a_limit_of_macs(protocol):
    def macs(file):  # by fvcore's hooks, for the HR image of 1280x720 at x2
        space = {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1}
        image = torch.zeros(1, 3, 36, 64)
        networks = [derived_network(space, g).eval() for g in load_protocol(*file).genotypes()]
        return [100 * FlopCountAnalysis(n, image).total() for n in networks]

    whole = macs((protocol, ["sample.count=20"]))
    limit = sorted(whole)[10]
    few = macs((protocol, ["sample.count=10", f"sample.macs={limit}"]))
    assert len(few) == 10
    assert max(few) <= limit < max(whole)
    assert few[0] == next(count for count in whole if count <= limit)
    with pytest.raises(UserError, match="sample: only 0 of 20,736 genotypes are within its limits"):
        load_protocol(protocol, ["sample.macs=1"]).genotypes()


@pytest.mark.parametrize(
    "space", ["imdn", "dlsr", "nasbench201", {"name": "darts", "space_set": "s2"}]
)
def test_genotypes_of_every_space_can_be_drawn(space):
    for genotype in sample_genotypes(space, 3, 0):
        derived_network(space, genotype)


def test_all_genotypes_are_the_papers_number():
    # 12^4 networks of IMDN's space; NAS-Bench-201 has 15,625 cells
    everything = list(all_genotypes("imdn"))
    assert len({str(g) for g in everything}) == len(everything) == 12**4
    assert count_genotypes(open_choices("imdn")) == 12**4
    cells = list(all_genotypes("nasbench201"))
    assert len({g.choices["cell"] for g in cells}) == count_genotypes(open_choices("nasbench201"))
    assert len(cells) == 15_625


def test_a_small_space_is_drawn_whole():
    space = {"name": "imdn", "candidates": ["conv_3x3", "conv_5x5"]}
    assert len({str(g) for g in sample_genotypes(space, 100, 0)}) == 16


def test_a_result_is_what_srnas_train_measures(protocol, tmp_path):
    found = load_protocol(protocol)
    bench = Workbench(found)
    todo = list(jobs(found, sample_genotypes(found.training(0).space, 5, 0)))
    assert [(job.number, job.seed) for job in todo] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (2, 0),
        (3, 0),
        (4, 0),
    ]
    for job in (todo[0], todo[1], todo[0]):  # the images are opened once a seed
        result = bench.run(job)
        options = {**PROTOCOL["train"], "name": f"t{job.seed}", "seed": job.seed, "log_every": 1}
        options["experiments"] = str(tmp_path / f"e{time.monotonic_ns()}")
        run = train(check_options("train", options, "t"), genotype=job.genotype).parent
        rows = read_json_lines(run / "metrics.jsonl")
        assert rows[-1]["val_psnr"] == pytest.approx(result.scores["val"]["psnr"], abs=1e-5)
        assert rows[-2]["loss"] == pytest.approx(result.loss, abs=1e-6)
        counted = tmp_path / "profile.json"
        srnas("profile", "--model", run / "model.safetensors", "--json", counted)
        profile = json.loads(counted.read_text())
        assert profile["params"] == result.params
        assert profile["hr_1280x720"]["macs"] == result.macs


def test_the_hash_of_one_folder_is_that_of_results_stored_before(tmp_path, photo_folder):
    files = sorted(photo_folder.iterdir())
    for images in (None, "1-3"):
        options = train_options(tmp_path, photo_folder)
        options["data"]["train"] = {"hr": str(photo_folder), "images": images}
        digest = hashlib.sha256()  # of names and sizes, then of the range
        for file in files:
            digest.update(f"{file.name} {file.stat().st_size} ".encode())
        digest.update(str(images).encode())
        checked = check_options("train", options, "t")
        assert fingerprint(checked) == digest.hexdigest()[:12]


def test_a_build_goes_on_where_it_was_killed_and_in_shards(protocol, tmp_path):
    out = tmp_path / "out"
    command = ("table", "build", "-opt", protocol, "--out", out)
    file = out / "shard-1-of-1-0.jsonl"
    kill_when(command, lambda: file.exists() and file.read_text().count("\n") >= 2)
    with file.open("a") as stream:
        stream.write('{"protocol": "cut sho')  # as a crash would leave it
    for shard in ("2/2", "1/1"):
        done = srnas("table", "build", "-opt", protocol, "--out", out, "--shard", shard)
        assert done.returncode == 0, done.stderr
    results = read_results([out])
    assert [(r.number, r.seed) for r in results] == [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0), (4, 0)]
    assert remaining(load_protocol(protocol), out) == []
    job = Job(0, Genotype("imdn", results[0].choices), 0)
    again = Workbench(load_protocol(protocol)).run(job)
    assert again.scores == results[0].scores, "the same in another process"
    write_results(tmp_path / "all.jsonl.gz", results)
    assert read_results([tmp_path / "all.jsonl.gz"]) == results
    assert (tmp_path / "all.jsonl.gz").read_bytes() == _written(tmp_path, results)


def test_a_shard_that_another_process_builds_is_refused(protocol, tmp_path):
    out = tmp_path / "out"
    command = ("table", "build", "-opt", protocol, "--out", out)
    with hold(out / ".shard-1-of-1.lock", out, "wait"):
        refused = srnas(*command)
        assert (refused.returncode, refused.stderr) == (
            2,
            f"error: {out / 'shard-1-of-1'}: is in use by another srnas process "
            f"(pid {os.getpid()}); wait for it or give another --out\n",
        )
        assert read_results([out]) == []
        assert srnas(*command, "--shard", "1/6").returncode == 0
    assert len(read_results([out])) == 1


def _written(tmp_path, results):
    write_results(tmp_path / "again.jsonl.gz", results)
    return (tmp_path / "again.jsonl.gz").read_bytes()


def test_results_of_another_protocol_are_told(protocol, tmp_path):
    out = tmp_path / "out"
    assert srnas("table", "build", "-opt", protocol, "--out", out, "--limit", "1").returncode == 0
    refused = srnas("table", "build", "-opt", protocol, "train.steps=7", "--out", out)
    assert refused.returncode == 2
    assert "results of protocol" in refused.stderr
    assert refused.stderr.count("\n") == 1
    moved = load_protocol(protocol, ["train.data.cache=elsewhere", "train.threads=1"])
    assert moved.identity() == load_protocol(protocol).identity(), "only its places differ"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("train.stesp=3", "unknown key 'stesp'"),
        ("sample.count=0", "sample.count"),
        ("versoin=2", "versoin"),
        ("train.space.num_feat=8.5", "num_feat"),
    ],
)
def test_a_wrong_protocol_is_told(protocol, change, told):
    with pytest.raises(UserError, match=told):
        load_protocol(protocol, [change])


def test_a_wrong_shard_is_told(protocol):
    for shard in ("0/2", "3/2", "x", "1"):
        refused = srnas("table", "build", "-opt", protocol, "--shard", shard)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "I/N" in refused.stderr


def test_the_shipped_protocol_is_valid():
    for file in sorted((ROOT / "options/table").glob("*.yml")):
        assert load_protocol(file).name == file.stem
