"""Rollout workers answer as this process would, however many they are, and whatever happens to them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import toy_model

from bloomery.core.errors import InputError
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Completion, Sampling
from bloomery.rl.fleet import Fleet

PROMPTS = [[5, 6, 7]] * 3 + [[9, 8, 7, 6]] * 3
SAMPLING = Sampling(8, temperature=1.0, seed=3)


def same(found: list[Completion], wanted: list[Completion]) -> bool:
    """All but the last digits of log-probabilities, which follow from how prompts fall into batches."""
    pairs = [*zip(found, wanted, strict=True)]
    return all(
        (a.ids, a.finish_reason, a.stopped) == (b.ids, b.finish_reason, b.stopped)
        and np.allclose(a.logprobs, b.logprobs, rtol=0, atol=1e-5)
        for a, b in pairs
    )


def test_workers_answer_as_this_process_does_with_each_version_and_after_one_was_killed(tmp_path: Path) -> None:
    loaded = toy_model()
    engine, fleet = NativeEngine(loaded), Fleet(loaded, tmp_path / "policy", 2)
    try:
        fleet.renew(0)
        first = engine.generate(PROMPTS, SAMPLING)
        assert same(fleet.generate(PROMPTS, SAMPLING), first)
        with torch.no_grad():
            for parameter in loaded.model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        assert same(fleet.generate(PROMPTS, SAMPLING), first), "weights are those that were published"
        fleet.renew(1)
        second = engine.generate(PROMPTS, SAMPLING)
        assert not same(second, first) and same(fleet.generate(PROMPTS, SAMPLING), second)
        assert [path.name for path in sorted((tmp_path / "policy").iterdir())] == ["model", "v00000001"]
        process = fleet._workers[0]._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert same(fleet.generate(PROMPTS, SAMPLING), second)
        assert same(fleet.generate(PROMPTS[:1], SAMPLING), second[:1]) and fleet.generate([], SAMPLING) == []
        with pytest.raises(InputError, match="the context holds"):
            fleet.generate([[1] * fleet.context], SAMPLING)
    finally:
        fleet.close()
    assert not (tmp_path / "policy").exists() and all(worker._process is None for worker in fleet._workers)
