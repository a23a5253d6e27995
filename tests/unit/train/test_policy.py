"""Policy gradient on the one loop: how a step is split, and what rows share, changes nothing; it learns what paid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradients import AGREE, furthest, gradients_of
from toys import toy_config, toy_job, toy_model, toy_preferences, toy_rollouts

from bloomery.core.rows import TokenRow
from bloomery.models.pieces import Pieces
from bloomery.train.batch import denominators, make_micro_batch
from bloomery.train.config import Optim, Policy, TrainConfig
from bloomery.train.parallel import World
from bloomery.train.policy import LOSSES, SUMS, figures, k3, policy_gradient, surrogate
from bloomery.train.preference import against_baseline
from bloomery.train.progress import Meter
from bloomery.train.step import StepResult, train_step
from bloomery.train.trainer import Trainer

CPU = torch.device("cpu")


def config(told: Policy, **changes: Any) -> TrainConfig:
    return toy_config(optim=Optim(policy=told, coefficient={"ce": 0.5, "kl": 0.1}), **changes)


def one_step(
    folder: Path, told: Policy, rows: list[TokenRow], micro_tokens: int = 100_000, packing: str = "packed"
) -> tuple[StepResult, dict[str, torch.Tensor]]:
    loaded = toy_model()
    trainer = Trainer(toy_job(folder, config(told, micro_tokens=micro_tokens), loaded=loaded))
    trainer.module.packing = packing
    return gradients_of(trainer, rows)


@pytest.mark.parametrize("packing", ["packed", "padded", "shared"])
@pytest.mark.parametrize(
    "told",
    [
        Policy(),
        Policy("cispo", proximal="sampled"),
        Policy("clip", "token", proximal="sampled"),
        Policy("clip", "sequence", 0.01, 0.02, proximal="sampled"),
    ],
    ids=["current", "cispo", "clip", "sequence"],
)
def test_neither_splitting_nor_sharing_changes_loss_gradient_or_figures(
    tmp_path: Path, told: Policy, packing: str
) -> None:
    rows = toy_rollouts(0, averaged=told.level == "sequence")
    whole, gradients = one_step(tmp_path / "a", told, rows)
    split, others = one_step(tmp_path / "b", told, rows, 110, packing)
    assert whole.micro_batches == 1 < split.micro_batches
    assert isinstance(make_micro_batch(rows, CPU, packing, rows[0]).bounds, Pieces) == (packing == "shared")
    assert set(whole.parts) == {"pg", "kl", "ce", "z"}
    assert split.loss == pytest.approx(whole.loss, rel=AGREE, abs=AGREE)
    assert split.parts == pytest.approx(whole.parts, rel=AGREE, abs=AGREE)
    assert split.figures == pytest.approx(whole.figures, rel=1e-5, abs=1e-6)
    assert furthest(gradients, others) < AGREE
    assert (whole.figures["policy_clipped"] > 0) == (told.proximal == "sampled")
    assert (whole.figures["policy_capped"] > 0) == (told.proximal == "current")


def test_each_part_is_divided_by_its_own_weights(tmp_path: Path) -> None:
    rows = toy_rollouts(0)
    found = denominators(rows)
    assert found["pg"] == sum(row.trained("pg") for row in rows) > found["kl"] > 0
    assert denominators(toy_rollouts(0, averaged=True))["pg"] == pytest.approx(12)  # a mean over rows
    result, _ = one_step(tmp_path, Policy(), rows)
    parts = result.parts
    assert result.loss == pytest.approx(parts["pg"] + 0.1 * parts["kl"] + 0.5 * parts["ce"], rel=1e-6)
    assert parts["kl"] > 0


def test_before_anything_moved_the_ratio_is_one_and_nothing_is_clipped(tmp_path: Path) -> None:
    trainer = Trainer(toy_job(tmp_path))
    rows = [row for row in toy_rollouts(0) if "pg" in row.weight]
    batch = make_micro_batch(rows, CPU, "packed", rows[0])
    with torch.no_grad():
        logp, _ = trainer.module.score(batch)
    batch.extra["logp_sampled"] = logp.clone()
    batch.extra["logp_ref"] = logp.clone()
    there = batch.weight["pg"] != 0
    for told in (Policy(), Policy(proximal="sampled"), Policy(level="sequence", proximal="sampled")):
        loss, sums = policy_gradient(logp, batch, told)
        of = figures({name: float(value) for name, value in sums.items()})
        assert (of["policy_ratio"], of["policy_clipped"], of["policy_capped"], of["policy_drift"]) == (1, 0, 0, 0)
        assert of["policy_entropy"] == pytest.approx(-float(logp[there].mean()), rel=1e-5)
        assert float(loss) == pytest.approx(-float((batch.extra["advantage"] * there).sum()), abs=1e-4)
    assert float(k3(logp, batch)) == 0


def test_what_has_no_weight_counts_nowhere_whatever_stands_there() -> None:
    weight, row = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([0, 0, 0, 1])
    logp = torch.tensor([-1.0, -200.0, -2.0, -1.0], requires_grad=True)
    old = torch.tensor([-1.1, 0.0, -1.8, -300.0])
    for loss in LOSSES:
        for level in ("token", "sequence"):
            told = Policy(loss, level, proximal="sampled")  # type: ignore[arg-type]
            found, sums = surrogate(logp, old, old, torch.ones(4), weight, row, told)
            (gradient,) = torch.autograd.grad(found, logp)
            assert gradient[1] == gradient[3] == 0 and gradient.isfinite().all() and gradient[0] != 0
            assert float(sums["policy_tokens"]) == 2 and all(map(torch.isfinite, sums.values()))


def test_rows_without_a_trained_token_are_no_error() -> None:
    nothing = torch.zeros(0)
    for level in ("token", "sequence"):
        told = Policy(level=level)  # type: ignore[arg-type]
        loss, sums = surrogate(nothing, nothing, nothing, nothing, nothing, nothing.long(), told)
        assert float(loss) == 0 and figures({name: float(v) for name, v in sums.items()})["policy_ratio"] == 0


def test_the_ratio_of_a_row_keeps_the_advantage_of_each_turn() -> None:
    logp = torch.full((4,), -1.0, requires_grad=True)
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0])
    ones, row, told = torch.ones(4), torch.zeros(4, dtype=torch.int64), Policy(level="sequence", proximal="sampled")
    loss, _ = surrogate(logp, logp.detach(), logp.detach(), advantage, ones, row, told)
    loss.backward()
    assert logp.grad is not None and logp.grad.tolist() == [-1, -1, 1, 1]


def test_without_correction_the_sampler_makes_no_difference() -> None:
    logp, ones = torch.tensor([-1.0, -2.0]), torch.ones(2)
    rest = (ones, ones, torch.zeros(2, dtype=torch.int64))
    near, far = (surrogate(logp, logp, logp - apart, *rest, Policy(correct=0)) for apart in (0.0, 3.0))
    assert near[0] == far[0] and float(far[1]["policy_capped"]) == 0
    capped = surrogate(logp, logp, logp - 3.0, *rest, Policy(correct=2.0))
    assert capped[0] == 2 * near[0] and float(capped[1]["policy_capped"]) == 2


def test_rows_that_are_only_measured_do_not_become_policy(tmp_path: Path) -> None:
    trainer = Trainer(toy_job(tmp_path))
    rollouts, measured = toy_rollouts(0), [row for row in toy_preferences(0, "kto") if set(row.weight) == {"kl"}]
    assert measured
    left = against_baseline(trainer.module, [*rollouts, *measured], 1000, World(0, 1, CPU))
    assert [row.row_id for row in left] == [row.row_id for row in rollouts]


def test_what_paid_becomes_likelier_and_what_did_not_less(tmp_path: Path) -> None:
    told = config(Policy(), steps=8)
    trainer = Trainer(toy_job(tmp_path, told))
    rows = [row for row in toy_rollouts(0) if "pg" in row.weight]
    batch = make_micro_batch(rows, CPU, "packed", rows[0])
    sign = batch.extra["advantage"].sign()

    def measure() -> torch.Tensor:
        with torch.no_grad():
            return trainer.module.score(batch)[0]

    before, drifts = measure(), []
    for _ in range(8):
        sampled = measure()[: int((sign != 0).sum())].numpy()
        result = train_step(
            trainer.module, trainer.masters, trainer.optimiser, list(_sampled(rows, sampled)), 1e-2, told, trainer.world
        )
        drifts.append(result.figures["policy_drift"])
    moved = measure() - before
    assert float(moved[sign > 0].mean()) > 0.05 > -0.05 > float(moved[sign < 0].mean())
    assert drifts == pytest.approx([0] * 8, abs=1e-5)  # each step's tokens were sampled by its own policy


def _sampled(rows: list[TokenRow], logp: np.ndarray) -> Iterator[TokenRow]:
    """The rows as if these log-probabilities, one after the other, were what the sampler said."""
    for row in rows:
        said, there = np.zeros(len(row), np.float32), row.weight["pg"] != 0
        said[there], logp = logp[: there.sum()], logp[there.sum() :]
        yield replace(row, logp_sampled=said)


def test_what_is_told_of_policies_survives_json_and_reaches_the_log(tmp_path: Path) -> None:
    told = config(Policy("cispo", "sequence", 0.1, 4.0, 0.0, "sampled"))
    assert TrainConfig.from_json(told.to_json()) == told
    older = told.to_json()
    del older["optim"]["policy"]
    assert TrainConfig.from_json(older).optim.policy == Policy()
    result, _ = one_step(tmp_path, Policy(), toy_rollouts(0))
    shown = Meter(toy_model().model, World(0, 1, CPU)).step(result, 0.0, 0.0)
    assert {name for name in SUMS if name != "policy_tokens"} | {"loss_pg", "loss_kl"} <= set(shown)
