"""Check a device against the CPU: losses and gradients of every space, both precisions, resume.

    .venv/bin/python tools/benchmark/check_device.py [--device cuda]

Exits with 1 if a difference exceeds its limit. TF32 is off, as it is in runs by default.
"""

import argparse
import copy
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import differences, machine, show
from plain import plain_supernet
from torch.nn.functional import cosine_similarity

from srnas.choice import RelaxedBuilder, Supernet
from srnas.distributed import choose_device, move
from srnas.spaces import space_builder

SPACES = {
    "imdn": {"num_feat": 16, "num_block": 2},
    "dlsr": {"num_feat": 16, "num_cell": 3},
    "darts": {"num_feat": 8, "num_cell": 3},
    "nasbench201": {"num_feat": 8, "num_cell": 1},
}


def gradients(supernet: Supernet, device: torch.device, half: bool) -> list[torch.Tensor]:
    torch.manual_seed(1)
    x = torch.rand(4, 3, 32, 32).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        output = supernet(x)
    output = output[0] if isinstance(output, tuple) else output
    loss = output.float().square().mean()
    parameters = [*supernet.weight_parameters(), *supernet.arch_parameters()]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    zero = torch.zeros(1)
    return [loss.detach().cpu(), *(zero if g is None else g.float().cpu() for g in found)]


def compare(device: torch.device) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, options in SPACES.items():
        for divisor in (1, 4):
            torch.manual_seed(0)
            build = space_builder({"name": name, **options})
            choose = RelaxedBuilder(partial_channels=divisor)
            supernet = Supernet(build, name, choose=choose, alpha_std=0.5)
            there = move(copy.deepcopy(supernet), device)
            wanted = gradients(supernet, torch.device("cpu"), half=False)
            found = gradients(there, device, half=False)
            simple = gradients(plain_supernet(there), device, half=False)
            half = gradients(there, device, half=True)
            flat = [torch.cat([g.flatten() for g in one]) for one in (wanted, half)]
            rows.append(
                {
                    "space": name,
                    "K": divisor,
                    "to the CPU": differences(found, wanted),
                    "to the plain loop": differences(found, simple),
                    "cosine of bfloat16": float(cosine_similarity(*flat, dim=0)),
                }
            )
    return rows


def resumes(device: torch.device) -> bool:
    """Return whether a search that is stopped and resumed logs what an unbroken one does."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "srnas", "search", "-opt", "search/imdn_sac_demo.yml",
            f"experiments={folder}", f"device={device}", "space.num_block=1", "epochs=4",
            "steps_per_epoch=5", "checkpoint_every=5",
        ]  # fmt: skip
        subprocess.run([*command, "name=whole"], check=True, capture_output=True)
        place = Path(folder)
        cut = subprocess.Popen([*command, "name=cut"], stderr=subprocess.DEVNULL)
        while cut.poll() is None and not (place / "cut/checkpoints/last.pt").exists():
            time.sleep(0.05)
        cut.send_signal(signal.SIGINT)
        stopped = cut.wait() == 130
        subprocess.run([*command, "name=cut", "--resume"], check=True, capture_output=True)
        logs = [_rows(place / name / "alphas.jsonl") for name in ("whole", "cut")]
        return stopped and logs[0] == logs[1]


def _rows(file: Path) -> list[object]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    device = choose_device(parser.parse_args().device)
    print(machine(device))
    rows = compare(device)
    show(rows)
    same = resumes(device)
    print(f"an interrupted search, resumed, logs what an unbroken one does: {same}")
    worst = max(max(float(str(r["to the CPU"])), float(str(r["to the plain loop"]))) for r in rows)
    half = min(float(str(r["cosine of bfloat16"])) for r in rows)
    if worst > 1e-3 or half < 0.98 or not same:
        sys.exit(f"error: differences up to {worst:.1e}, cosine of bfloat16 {half:.4f}")


if __name__ == "__main__":
    main()
