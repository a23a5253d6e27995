"""A merged anneal: the rate is held, the weights are the mean of the run's end, and a resume gives the same mean."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import toy_config, toy_job, toy_model

from bloomery.core.errors import DamagedError
from bloomery.train.average import PREFIX, Average
from bloomery.train.checkpoint import Checkpoint
from bloomery.train.config import Schedule, TrainConfig
from bloomery.train.loop import train
from bloomery.train.schedule import MERGED, lr_at, merged_steps


def merging(steps: int = 12) -> TrainConfig:
    config = toy_config(steps, checkpoint_every=1, keep_last=100)
    return replace(config, schedule=Schedule("wsd", 1e-2, steps, anneal=0.5, anneal_by="merge"))


def merged(folder: Path, stop_at: int | None = None) -> Checkpoint:
    def stopping(event: str, step: int, _: object) -> None:
        if event == "step" and step == stop_at:
            signal.raise_signal(signal.SIGTERM)

    loaded = toy_model(attention_dropout=0.2)
    return Checkpoint(train(toy_job(folder, merging(), loaded=loaded, listeners=[stopping])).checkpoint)


def test_the_mean_is_that_of_the_weights_after_the_steps_of_the_anneal(tmp_path: Path) -> None:
    last = merged(tmp_path)
    steps = merged_steps(merging().schedule)
    assert steps == (7, 8, 9, 10, 11, 12)
    held = [Checkpoint(tmp_path / "checkpoints" / f"step-{step:08d}") for step in steps]
    names = [name for name in last.names() if name.startswith(PREFIX)]
    assert names
    for name in names:
        weight = f"weight/{name.removeprefix(PREFIX)}"
        expected = torch.stack([one.read(weight) for one in held]).mean(0)
        assert torch.allclose(last.read(name), expected, atol=1e-7)
        assert not torch.equal(last.read(name), last.read(weight))


@pytest.mark.parametrize("stop_at", [5, 8])
def test_a_resumed_mean_is_bit_identical(tmp_path: Path, stop_at: int) -> None:
    whole = merged(tmp_path / "whole")
    merged(tmp_path / "parts", stop_at)
    parts = merged(tmp_path / "parts")
    assert all(torch.equal(whole.read(name), parts.read(name)) for name in whole.names())


def test_a_checkpoint_without_its_mean_is_damaged() -> None:
    model = torch.nn.Linear(2, 2)
    average = Average(dict(model.named_parameters()), [3, 4])
    average.restore({}, 2)
    with pytest.raises(DamagedError, match="no mean of the weights"):
        average.restore({}, 3)


@given(st.integers(1, 500), st.floats(0.01, 1.0))
def test_the_rate_is_held_and_the_last_weights_are_in_the_mean(steps: int, anneal: float) -> None:
    schedule = Schedule("wsd", 3e-4, steps, anneal=anneal, anneal_by="merge")
    assert {lr_at(k, schedule) for k in range(steps)} == {3e-4}
    taken = merged_steps(schedule)
    assert taken[-1] == steps and 1 <= len(taken) <= MERGED and sorted(set(taken)) == list(taken)
    assert taken[0] > steps - max(1, round(anneal * steps))


def test_a_decay_averages_nothing() -> None:
    assert merged_steps(Schedule("wsd", 3e-4, 100)) == ()
