"""The losses of rollouts are TRL's: its figures, from `bench/policy.py`, on log-probabilities of arithmetic."""

from __future__ import annotations

import json
from math import exp
from pathlib import Path

import numpy as np
import pytest
from rollouts import ANSWERS, GROUP, REWARDS, VARIANTS, before, now, ours, sampler, settings

from bloomery.rl.advantages import judge
from bloomery.train.policy import LOSSES, figures

GOLDEN = json.loads(Path(__file__).with_name("policy.json").read_text())["losses"]


@pytest.mark.parametrize("name", VARIANTS)
def test_loss_and_gradient_are_trls(name: str) -> None:
    loss, gradient, _ = ours(name, GOLDEN[name]["advantages"])
    assert loss == pytest.approx(GOLDEN[name]["loss"], rel=1e-6, abs=1e-7)
    assert gradient == pytest.approx(GOLDEN[name]["gradient"], rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", VARIANTS)
def test_advantages_are_trls(name: str) -> None:
    groups = np.array(REWARDS).reshape(-1, GROUP)
    found = judge(list(groups), VARIANTS[name].get("advantage", "std"))
    assert np.concatenate(found.advantage) == pytest.approx(GOLDEN[name]["advantages"], rel=1e-5, abs=1e-6)
    assert (found.dropped, found.level, found.unscored) == (0, 1, 1)


def test_every_loss_has_a_golden_figure() -> None:
    assert set(GOLDEN) == set(VARIANTS) and {settings(name).loss for name in GOLDEN} == set(LOSSES)
    assert {settings(name).level for name in GOLDEN} == {"token", "sequence"}
    assert len({len(answer) for _, answer in ANSWERS}) > 4


@pytest.mark.parametrize("name", ["dapo", "gspo"])
def test_ratios_are_clipped_on_both_sides_and_let_through_on_both(name: str) -> None:
    told, kinds, clipped, tokens = settings(name), set(), 0, 0
    for ((prompt, *_), answer), advantage in zip(ANSWERS, GOLDEN[name]["advantages"], strict=True):
        moved = [now(prompt, token) - before(prompt, token) for token in answer]
        for one in moved if told.level == "token" else [sum(moved) / len(moved)] * len(moved):
            ratio = exp(one)
            side = (ratio > 1 + told.clip_high) - (ratio < 1 - told.clip_low)
            kinds.add((side, np.sign(advantage)))
            clipped += side != 0 and side == np.sign(advantage)
            tokens += 1
    assert kinds >= {(side, sign) for side in (-1, 0, 1) for sign in (-1, 1)}
    told_of = figures(ours(name, GOLDEN[name]["advantages"])[2])
    assert told_of["policy_clipped"] == pytest.approx(clipped / tokens)


def test_figures_are_means_over_tokens() -> None:
    tokens = [(prompt[0], token) for prompt, answer in ANSWERS for token in answer]
    told = figures(ours("dapo corrected", GOLDEN["dapo corrected"]["advantages"])[2])
    drift = [sampler(*one) - now(*one) for one in tokens]
    assert told == pytest.approx({
        "policy_ratio": np.mean(np.exp(np.negative(drift))),
        "policy_clipped": told["policy_clipped"],
        "policy_capped": np.mean([exp(before(*one) - sampler(*one)) > 2 for one in tokens]),
        "policy_drift": np.mean(drift),
        "policy_entropy": -np.mean([sampler(*one) for one in tokens]),
    }, rel=1e-5)  # fmt: skip
    assert 0.05 < told["policy_capped"] < 0.5
