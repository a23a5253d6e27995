"""Moments are filled before the first update: weights stay, the rows come again, and a resume goes on alike."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from toys import ToySource, toy_config, toy_job, toy_model

from bloomery.core.events import read_events
from bloomery.train.checkpoint import Checkpoint
from bloomery.train.loop import train
from bloomery.train.trainer import Trainer

SETTLE = 5


def trained(folder: Path, settle: int = SETTLE, stop_at: int | None = None) -> dict[str, torch.Tensor]:
    def stopping(event: str, step: int, _: object) -> None:
        if event == "step" and step == stop_at:
            signal.raise_signal(signal.SIGTERM)

    loaded = toy_model(attention_dropout=0.2)  # makes the random state matter
    saved = Checkpoint(
        train(toy_job(folder, toy_config(settle=settle), loaded=loaded, listeners=[stopping])).checkpoint
    )
    return {name: saved.read(name) for name in saved.names()}


def test_weights_stay_as_they_are_and_moments_are_those_of_the_first_steps(tmp_path: Path) -> None:
    trainer = Trainer(toy_job(tmp_path, toy_config(settle=SETTLE)))
    before = {name: p.detach().clone() for name, p in trainer.masters.parameters.items()}
    trainer.settle(lambda: False)
    for name, parameter in trainer.masters.parameters.items():
        assert torch.equal(parameter, before[name])
        state = trainer.optimiser.state[parameter]
        assert float(state["step"]) == SETTLE
        assert state["exp_avg_sq"].abs().sum() > 0


def test_the_rows_it_saw_are_trained_on_afterwards(tmp_path: Path) -> None:
    source = ToySource()
    train(toy_job(tmp_path, toy_config(settle=2), source=source))
    assert [rows[0] for rows in source.given[:4]] == ["0.0", "1.0", "0.0", "1.0"]
    assert len(source.given) == 2 + 12


@pytest.mark.parametrize("stop_at", [1, 6])
def test_stopped_and_resumed_is_bit_identical(tmp_path: Path, stop_at: int) -> None:
    whole = trained(tmp_path / "whole")
    trained(tmp_path / "parts", stop_at=stop_at)
    parts = trained(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_it_is_told_and_stops_when_asked(tmp_path: Path) -> None:
    train(toy_job(tmp_path / "told", toy_config(settle=2)))
    (told,) = read_events(tmp_path / "told" / "events.jsonl", "settle")
    assert told["steps"] == 2 and told["tokens"] > 0
    trainer = Trainer(toy_job(tmp_path / "asked", toy_config(settle=SETTLE)))
    with pytest.raises(KeyboardInterrupt):
        trainer.settle(lambda: True)


def test_it_changes_what_comes_of_a_run(tmp_path: Path) -> None:
    with_it, without = trained(tmp_path / "with"), trained(tmp_path / "without", settle=0)
    assert any(not torch.equal(with_it[name], without[name]) for name in with_it if name.startswith("weight/"))
