"""Preferences on the one loop: how a step is split changes nothing, and the start is asked once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gradients import AGREE, furthest
from toys import ToyPreferences, toy_config, toy_job, toy_model, toy_preferences, toy_rows

from bloomery.core.errors import DamagedError, InputError
from bloomery.core.events import read_events
from bloomery.core.rows import TokenRow
from bloomery.train.batch import denominators, make_micro_batch, split_step
from bloomery.train.config import Optim, Preference, TrainConfig
from bloomery.train.loop import train
from bloomery.train.preference import LOSSES
from bloomery.train.reference import make_reference, open_reference
from bloomery.train.step import StepResult, train_step
from bloomery.train.trainer import Trainer
from bloomery.train.validate import HeldOut, held_out_loss


def config(objective: str, **changes: object) -> TrainConfig:
    optim = Optim(preference=Preference(objective, beta=0.3), coefficient={"ce": 0.5})  # type: ignore[arg-type]
    return toy_config(optim=optim, **changes)


def one_step(
    folder: Path, objective: str, micro_tokens: int, packing: str = "packed"
) -> tuple[StepResult, dict[str, torch.Tensor]]:
    loaded = toy_model()
    loaded.packing = packing
    told = config(objective, micro_tokens=micro_tokens)
    trainer = Trainer(toy_job(folder, told, loaded=loaded))
    gradients: dict[str, torch.Tensor] = {}
    for name, parameter in trainer.masters.parameters.items():
        parameter.register_post_accumulate_grad_hook(lambda p, n=name: gradients.update({n: p.grad.clone()}))
    rows = toy_preferences(0, objective)
    result = train_step(trainer.module, trainer.masters, trainer.optimiser, rows, 1e-2, told, trainer.world)
    return result, gradients


@pytest.mark.parametrize("objective", LOSSES)
@pytest.mark.parametrize(("micro_tokens", "packing"), [(60, "packed"), (90, "packed"), (60, "padded")])
def test_micro_batches_and_padding_change_neither_loss_nor_gradient(
    tmp_path: Path, objective: str, micro_tokens: int, packing: str
) -> None:
    whole, gradients = one_step(tmp_path / "a", objective, 100_000)
    split, others = one_step(tmp_path / "b", objective, micro_tokens, packing)
    assert whole.micro_batches == 1 < split.micro_batches
    assert split.loss == pytest.approx(whole.loss, rel=AGREE, abs=AGREE) and split.parts == pytest.approx(
        whole.parts, rel=AGREE, abs=AGREE
    )
    assert split.figures == pytest.approx(whole.figures, rel=1e-4)
    assert furthest(gradients, others) < AGREE
    assert (
        split.tokens == whole.tokens == sum(len(row) for row in toy_preferences(0, objective) if "kl" not in row.weight)
    )


def test_the_loss_is_each_part_over_its_own_denominator(tmp_path: Path) -> None:
    rows = toy_preferences(0)
    assert denominators(rows) == {"pref": 4, "ce": sum(row.trained("ce") for row in rows)}
    assert denominators(toy_preferences(0, "kto"))["pref"] == 8
    result, _ = one_step(tmp_path, "dpo", 100_000)
    assert result.loss == pytest.approx(result.parts["pref"] + 0.5 * result.parts["ce"], rel=1e-6)
    alone = Trainer(toy_job(tmp_path / "alone", config("dpo")))
    text = [row for row in rows if "ce" in row.weight]
    only = train_step(alone.module, alone.masters, alone.optimiser, text, 1e-2, alone.config, alone.world)
    assert only.parts["ce"] == pytest.approx(result.parts["ce"], rel=1e-5) and not only.figures


def test_both_rows_of_a_pair_lie_in_one_micro_batch() -> None:
    rows = toy_preferences(0)
    for pack in (pack for rank in split_step(rows, 60, 2) for pack in rank):
        groups = [rows[i].group_id for i in pack if rows[i].group_id]
        assert all(groups.count(group) == 2 for group in groups)
    batch = make_micro_batch(rows, torch.device("cpu"), "packed", rows[0])
    assert len(set(batch.group.tolist())) == 6  # four pairs, two rows of text


def unreferred(step: int, objective: str = "dpo") -> list[TokenRow]:
    return [replace(row, logp_ref=None) for row in toy_preferences(step, objective)]


@pytest.mark.parametrize("objective", ["dpo", "ipo", "kto"])
def test_at_the_start_nothing_is_better_than_the_start(tmp_path: Path, objective: str) -> None:
    trainer = Trainer(toy_job(tmp_path, config(objective, micro_tokens=60)))
    rows = unreferred(0, objective)
    made = make_reference(tmp_path / "reference", "abc", rows, trainer.module, 100, trainer.world)
    referred = [made.refer(row) for row in rows]
    found = held_out_loss(trainer.module, HeldOut("pairs", referred), trainer.config, trainer.world)
    expected = {"dpo": np.log(2), "ipo": (1 / 0.6) ** 2, "kto": 0.5}[objective]
    assert found["loss"] == pytest.approx(expected, abs=1e-4)
    assert found["reward_margin"] == pytest.approx(0, abs=1e-4)
    assert trainer.module.training


def test_a_reference_is_found_again_by_a_rows_tokens(tmp_path: Path) -> None:
    trainer = Trainer(toy_job(tmp_path, config("kto")))
    place, rows = tmp_path / "reference", [*unreferred(0, "kto"), *unreferred(1, "kto")]
    assert open_reference(place, "abc") is None
    counted: list[int] = []
    made = make_reference(place, "abc", [*rows, *rows], trainer.module, 100, trainer.world, counted.append)
    opened = open_reference(place, "abc")
    assert opened is not None and counted == [32]  # each answer and each measured row once, no text
    for row in rows:
        told = [reference.refer(replace(row, row_id="other")).logp_ref for reference in (made, opened)]
        if "ce" in row.weight:
            assert told == [None, None]
            continue
        assert np.array_equal(*told) and np.array_equal(told[0] != 0, (row.ids >= 0) & (np.arange(len(row)) >= 3))
    with pytest.raises(DamagedError, match="has no row"):
        opened.refer(unreferred(2)[0])


@pytest.mark.parametrize("file", ["logp.safetensors", "manifest.json"])
def test_a_damaged_reference_or_another_start_is_refused(tmp_path: Path, file: str) -> None:
    trainer, place = Trainer(toy_job(tmp_path, config("dpo"))), tmp_path / "reference"
    make_reference(place, "abc", unreferred(0), trainer.module, 100, trainer.world)
    with pytest.raises(InputError, match="has changed since"):
        open_reference(place, "def")
    data = bytearray((place / file).read_bytes())
    data[len(data) // 2] ^= 1
    (place / file).write_bytes(bytes(data))
    with pytest.raises(DamagedError) as refused:
        open_reference(place, "abc")
    assert refused.value.fix is not None and f"delete {place}" in refused.value.fix


@pytest.mark.parametrize("objective", LOSSES)
def test_training_raises_what_is_chosen_over_what_is_rejected(tmp_path: Path, objective: str) -> None:
    told = config(objective, steps=20)
    source = ToyPreferences(objective)
    rows = toy_preferences(3, objective)
    steps = source.steps
    source.steps = lambda first, last: (replace(s, rows=rows) for s in steps(first, last))  # type: ignore[method-assign]
    train(toy_job(tmp_path, told, source=source))
    logged = list(read_events(tmp_path / "events.jsonl", "step"))
    assert logged[-1]["reward_margin"] > logged[0]["reward_margin"] + 0.02
    assert logged[-1]["loss_pref"] < logged[0]["loss_pref"] and "reward_accuracy" in logged[-1]


def test_what_is_told_of_preferences_survives_json() -> None:
    told = config("kto")
    assert TrainConfig.from_json(told.to_json()) == told
    older = told.to_json()
    del older["optim"]["preference"]
    assert TrainConfig.from_json(older).optim.preference == Preference()


def test_rows_of_text_alone_have_no_rewards(tmp_path: Path) -> None:
    trainer = Trainer(toy_job(tmp_path))
    found = held_out_loss(trainer.module, HeldOut("text", toy_rows(0)), trainer.config, trainer.world)
    assert set(found) == {"loss"}
