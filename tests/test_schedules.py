"""Schedules against torch's own, and closed forms."""

import pytest
import torch
from pydantic import TypeAdapter
from torch.optim import lr_scheduler as torch_schedules

from srnas.schedules import ScheduleOption

STEPS = 40


def build_schedule(part):
    """The schedule of an option as it is written in YAML."""
    return TypeAdapter(ScheduleOption).validate_python(part).build()


def by_torch(make) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.1)
    scheduler = make(optimizer)
    values = []
    for _ in range(STEPS):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def ours(part, intervals: int = STEPS) -> list[float]:
    schedule = build_schedule(part)
    return [schedule(step / intervals) for step in range(STEPS)]


def test_cosine_is_torchs_cosine_annealing():
    expected = by_torch(lambda o: torch_schedules.CosineAnnealingLR(o, STEPS, eta_min=0.01))
    assert ours({"name": "cosine", "start": 0.1, "end": 0.01}) == pytest.approx(expected)


def test_multistep_is_torchs_multistep():
    expected = by_torch(lambda o: torch_schedules.MultiStepLR(o, [8, 16, 24], gamma=0.5))
    part = {"name": "multistep", "value": 0.1, "milestones": [0.2, 0.4, 0.6], "factor": 0.5}
    assert ours(part) == pytest.approx(expected)


def test_one_cycle_is_torchs_one_cycle():
    # torch puts the peak at step rise * total - 1 and the end at step total - 1
    total, rise = STEPS, 10
    expected = by_torch(lambda o: torch_schedules.OneCycleLR(o, 0.1, total, pct_start=rise / total))
    schedule = build_schedule({"name": "one_cycle", "peak": 0.1, "rise": 0.25})
    rising = [schedule(0.25 * step / (rise - 1)) for step in range(rise)]
    falling = [schedule(0.25 + 0.75 * step / (total - rise)) for step in range(1, total - rise + 1)]
    assert rising + falling == pytest.approx(expected, rel=1e-6)


def test_linear_ramp_of_beta_darts_has_slope_half_per_epoch():
    # the released code: 50 * epoch / 100, so 49.5 in the last of 100 epochs
    ramp = build_schedule({"name": "linear", "start": 0, "end": 50})
    assert [ramp(epoch / 100) for epoch in (0, 1, 99)] == pytest.approx([0, 0.5, 49.5])


def test_warmup_rises_linearly_to_the_start_value():
    schedule = build_schedule({"name": "cosine", "start": 1.0, "warmup": 0.25})
    assert [schedule(p) for p in (0, 0.125, 0.25, 1)] == pytest.approx([0, 0.5, 1, 0])


def test_a_number_is_constant():
    assert ours(0.3) == [0.3] * STEPS
