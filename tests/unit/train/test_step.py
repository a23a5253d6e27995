"""How a step is split changes nothing; a step that is not finite changes nothing either."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gradients import AGREE, furthest, gradients_of
from toys import toy_config, toy_job, toy_model, toy_row, toy_rows

from bloomery.core.errors import InputError, TrainingError, Where
from bloomery.core.rows import TokenRow
from bloomery.train.config import Optim
from bloomery.train.job import StepRows, TrainState
from bloomery.train.step import StepResult, train_step
from bloomery.train.trainer import Trainer

EIGHT = [toy_row(f"{number}", 24, number) for number in range(8)]
UNEQUAL = toy_rows(0, count=8)


def _one_step(
    tmp_path, rows: list[TokenRow], micro_tokens: int, packing: str = "packed"
) -> tuple[StepResult, dict[str, torch.Tensor]]:
    loaded = toy_model()
    loaded.packing = packing
    trainer = Trainer(toy_job(tmp_path, toy_config(micro_tokens=micro_tokens), loaded=loaded))
    return gradients_of(trainer, rows)


@pytest.mark.parametrize(
    ("rows", "micro_tokens", "packing", "parts"),
    [
        (EIGHT, 24, "packed", 8),
        (EIGHT, 24, "padded", 8),
        (EIGHT, 48, "padded", 4),
        (UNEQUAL, 41, "packed", 5),
        (UNEQUAL, 64, "packed", 3),
        (UNEQUAL, 41, "padded", 5),
    ],
)
def test_one_micro_batch_or_eight_give_one_loss_and_gradient_to_1e_6(
    tmp_path, rows: list[TokenRow], micro_tokens: int, packing: str, parts: int
) -> None:
    whole, gradients = _one_step(tmp_path / "a", rows, 100_000)
    split, others = _one_step(tmp_path / "b", rows, micro_tokens, packing)
    assert (whole.micro_batches, split.micro_batches) == (1, parts)
    assert split.loss == pytest.approx(whole.loss, rel=AGREE)
    assert furthest(gradients, others) < AGREE


def test_a_non_finite_loss_names_its_rows_and_leaves_the_weights(tmp_path) -> None:
    trainer = Trainer(toy_job(tmp_path))
    with torch.no_grad():
        trainer.masters.parameters["model.embed_tokens.weight"][5] = float("nan")
    before = {name: p.detach().clone() for name, p in trainer.masters.parameters.items()}
    with pytest.raises(TrainingError, match=r"not finite.*toy/0\.0"):
        train_step(trainer.module, trainer.masters, trainer.optimiser, toy_rows(0), 1e-2, trainer.config, trainer.world)
    after = trainer.masters.parameters
    assert all(np.array_equal(before[n].numpy(), after[n].detach().numpy(), equal_nan=True) for n in before)


def test_a_run_that_is_not_finite_names_its_step_and_folder(tmp_path) -> None:
    trainer = Trainer(toy_job(tmp_path))
    with torch.no_grad():
        trainer.masters.parameters["model.embed_tokens.weight"][5] = float("nan")
    with pytest.raises(TrainingError, match=r"step 7: the loss nan is not finite.*toy/7\.0") as stopped:
        trainer.step(StepRows(7, toy_rows(7), 0.0, {}), 1e-2)
    assert stopped.value.where == Where(tmp_path)
    assert stopped.value.fix is not None and "--step 7" in stopped.value.fix


def test_non_finite_weights_are_never_published(tmp_path) -> None:

    trainer = Trainer(toy_job(tmp_path))
    with torch.no_grad():
        trainer.masters.parameters["model.norm.weight"][0] = float("inf")
    with pytest.raises(TrainingError, match=r"model\.norm\.weight.* after 3 steps") as stopped:
        trainer.save(TrainState(step=3))
    assert stopped.value.where == Where(tmp_path)
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_bf16_compute_keeps_fp32_masters(tmp_path) -> None:
    trainer = Trainer(toy_job(tmp_path, toy_config(precision="bf16")))
    assert {p.dtype for p in trainer.module.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in trainer.masters.parameters.values()} == {torch.float32}
    train_step(trainer.module, trainer.masters, trainer.optimiser, toy_rows(0), 1e-4, trainer.config, trainer.world)
    for name, parameter in trainer.module.model.named_parameters():
        assert torch.equal(parameter, trainer.masters.parameters[name].bfloat16())


def test_the_fused_cross_entropy_is_the_general_one(tmp_path) -> None:
    from bloomery.train.batch import denominators, make_micro_batch
    from bloomery.train.loss import step_loss

    trainer, rows = Trainer(toy_job(tmp_path)), toy_rows(0)
    batch = make_micro_batch(rows, trainer.world.device, "packed", rows[0])
    optim, denominator = trainer.config.optim, denominators(rows)
    gradients = []
    for fused in (True, False):
        trainer.module.zero_grad()
        if fused:
            loss, parts = trainer.module(batch, denominator, optim)
        else:
            loss, parts = step_loss(*trainer.module.log_probabilities(batch), batch, denominator, optim)
        loss.backward()
        gradients.append([float(loss), *(float(p) for p in parts.values())])
        gradients[-1] += [float(p.grad.norm()) for p in trainer.module.parameters()]
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-5)


def test_moments_in_bf16_stay_close_to_fp32_ones(tmp_path) -> None:
    after = []
    for state in ("fp32", "bf16"):
        trainer = Trainer(toy_job(tmp_path / state, toy_config(optim=Optim(state_dtype=state))))
        for step in range(5):
            train_step(
                trainer.module, trainer.masters, trainer.optimiser, toy_rows(step), 1e-3, trainer.config, trainer.world
            )
        after.append(torch.cat([p.detach().flatten() for p in trainer.masters.parameters.values()]))
    assert 0 < (after[0] - after[1]).abs().max() < 5e-4
    kinds = {state["exp_avg"].dtype for state in trainer.optimiser.state.values()}
    assert kinds == {torch.bfloat16}


def test_a_beta_that_bf16_cannot_hold_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"memory\.state: bf16.*0\.999"):
        Trainer(toy_job(tmp_path, toy_config(optim=Optim(betas=(0.9, 0.999), state_dtype="bf16"))))
