"""Figures of a step: what they are shares of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from toys import toy_model

from bloomery.train import progress
from bloomery.train.parallel import World
from bloomery.train.progress import Meter
from bloomery.train.step import StepResult


def test_a_peak_measured_on_a_busy_machine_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks: Iterator[float] = iter([1.0, 0.5, 1e30])
    monkeypatch.setattr(progress, "_peak_flops", lambda device: next(peaks))
    meter = Meter(toy_model().model, World(0, 1, torch.device("cpu")))
    shares = [meter.step(StepResult(1.0, {}, 1.0, 100, 100, 100, 1), 0.0, 0.0)["mfu"] for _ in range(60)]
    assert min(shares[:40]) > 1 and 0 < max(shares[-10:]) < 1  # a second measurement was no better, the third was
    assert next(peaks, None) is None


def test_a_share_of_peak_is_of_what_was_read_and_a_rate_of_what_the_rows_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_peak_flops", lambda device: 1e12)
    meter = Meter(toy_model().model, World(0, 1, torch.device("cpu")))
    told = meter.step(StepResult(1.0, {}, 1.0, 400, 100, 40, 1), 0.0, 0.0)
    parameters = sum(p.numel() for p in toy_model().model.parameters())
    assert told["tokens_per_second"] == pytest.approx(400 / told["seconds"])
    assert told["mfu"] == pytest.approx(6e-12 * parameters * 100 / told["seconds"])
    assert (told["step_tokens"], told["read_tokens"]) == (400, 100)
