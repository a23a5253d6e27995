"""Programs against tests, and users' functions by the signatures of TRL and OpenAI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.core.sandbox_level import require
from bloomery.graders.code import program_of
from bloomery.graders.load import load_grader
from bloomery.graders.payload import Sample, Score


def sample(answer: str, name: str = "a", **metadata: Any) -> Sample:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    return Sample(name, messages, metadata.pop("reference", None), metadata)


def code(answer: str, spec: dict[str, Any] | None = None, **metadata: Any) -> Score:
    try:
        require("isolated")
        level: dict[str, Any] = {}
    except InputError:  # the grading itself is the same at both levels; the walls have tests of their own
        level = {"level": "process", "trusted": True}
    return load_grader({"type": "code", **level, **(spec or {})}).grade([sample(answer, **metadata)])[0]


ADD = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nDone."
CASES = [{"input": "1 2\n", "output": "3"}, {"input": "5 5", "output": "10\n"}]
SUM = "a, b = map(int, input().split())\nprint(a + b)  "


@pytest.mark.parametrize(
    ("answer", "tests", "score"),
    [
        (ADD, ["assert add(1, 2) == 3", "assert add('a', 'b') == 'ab'"], 1),
        (ADD, "assert add(1, 2) == 4", 0),
        ("def add(a, b): return", ["assert add(1, 2) == 3"], 0),
        ("not python", ["assert True"], 0),
        ("import sys; sys.exit(0)", ["assert add(1, 2) == 3"], 0),
        ("import os; os._exit(0)", ["assert add(1, 2) == 3"], 0),
        ("print('x 1 ')", ["assert add(1, 2) == 3"], 0),
        (ADD, None, None),
        (ADD, [], None),
        (ADD, ["assert ("], None),
        (ADD, [1], None),
    ],
)
def test_asserts_pass_or_fail_and_broken_tests_score_nothing(answer: str, tests: Any, score: float | None) -> None:
    got = code(answer, tests=tests)
    assert got.aggregate_reward_score == score and (score == 1 or got.reason)


def test_cases_compare_what_is_printed() -> None:
    assert code(SUM, cases=CASES).aggregate_reward_score == 1
    half = code("print(3)", {"score": "share"}, cases=CASES)
    assert half.aggregate_reward_score == 0.5 and "'5 5' it printed '3" in half.reason
    assert code("print(3)", cases=CASES).aggregate_reward_score == 0
    assert code("while True: pass", {"seconds": 0.5}, cases=CASES[:1]).aggregate_reward_score == 0
    assert code(SUM, cases=[{"input": "1"}]).aggregate_reward_score is None
    assert code(SUM, cases=[]).aggregate_reward_score is None
    assert code(SUM, cases=[{"input": 1, "output": 2}]).aggregate_reward_score is None


def test_the_last_block_is_the_program() -> None:
    assert program_of("```py\na\n```\nor\n```\nb\n```") == "b\n"
    assert program_of("print(1)") == "print(1)"


def test_a_models_code_runs_with_the_users_rights_only_when_they_say_so() -> None:
    with pytest.raises(InputError, match="trusted: true"):
        load_grader({"type": "code", "level": "process"})
    with pytest.raises(InputError, match="in this process"):
        load_grader({"type": "code", "level": "trusted", "trusted": True})


def function(folder: Path, body: str, **more: Any) -> Any:
    (folder / "reward.py").write_text(body)
    return load_grader({"type": "python", "path": "reward.py", "trusted": True, **more}, folder)


TRL = """
def reward(prompts, completions, label, reference_answer, **kwargs):
    assert kwargs["topic"] == ["sums", None]
    return [1.0 if c[0]["content"] == l else None for c, l in zip(completions, label)]
"""


def test_trls_signature_is_found_and_called_once_for_all(tmp_path: Path) -> None:
    grader = function(tmp_path, TRL, function="reward")
    scores = grader.grade([sample("x", label="x", topic="sums"), sample("x", label="y")])
    assert [s.aggregate_reward_score for s in scores] == [1.0, None]
    assert "nothing" in scores[1].reason and grader.grade([]) == []


def test_a_column_that_trls_signature_asks_for_and_no_row_has_is_named(tmp_path: Path) -> None:
    body = "def grade(prompts, completions, label, bonus=0, *, more=1, **kw): return [1.0] * len(label)"
    grader = function(tmp_path, body)
    [score] = grader.grade([sample("x", lable="x")])
    assert score.aggregate_reward_score is None
    assert score.reason.startswith("row `a` has no `label` (did you mean `lable`?), which `grade` asks for")
    assert grader.grade([sample("x", label="x")])[0].aggregate_reward_score == 1.0
    filled = (
        "from functools import partial\n@partial(partial, label=1)\ndef grade(completions, label, **kw): return [0.5]"
    )
    assert function(tmp_path, filled).grade([sample("x")])[0].aggregate_reward_score == 0.5


@pytest.mark.parametrize(
    "body",
    ["return [1.0]", "return 1.0", "return {'a': 1}", "raise ValueError('x')", "return [float('nan'), True]"],
)
def test_a_wrong_list_scores_nobody(tmp_path: Path, body: str) -> None:
    grader = function(tmp_path, f"def grade(completions, **kwargs): {body}")
    scores = grader.grade([sample("x"), sample("y")])
    assert [s.aggregate_reward_score for s in scores] == [None, None] and all(s.reason for s in scores)


def test_async_rewards_are_awaited(tmp_path: Path) -> None:
    grader = function(tmp_path, "async def grade(prompts, completions, **kw): return [0.5] * len(prompts)")
    assert grader.grade([sample("x")])[0].aggregate_reward_score == 0.5


def test_every_level_gives_the_same_scores(tmp_path: Path) -> None:
    body = "def grade(sample): return len(sample['messages'][-1]['content'])"
    for level in ("trusted", "process", "isolated"):
        try:
            require(level)
        except InputError as error:
            pytest.skip(str(error))
        assert function(tmp_path, body, level=level).grade([sample("xyz")])[0].aggregate_reward_score == 3.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"path": "reward.py", "source": "x"}, "only one"),
        ({}, "only one"),
        ({"path": "reward.py", "level": "proces"}, "did you mean `process`"),
        ({"path": "reward.py", "signature": "trll", "trusted": True}, "did you mean `trl`"),
        ({"source": "def grade(sample, item): return 1", "level": "process"}, "trusted: true"),
    ],
)
def test_a_python_grader_that_cannot_work_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_grader({"type": "python", **spec})
