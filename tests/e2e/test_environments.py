"""The environment of a recipe: what cannot work is found by its key, and its tasks are rows without an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import bloomery

from bloomery.core.errors import InputError, Where
from bloomery.data.config import SourceSpec
from bloomery.data.readers import Record
from bloomery.data.shapes import detect, to_example
from bloomery.data.turns import plain
from bloomery.recipes.environments import tasks_in
from bloomery.recipes.held_rows import evaluation_rows
from bloomery.recipes.load import recipe_from
from bloomery.recipes.rollouts import refuse_tasks

OWN = """\
class Echo:
    def __init__(self, times=1):
        self.times = times
    @classmethod
    def tasks(cls, rows, times=1):
        return [{"id": str(n), "prompt": f"say {n}", "reference_answer": n} for n in range(rows)]
    def reset(self, row, seed):
        return None
    def step(self, message):
        self.times -= 1
        return [{"role": "user", "content": "again"}], float(len(message["content"]) % 3), self.times < 1, {}
"""
RECIPE = """\
model: tiny
objective: rl
data:
  domain: [{path: tasks.jsonl}]
  curated: [{path: general.jsonl}]
  share: 60%
rollouts: {group: 4, tasks: 3, max_tokens: 5, environment: {type: "own.py:Echo", times: 3, turns: 2}}
schedule: {kind: constant, lr: 4e-3}
budget: 4 steps
trusted: true
eval: {suites: none}
memory: {device: cpu, precision: fp32}
threads: 1
steps: [train, export]
"""


def test_a_row_without_an_answer_is_a_task_and_ends_where_an_answer_would_begin() -> None:
    rows = [
        {"id": "a", "prompt": "What?", "reference_answer": 42},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "What?"}]},
    ]
    for row in rows:
        record = Record(row, Where(Path("x.jsonl"), 1))
        columns = detect(record, SourceSpec(path="x.jsonl"))
        example = to_example(record, columns)
        assert columns.shape == "task" and [one["role"] for one in example.messages][-2:] == ["user", "assistant"]
        assert plain(example.messages[-1]["content"]) == ""
        [told] = evaluation_rows([record], SourceSpec(path="x.jsonl"))
        assert told["messages"][-1]["role"] == "user" and told.get("reference_answer") == row.get("reference_answer")
    with pytest.raises(InputError, match="`objective: sft` trains answers, and the rows of `x` have none"):
        refuse_tasks("sft", {"x": "task"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("own.py:Echo", "repare"), "`rollouts.environment.type: repare` is no environment (did you mean `repair`?)"),
        (('"own.py:Echo"', "repair"), "the environment `repair` has no option `times`"),
        (("own.py:Echo", "nowhere.py:Echo"), "there is no file"),
        (("trusted: true\n", ""), "`rollouts.environment` runs the code of own.py, with your rights"),
        (("turns: 2", "turns: 2, python: nowhere/python"), "`rollouts.environment.python`: there is no file"),
        (("turns: 2", "turns: 0"), "`rollouts.environment.turns: 0`"),
        (("objective: rl", "objective: sft"), "`rollouts` is set, but `objective` is sft"),
    ],
)
def test_what_cannot_work_is_said_by_its_key(here: Path, change: tuple[str, str], said: str) -> None:
    (here / "own.py").write_text(OWN)
    (here / "tasks.jsonl").write_text('{"prompt": "x", "reference_answer": "y"}\n' * 3)
    (here / "rl.yaml").write_text(RECIPE.replace(*change))
    told = bloomery("explain", "rl.yaml", within=here)
    assert told.status == 2 and said in " ".join((told.out + told.err).split())


LACKING = [
    ("", "it has no `reset(row, seed)`, nor `run(task, base_url, api_key)`"),
    ("    def reset(self, row, seed): ...\n", "it has no `step(message)`"),
    ("    def step(self, message): ...\n", "it has no `reset(row, seed)`"),
    (
        "    def run(self, task): ...\n",
        "its `run` cannot be called as `run(task, base_url, api_key)`: too many positional",
    ),
    ("    import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
]


@pytest.mark.parametrize(("body", "said"), LACKING)
def test_a_class_that_cannot_be_asked_is_refused_before_anything_is_read(here: Path, body: str, said: str) -> None:
    (here / "own.py").write_text(f"class Echo:\n    def __init__(self, times=1): ...\n{body}")
    (here / "tasks.jsonl").write_text('{"prompt": "x", "reference_answer": "y"}\n' * 3)
    (here / "rl.yaml").write_text(RECIPE)
    whole = f"`rollouts.environment`: the environment `Echo` of own.py cannot be used: {said}"
    told = bloomery("explain", "rl.yaml", within=here)
    assert told.status == 2 and whole in " ".join((told.out + told.err).split())
    refused = bloomery("run", "rl.yaml", within=here)
    assert refused.status == 2 and whole in " ".join(refused.err.split()) and not (here / "runs" / "rl").exists()


def test_tasks_are_written_and_learned_in_an_environment_of_ones_own(here: Path) -> None:
    (here / "own.py").write_text(OWN)
    (here / "rl.yaml").write_text(RECIPE.replace("[train, export]", "[train, evaluate, export]"))
    told = bloomery("rl", "tasks", "rl.yaml", "--rows", "60", "--out", "tasks.jsonl", within=here)
    assert told.status == 0 and "60 tasks" in told.err
    assert json.loads((here / "tasks.jsonl").read_text().splitlines()[39])["prompt"] == "say 39"
    done = bloomery("run", "rl.yaml", within=here)
    assert done.status == 0, done.err
    log = sorted((here / "runs" / "rl" / "rollouts").iterdir())
    shown = [json.loads(line) for path in log for line in path.read_text().splitlines()]
    assert all(len(one["turns"]) == 2 and one["reward"] is not None for one in shown)
    assert {turn["kind"] for one in shown for turn in one["turns"]} == {"clean"}
    assert any(one["why"] == "trained" for one in shown)
    held = {json.loads(line)["id"] for line in (here / "runs" / "rl" / "eval" / "tasks.jsonl").read_text().splitlines()}
    assert len(held) >= 6 and not held & {one["task"] for one in shown}  # what is played for the report is not trained
    found = json.loads((here / "runs" / "rl" / "eval" / "start" / "evaluation.json").read_text())["suites"]
    assert [
        (one["name"], one["kind"], one["examples"], one["unscorable"]) for one in found if "tasks" in one["name"]
    ] == [("tasks played", "environment", len(held), 0)]
    said = (here / "runs" / "rl" / "report.md").read_text()
    assert all(f"| tasks played, {name} |" in said for name in ("pass@1", "pass@4", "reward", "turns", "unscorable"))
    events = [json.loads(line) for line in (here / "runs" / "rl" / "events.jsonl").read_text().splitlines()]
    told_of = [event for event in events if event["event"] == "rollouts" and event["rollouts"]]
    assert told_of and all(one["unscorable"] == 0 and one["stopped/turns"] == 1.0 for one in told_of)
    refused = bloomery("explain", "rl.yaml", "objective=sft", "rollouts={}", within=here)
    assert refused.status == 2 and "the rows of `tasks` have none" in " ".join((refused.out + refused.err).split())


GAME = """\
name: game
role: skills
kind: environment
path: games.jsonl
environment: {type: guess, high: 3, turns: 4, right: 0.1}
samples: 2
temperature: 1.0
max_new_tokens: 4
"""


def test_a_game_is_a_suite_and_its_rows_are_told_apart_though_all_begin_alike(here: Path) -> None:
    recipe = recipe_from({"family": "ember", "rollouts": {"environment": {"type": "guess", "high": 3}}})
    (here / "games.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tasks_in(recipe, 40)))
    (here / "game.yaml").write_text(GAME)
    told = bloomery("eval", "tiny", "--suite", "game.yaml", "--limit", "12", "--out", "out", within=here)
    assert told.status == 0 and all(name in told.out for name in ("game", "pass@2", "reward", "turns")), told.err
    records = [json.loads(line) for line in (here / "out" / "records.jsonl").read_text().splitlines()]
    assert len(records) == 12 and all(1 <= one["values"]["turns"] <= 4 and len(one["samples"]) == 2 for one in records)
    assert any(word in records[0]["answer"] for word in ("higher", "lower", "a number"))
    (here / "game.yaml").write_text(GAME.replace("guess", "gues"))
    refused = bloomery("eval", "tiny", "--suite", "game.yaml", within=here)
    assert refused.status == 2 and "the suite `game`: `environment.type: gues`" in " ".join(refused.err.split())
    alone = RECIPE.replace('"own.py:Echo", times: 3', "guess, high: 3").replace("path: tasks", "path: games")
    (here / "rl.yaml").write_text(alone.replace("group: 4,", "group: 4, go: anyway, watch: 2,"))
    done = bloomery("run", "rl.yaml", "budget=2 steps", within=here)
    assert done.status == 0, done.err
    held = (here / "runs" / "rl" / "eval" / "games.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in (here / "runs" / "rl" / "events.jsonl").read_text().splitlines()]
    assert len(held) == 8 and any("held_pass_1" in event for event in events)


def test_an_environment_without_tasks_says_what_to_bring() -> None:
    recipe = recipe_from({"family": "ember", "rollouts": {"environment": {"type": "repair"}}})
    with pytest.raises(InputError, match="has no tasks of its own"):
        tasks_in(recipe, 3)
    guess = recipe_from({"family": "ember", "rollouts": {"environment": {"type": "guess", "high": 5}}})
    assert tasks_in(guess, 2)[1]["messages"] == [{"role": "user", "content": "Guess my number between 1 and 5."}]


DRIVES = """\
import json, urllib.request
class Talks:
    def run(self, task, base_url, api_key):
        if task["id"] == "3":
            raise RuntimeError("a cable is loose")
        if task["id"] == "4":
            return True
        messages = task["messages"]
        for again in ("Once more.", ""):
            body = json.dumps({"model": "any", "messages": messages}).encode()
            headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(f"{base_url}/chat/completions", body, headers)) as told:
                said = json.loads(told.read())["choices"][0]["message"]["content"]
            messages = [*messages, {"role": "assistant", "content": said}, {"role": "user", "content": again}]
        return len(set(said) & set("aeiou")) / 5
