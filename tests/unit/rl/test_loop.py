"""The rollout loop as a source of steps: what is sampled is what is trained, and what failed is in nothing."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bloomery.core.rows import Floats, TokenRow
from bloomery.engine.protocol import Completion, Request
from bloomery.graders.payload import Sample, Score
from bloomery.rl.config import RolloutSettings
from bloomery.rl.inside import Inside
from bloomery.rl.log import RolloutLog
from bloomery.rl.loop import RolloutSource
from bloomery.rl.rollouts import Task
from bloomery.train.job import StepRows


@dataclass
class Drawn:
    """A blend: two tasks and a curated row in each step."""

    restored: dict[str, Any] = field(default_factory=dict)

    def steps(self, first: int, last: int) -> Iterator[StepRows]:
        for step in range(first, last):
            names = [("tasks", f"tasks:0:{2 * step}"), ("tasks", f"tasks:0:{2 * step + 1}"), ("curated", "curated:0:0")]
            rows = [TokenRow(np.arange(4, dtype=np.int32), {"ce": np.ones(4, np.float32)}, i, s, "e") for s, i in names]
            yield StepRows(step, rows, 0.0, {"blend": step + 1})

    def restore(self, state: dict[str, Any]) -> None:
        self.restored = state


class ByIndex:
    sources = frozenset({"tasks"})

    def of(self, row: TokenRow) -> Task:
        index = int(row.row_id.rpartition(":")[2])
        content = [{"role": "user", "content": f"task {index}"}]
        return Task(
            "tasks", row.row_id, {"id": f"t{index}", "messages": content}, np.array([1, 2, 30 + index], np.int32)
        )


class Speaker:
    """Answers with a token that says which of all answers it is."""

    context = 64

    def answer(self, requests: Sequence[Request]) -> list[Completion]:
        self.asked = requests[0].sampling
        return [
            Completion((100 + i, 2), np.array([-0.5 - i, -0.25], np.float32), "stop" if i % 4 else "length", 0.1)
            for i in (one.number for one in requests)
        ]

    def score(self, rows: Sequence[TokenRow]) -> list[Floats]:
        raise NotImplementedError


@dataclass
class Rewards:
    """Gives the rewards it is told, in order."""

    told: list[float | None]
    name: str = "rewards"
    verified: bool = True
    seen: list[Sample] = field(default_factory=list)

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        self.seen += samples
        return [Score(one.id, reward, reason="" if reward is not None else "timed out") for one, reward in zip(
            samples, self.told, strict=True
        )]  # fmt: skip


def source(tmp_path: Path, told: list[float | None], **settings: Any) -> RolloutSource:
    made = RolloutSource(Drawn(), ByIndex(), RolloutSettings(group=4, max_tokens=2, **settings), RolloutLog(tmp_path))
    made.begin(Inside(Speaker(), Rewards(told), made.settings, lambda ids: f"said {ids[0]}"))
    return made


def test_what_is_trained_is_what_was_sampled_token_by_token(tmp_path: Path) -> None:
    rolled = source(tmp_path, [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    figures: dict[str, float] = {}
    rolled.told = lambda step, found: figures.update(found)
    [batch] = rolled.steps(0, 1)
    *trained, curated = batch.rows
    assert curated.source == "curated" and batch.state == {"blend": 1, "rewards": pytest.approx(0.625)}
    assert [row.row_id for row in trained] == [f"tasks:0:0:{n}:0" for n in range(4)]  # the other group is level
    for number, row in enumerate(trained):
        assert row.ids.tolist() == [1, 2, 30, 100 + number, 2]
        assert row.weight["pg"].tolist() == [0, 0, 0, 1, 1] and row.group_id == "tasks:0:0"
        assert row.logp_sampled is not None and row.advantage is not None
        assert row.logp_sampled[3:].tolist() == [-0.5 - number, -0.25]
        assert row.advantage[3:].tolist() == pytest.approx([0.75 if number == 0 else -0.25] * 2)
    assert figures["reward"] == 0.625 and figures["level_groups"] == 0.5 and figures["reward_best"] == 1.0


def test_an_unscorable_rollout_is_in_no_baseline_and_no_row(tmp_path: Path) -> None:
    rolled = source(tmp_path, [1.0, 0.0, None, 0.0, 1.0, None, None, 0.0])
    [batch] = rolled.steps(0, 1)
    assert [row.row_id for row in batch.rows[:-1]] == ["tasks:0:0:0:0", "tasks:0:0:1:0", "tasks:0:0:3:0"]
    worth = [float(row.advantage[-1]) for row in batch.rows[:-1] if row.advantage is not None]
    assert worth == pytest.approx([2 / 3, -1 / 3, -1 / 3])  # the mean of three, not of four
    assert rolled.log is not None
    why = [one["why"] for one in rolled.log.read(0)]
    assert why[2] == "unscorable: timed out" and why[4] == "too few of its group were scored"


def test_answers_that_were_cut_off_can_be_left_out(tmp_path: Path) -> None:
    rolled = source(tmp_path, [1.0, 1.0, 0.0, 1.0] * 2, overlong="drop")
    [batch] = rolled.steps(0, 1)
    assert "tasks:0:0:0:0" not in [row.row_id for row in batch.rows]
    assert rolled.log is not None and next(rolled.log.read(0))["why"] == "cut off"


def test_every_rollout_counts_alike_where_that_is_asked(tmp_path: Path) -> None:
    rolled = source(tmp_path, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], norm="rollouts")
    [batch] = rolled.steps(0, 1)
    assert {float(row.weight["pg"].sum()) for row in batch.rows[:-1]} == {1.0}


def test_steps_have_their_own_seeds_and_graders_their_own_ids(tmp_path: Path) -> None:
    rolled = source(tmp_path, [1.0, 0.0, 0.0, 0.0] * 2, seed=3)
    assert isinstance(rolled.collector, Inside)
    seeds, engine, grader = [], rolled.collector.engine, rolled.collector.grader
    assert isinstance(engine, Speaker) and isinstance(grader, Rewards)
    for _ in rolled.steps(0, 3):
        seeds.append(engine.asked.seed)
    assert len(set(seeds)) == 3 and engine.asked.temperature == 1.0
    assert len({one.id for one in grader.seen}) == 24
    assert grader.seen[1].messages == [
        {"role": "user", "content": "task 0"}, {"role": "assistant", "content": "said 101"},
    ]  # fmt: skip


def test_it_goes_on_where_the_blend_does(tmp_path: Path) -> None:
    rolled = source(tmp_path, [1.0, 0.0, 0.0, 0.0] * 2, advantage="running")
    [batch] = rolled.steps(0, 1)
    later = source(tmp_path, [1.0, 0.0, 0.0, 0.0] * 2, advantage="running")
    later.restore(batch.state)
    assert later.running.value == rolled.running.value == 0.25
    assert isinstance(later.drawn, Drawn) and later.drawn.restored["blend"] == 1


def test_rollouts_lie_in_a_file_a_step_for_their_owner_only(tmp_path: Path) -> None:
    rolled = source(tmp_path, [1.0, 0.0, None, 0.0] * 2)
    list(rolled.steps(4, 6))
    assert rolled.log is not None and rolled.log.steps() == [4, 5]
    path = tmp_path / "rollouts" / "step-000004.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = json.loads(path.read_text().splitlines()[0])
    assert first["answer"] == "said 100" and first["turns"][0]["ids"] == [100, 2] and first["reward"] == 1.0
