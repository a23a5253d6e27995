"""How answers to held-out tasks are shared out: never more than asked, spread evenly, most tasks once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bloomery.evals.answered import Answers
from bloomery.evals.measures import differences, measures
from bloomery.evals.results import Drawn, EvalResult, Record, SuiteResult
from bloomery.evals.suites import Suite, evenly
from bloomery.recipes.attempts import drawn, shared_out

CASES = [
    (0, 400, 0, 0), (1, 40, 1, 1), (900, 40, 25, 5), (30, 400, 30, 30), (100, 400, 100, 100), (200, 400, 200, 66),
    (250, 400, 250, 50), (900, 400, 250, 50),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "most", "tasks", "again"), CASES)
def test_no_more_answers_than_asked_are_shared_out(rows: int, most: int, tasks: int, again: int) -> None:
    assert shared_out(rows, most) == (tasks, again)
    assert tasks + 3 * again <= most


def test_places_lie_evenly_and_a_part_of_the_rows_is_answered_again() -> None:
    assert evenly(10, 3) == [1, 5, 8] and evenly(4, 9) == [0, 1, 2, 3] and evenly(0, 5) == []
    assert all(len(set(evenly(n, k))) == k for n in range(1, 40) for k in range(1, n + 1))
    told: dict[str, Any] = {"samples": 4, "temperature": 1.0, "metrics": ("pass@1", "pass@4")}
    suite = Suite("s", "generate", [{"prompt": "x"}], "domain", {"type": "exact"}, repeated=2, **told)
    assert suite.answers(6) == [1, 4, 1, 1, 4, 1]
    asked: list[list[int]] = []
    engine: Any = SimpleNamespace(
        generate=lambda prompts, sampling: asked.extend(prompts) or [_answer(p) for p in prompts]
    )
    tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: str(ids))
    engine.context = 99
    prompter: Any = SimpleNamespace(asked=lambda row, context: ([int(row["prompt"])], ""), tokenizer=tokenizer)
    found, left = Answers(engine, prompter, suite).drawn([{"prompt": str(n)} for n in range(6)])
    assert not left
    assert [len(many) for many in found] == [1, 4, 1, 1, 4, 1] and len(asked) == 12
    assert [many[-1][1] for many in found] == [f"[{n}]" for n in range(6)]


def _answer(prompt: list[int]) -> Any:
    return SimpleNamespace(body=prompt)


def test_tasks_of_a_file_are_taken_from_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "held.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), "prompt": "x"}) + "\n" for n in range(300)))
    sections = {"max_tokens": 8, "temperature": 0.7}
    plan: Any = SimpleNamespace(section=lambda name: sections, get=lambda key: 40)
    rows, how = drawn(plan, path)
    assert len(rows) == 25 and [rows[0]["id"], rows[-1]["id"]] == ["6", "294"]
    assert how == {"samples": 4, "repeated": 5, "max_new_tokens": 8, "temperature": 0.7}


def test_an_interval_is_over_the_tasks_that_have_a_figure() -> None:
    def result(name: str, score: float) -> EvalResult:
        many = tuple(Drawn("a", one) for one in (score, 1.0, 0.0, 1.0))
        records = [Record(str(n), score=score) for n in range(30)]
        records += [Record(str(n), score=(score + 2) / 4, samples=many) for n in range(30, 42)]
        return EvalResult(
            name, {"s": SuiteResult("s", "generate", "domain", tuple(records), 1.0, ("pass@1", "pass@4"))}, 1.0
        )

    wrong, right = result("a", 0.0), result("b", 1.0)
    found = {one.name: one for one in differences(wrong, right)}
    assert (found["pass@1"].examples, found["pass@4"].examples) == (42, 12)
    assert found["pass@1"].change.estimate == pytest.approx((30 + 12 / 4) / 42) and found["pass@4"].change.estimate == 0
    assert found["pass@4"].change.low < -0.2  # twelve tasks that stood still prove little
    assert measures(right.suites["s"])[1].found.low > 0.8