"""


def test_an_environment_may_drive_its_rollouts_itself(here: Path) -> None:
    (here / "own.py").write_text(DRIVES)
    lines = [json.dumps({"id": str(n), "prompt": f"say {n}"}) for n in range(5)]
    (here / "tasks.jsonl").write_text("\n".join(lines))
    recipe = RECIPE.replace('"own.py:Echo", times: 3, turns: 2', '"own.py:Talks"')
    alone = recipe.replace("curated: [{path: general.jsonl}]\n  share: 60%", "curated: none")
    (here / "rl.yaml").write_text(alone.replace("group: 4, tasks: 3,", "group: 2, tasks: 26, go: anyway,"))
    done = bloomery("run", "rl.yaml", "budget=1 steps", within=here)
    assert done.status == 0, done.err
    log = sorted((here / "runs" / "rl" / "rollouts").iterdir())
    shown = [json.loads(line) for path in log for line in path.read_text().splitlines()]
    why = {one["task"]: one["why"] for one in shown}
    assert set(why) == {"0", "1", "2", "3", "4"}
    assert {one["task"] for one in shown if one["reward"] is None} == {"3", "4"}
    assert all(len(one["turns"]) == 2 for one in shown if one["reward"] is not None)
    assert "RuntimeError: a cable is loose" in why["3"]
    assert "reward" in why["4"] and "unscorable" in why["4"]  # True is no number


TALK = """\
name: talk
role: skills
kind: environment
path: tasks.jsonl
environment: {type: "own.py:Talks"}
temperature: 1.0
max_new_tokens: 5
"""


def test_an_environment_that_drives_itself_is_a_suite_and_its_failures_are_apart(here: Path) -> None:
    (here / "own.py").write_text(DRIVES)
    (here / "tasks.jsonl").write_text("\n".join(json.dumps({"id": str(n), "prompt": f"say {n}"}) for n in range(5)))
    (here / "talk.yaml").write_text(TALK)
    told = bloomery("eval", "tiny", "--suite", "talk.yaml", "--trusted", "--out", "out", within=here)
    assert told.status == 0, told.err
    records = [json.loads(line) for line in (here / "out" / "records.jsonl").read_text().splitlines()]
    assert [one["id"] for one in records if one["score"] is None] == ["3", "4"]
    assert all(one["values"]["turns"] == 2 for one in records[:3]) and "a cable is loose" in records[3]["reason"]
    assert records[0]["answer"].count("assistant: ") == 2 and "user: Once more." in records[0]["answer"]
    assert "2 of 5 answers of tiny to talk could not be graded" in told.out
