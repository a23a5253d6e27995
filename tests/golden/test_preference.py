"""The losses of preferences are TRL's: its figures, from `bench/preference.py`, on log-probabilities of arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from answers import PAIRS, SETTINGS, Speaker, rows_of

from bloomery.data.pairs import FORMS
from bloomery.train.batch import denominators, make_micro_batch
from bloomery.train.config import Preference
from bloomery.train.parallel import World
from bloomery.train.preference import LOSSES, SUMS, against_baseline, figures, preference

GOLDEN = json.loads(Path(__file__).with_name("preference.json").read_text())["losses"]
CPU = torch.device("cpu")


def computed(objective: str, told: dict[str, float]) -> tuple[float, float, dict[str, float]]:
    """Loss, sum of the sizes of its gradient, and rewards of the made-up answers."""
    speaker = Speaker()
    rows = against_baseline(speaker, rows_of(objective), 50, World(0, 1, CPU))  # type: ignore[arg-type]
    batch = make_micro_batch(rows, CPU, "packed", rows[0])
    logp, _ = speaker.score(batch)
    loss, sums = preference(logp, batch, Preference(objective, **told))  # type: ignore[arg-type]
    groups = denominators(rows)["pref"]
    loss = loss / groups
    loss.backward()
    assert logp.grad is not None
    rewards = figures({name: sums[name].item() for name in SUMS}, groups)
    return loss.item(), float(logp.grad.abs().sum()), rewards


@pytest.mark.parametrize("name", SETTINGS)
def test_loss_and_gradient_are_trls(name: str) -> None:
    loss, gradient, _ = computed(name.split()[0], SETTINGS[name])
    assert loss == pytest.approx(GOLDEN[name]["loss"], rel=1e-6)
    assert gradient == pytest.approx(GOLDEN[name]["gradient"], rel=1e-6)


def test_every_objective_has_a_loss_a_form_and_a_golden_figure() -> None:
    assert set(LOSSES) == set(FORMS) == {name.split()[0] for name in GOLDEN}
    assert {name for name, form in FORMS.items() if form.averaged} == {"ipo", "orpo"}
    assert {name for name, form in FORMS.items() if form.alone} == {"kto"}


def test_rewards_are_means_over_pairs() -> None:
    from answers import said, start_said

    _, _, rewards = computed("dpo", {"beta": 0.1})
    ratio = [[sum(said(p[0], t) - start_said(p[0], t) for t in a) for a in both] for p, *both in PAIRS]
    chosen, rejected = (0.1 * sum(r[side] for r in ratio) / len(ratio) for side in (0, 1))
    assert rewards == pytest.approx({
        "reward_accuracy": sum(c > r for c, r in ratio) / len(ratio),
        "reward_chosen": chosen, "reward_rejected": rejected, "reward_margin": chosen - rejected,
    }, abs=1e-6)  # fmt: skip


def test_ktos_baseline_moves_its_loss() -> None:
    told = Preference("kto", beta=0.5)
    rows, speaker = rows_of("kto"), Speaker()
    losses = []
    world = World(0, 1, CPU)
    for some in (rows, [row for row in rows if "pref" in row.weight]):
        kept = against_baseline(speaker, some, 10_000, world)  # type: ignore[arg-type]
        batch = make_micro_batch(kept, CPU, "packed", kept[0])
        losses.append(preference(speaker.score(batch)[0], batch, told)[0].item())
    assert abs(losses[0] - losses[1]) > 1e-3
