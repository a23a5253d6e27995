"""Watched tasks: a row that cannot be asked or graded is left out by name, and many are refused before training."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.evals.answered import ANSWERED, Answers
from bloomery.evals.prompts import Prompter
from bloomery.evals.suites import Suite
from bloomery.recipes.watched import watched

REWARD = {"type": "number"}
LONG: dict[str, Any] = {"id": "long", "prompt": "x" * 40, "reference_answer": "1"}
CONTEXT = 30


class Asks:
    """As a prompter: a token a character; the template refuses what shouts."""

    tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: "1")
    asked = Prompter.asked

    def prompt(self, messages: Any) -> list[int]:
        text = messages[0]["content"]
        if text.isupper():
            raise InputError("the chat template says: no shouting")
        return [1] * len(text)


def rows(count: int, *bad: dict[str, Any]) -> list[dict[str, Any]]:
    return [*({"id": f"t{n}", "prompt": f"and {n}?", "reference_answer": str(n)} for n in range(count)), *bad]


def watch(folder: Path, given: list[dict[str, Any]], reward: Any = REWARD) -> tuple[list[str], list[Any]]:
    """The tasks by name, and what was logged."""
    path = folder / "held.jsonl"
    logged: list[Any] = []
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    held: Any = [SimpleNamespace(name="asks", role="domain", path=path), SimpleNamespace(role="general")]
    job = SimpleNamespace(quiet=False)
    trainer: Any = SimpleNamespace(job=job, log=lambda event, step, **fields: logged.append((event, fields)))
    prompter: Any = Asks()
    tasks = watched({"watch": 40, "reward": reward, "environment": None}, held, prompter, CONTEXT, trainer)
    return [task.name for task in tasks], logged


def test_a_few_that_cannot_be_asked_or_graded_are_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [{"id": "seven", "prompt": "and 7?", "reference_answer": "seven"}, {"id": "loud", "prompt": "AND 8?"}, LONG]
    names, logged = watch(tmp_path, rows(30, *bad))
    assert names == [f"t{n}" for n in range(30)]
    assert logged == [("left_out", {"tasks": ["seven", "loud", "long"], "of": 33})]
    said = capsys.readouterr().err
    assert "3 of 33 held-out tasks cannot be attempted or graded: `seven` (" in said and "holds no number" in said
    assert "`loud` (the chat template says: no shouting)" in said
    assert "`long` (its prompt has 40 tokens; the context holds 30 with the answer)" in said
    assert watch(tmp_path, rows(30)) == ([f"t{n}" for n in range(30)], [])


def test_many_or_all_are_refused_and_a_judged_reward_is_not_asked(tmp_path: Path) -> None:
    bad = [{"id": f"b{n}", "prompt": "x", "reference_answer": "none"} for n in range(5)]
    for count in (8, 0):
        with pytest.raises(InputError, match=r"`rollouts.watch`: 5 of \d+ held-out tasks .* and 2 more") as refused:
            watch(tmp_path, rows(count, *bad))
        assert "rollouts.watch: 0" in str(refused.value.fix)
    judged = {"type": "score_model", "input": "Is it good?", "judge": {"url": "http://x.test/v1", "model": "m"}}
    for reward in (judged, None):
        assert len(watch(tmp_path, rows(0, *bad), reward)[0]) == 5


@pytest.mark.parametrize("kind", ["generate", "rubric", "toxicity", "injection"])
def test_an_evaluation_goes_on_without_a_row_that_cannot_be_asked(kind: str) -> None:
    given = [row | {"rubric": "is short", "canary": "zebra"} for row in rows(2, LONG)]
    graded = None if kind == "injection" else REWARD
    suite = Suite("s", kind, given, "domain", graded, samples=2, temperature=1.0)
    answer = SimpleNamespace(ids=[1], body=[1], seconds=0.1)
    engine: Any = SimpleNamespace(context=CONTEXT, generate=lambda prompts, sampling: [answer] * len(prompts))
    prompter: Any = Asks()
    found = ANSWERED[kind](Answers(engine, prompter, suite), given)
    scores = {"toxicity": (1.0, 0.0), "injection": (1.0, 1.0)}.get(kind, (0.0, 1.0))
    assert [(one.id, one.score, len(one.samples)) for one in found] == [
        ("t0", scores[0], 2),
        ("t1", scores[1], 2),
        ("long", None, 0),
    ]
    assert "the context holds 30" in found[2].reason
    with pytest.raises(InputError, match="row `long` of `s` cannot be answered: its prompt has"):
        Answers(engine, prompter, suite).every(given)
