"""The pilot: a genotype of IMDN from the published weights, with the published IMDN as teacher."""

import os

import pytest

from srnas.api import evaluate
from srnas.engine.train import train
from srnas.model_file import load_model
from srnas.options import load_options


@pytest.mark.slow
def test_a_teacher_is_worth_a_tenth_of_a_decibel_after_1200_steps(tmp_path, shared, monkeypatch):
    photographs = tmp_path / "datasets" / "BSD399"
    photographs.mkdir(parents=True)
    for file in (shared / "data" / "BSD400").glob("*.jpg"):
        if file.name != "302003.jpg":
            os.symlink(file, photographs / file.name)
    os.symlink(shared / "checkpoints", tmp_path / "checkpoints")
    monkeypatch.chdir(tmp_path)
    psnr = {}
    for name, changes in (("teacher", []), ("hr", ["teacher=null"])):
        overrides = [f"name={name}", "threads=1", *changes]
        model = train(load_options("train", "train/imdn_distilled_x2.yml", overrides))
        figures = evaluate(load_model(model), {"Set5": shared / "data" / "Set5"})
        psnr[name] = figures["Set5"]["psnr"]
    print(psnr)
    assert psnr["teacher"] > psnr["hr"] + 0.1
