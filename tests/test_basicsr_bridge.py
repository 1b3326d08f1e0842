"""BasicSR, unmodified: its training runs our networks, its losses run in ours."""

import subprocess
import sys

import pytest
import torch
import yaml

from srnas.basicsr_bridge import basicsr
from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.options import check_options
from tests.helpers import needs_basicsr, srnas, train_options

pytestmark = needs_basicsr


def test_basicsrs_own_training_trains_our_genotype_and_its_checkpoint_is_read(
    tmp_path, photo_folder
):
    Genotype(
        "imdn",
        {"c1": "ds_conv_3x3", "c2": "conv_3x3_bn", "c3": "conv_3x3", "c4": "dil_ds_conv_5x5"},
        {"options": {"space": {"name": "imdn", "num_feat": 8, "num_block": 2}}},
    ).save(tmp_path / "genotype.json")
    made = srnas("data", "lr", photo_folder, "--scale", 2, "--out", tmp_path / "lr")
    assert made.returncode == 0, made.stderr
    options = {
        "name": "ours",
        "model_type": "SRModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {
            "train": {
                "name": "photos",
                "type": "PairedImageDataset",
                "dataroot_gt": str(photo_folder),
                "dataroot_lq": str(tmp_path / "lr"),
                "filename_tmpl": "{}x2",
                "io_backend": {"type": "disk"},
                "gt_size": 32,
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": 0,
                "batch_size_per_gpu": 2,
                "dataset_enlarge_ratio": 10,
            }
        },
        "network_g": {"type": "SRNAS", "genotype": str(tmp_path / "genotype.json"), "scale": 2},
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "optim_g": {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [1000], "gamma": 0.5},
            "total_iter": 20,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "logger": {"print_freq": 5, "save_checkpoint_freq": 20, "use_tb_logger": False},
    }
    (tmp_path / "basicsr.yml").write_text(yaml.safe_dump(options))
    run = subprocess.run(
        [sys.executable, "-m", "srnas.basicsr_bridge", "-opt", str(tmp_path / "basicsr.yml")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    done = srnas(
        "test", "--weights", tmp_path / "experiments/ours/models/net_g_20.pth", "--space", "imdn",
        "--genotype", tmp_path / "genotype.json", "--scale", 2, "--data", f"P={photo_folder}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_loss_of_basicsr_is_found_by_name_with_its_options_checked(tmp_path):
    content = train_options(tmp_path, tmp_path, loss={"name": "MSELoss", "loss_weight": 3.0})
    options = check_options("train", content, "test")
    sr, hr = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    expected = 3 * torch.nn.functional.mse_loss(sr, hr)
    torch.testing.assert_close(options.loss.build()(sr, hr), expected)
    with pytest.raises(UserError, match="unknown key 'weight'; did you mean 'loss_weight'"):
        check_options("train", {**content, "loss": {"name": "MSELoss", "weight": 3}}, "test")
    with pytest.raises(UserError, match="no loss is named 'L3Loss'"):
        check_options("train", {**content, "loss": "L3Loss"}, "test")


def test_the_bridge_imports_basicsr_only_when_it_is_used():
    code = "import sys, srnas.losses, srnas.engine.train; sys.exit('basicsr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert basicsr().__version__ == "1.4.2"
