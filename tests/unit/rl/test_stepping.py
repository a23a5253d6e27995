"""Rollouts of several turns: tokens are exact, the same again at the same seed, and what fails is in no baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environments
import numpy as np
import pytest
from sessions import bridge, tokenizer

from bloomery.core.errors import InputError
from bloomery.engine.protocol import Completion, Request
from bloomery.graders.payload import Metric, Sample, Score
from bloomery.rl.config import RolloutSettings, StepSettings
from bloomery.rl.environments.apart import Apart, Program, rows_of
from bloomery.rl.environments.calculator import Calculator
from bloomery.rl.environments.guess import Guess
from bloomery.rl.environments.interface import Answer, Call, Host
from bloomery.rl.environments.near import Near
from bloomery.rl.environments.repair import Repair
from bloomery.rl.log import RolloutLog
from bloomery.rl.rollouts import Rollout, Task, token_rows
from bloomery.rl.stepping import OUTAGE, Stepping

FILE = Path(environments.__file__)
NAME = "stripping"
END = tokenizer(NAME).convert_tokens_to_ids("<|im_end|>")


@dataclass
class Scripted:
    """Says what it is told, by turn; the log-probability of a token follows from seed, number and place."""

    says: Sequence[str] = ("It is 42.",)
    context: int = 512
    asked: list[list[Request]] = field(default_factory=list)

    def answer(self, requests: Sequence[Request]) -> list[Completion]:
        turn = len(self.asked)
        self.asked.append([*requests])
        return [self._one(request, self.says[min(turn, len(self.says) - 1)]) for request in requests]

    def _one(self, request: Request, text: str) -> Completion:
        whole = [*tokenizer(NAME)(text, add_special_tokens=False)["input_ids"], END]
        ids = whole[: request.sampling.max_new_tokens]
        logp = -((request.sampling.seed + request.number + np.arange(len(ids))) % 97 / 97).astype(np.float32)
        return Completion(tuple(ids), logp, "stop" if ids == whole else "length", 0.0)


def task(name: str = "t", **row: Any) -> Task:
    asked = {"id": name, "messages": [{"role": "user", "content": [{"type": "text", "text": "What is 12 + 30?"}]}]}
    return Task("tasks", f"tasks:0:{name}", {**asked, **row}, np.array([1], np.int32))


def odd(does: str, at: int = 1) -> Task:
    return task(f"{does} {at}", metadata={"does": does, "at": at})


def stepping(host: Host, engine: Any = None, *, group: int = 2, grader: Any = None, **steps: Any) -> Stepping:
    settings = RolloutSettings(group=group, max_tokens=40, seed=3)
    decode = lambda ids: str(tokenizer(NAME).decode(ids, skip_special_tokens=True))  # noqa: E731
    return Stepping(engine or Scripted(), host, bridge(NAME), settings, StepSettings(**steps), decode, grader)


def flat(made: Stepping, tasks: Sequence[Task], step: int = 0) -> list[Rollout]:
    groups, _ = made.collect(tasks, step)
    return [one for group in groups for one in group]


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    """Odd environments in a process, a second a call."""
    host = Apart(Program(FILE, "Odd", {}), 1.0)
    yield host
    host.close()


def test_every_turn_begins_with_all_ids_before_it_and_only_answers_are_trained() -> None:
    made = stepping(Near(environments_of(Guess)), Scripted(["Hello 0", "It is 0.", "again 0"]), turns=3)
    found = flat(made, [task()])
    engine: Any = made.engine
    assert len(engine.asked) == 3 and all(len(one.tree.turns) == 3 for one in found)
    for one in found:
        before: list[int] = []
        for turn, asked in zip(one.tree.turns, engine.asked, strict=True):
            assert turn.kind == "clean" and asked[one.number].prompt == [*before, *turn.bridge]
            before = [*asked[one.number].prompt, *turn.sampled]
        assert one.tree.turns[1].added == ({"role": "user", "content": "higher"},)
        [row] = token_rows([_trained(one)], "tokens")
        assert row.ids.tolist() == before and row.logp_sampled is not None
        trained = row.weight["pg"] > 0
        assert trained.sum() == one.tree.sampled_tokens and (row.logp_sampled[~trained] == 0).all()


def test_the_same_seed_gives_the_same_rollouts_and_another_step_others() -> None:
    def told(step: int) -> list[dict[str, Any]]:
        made = stepping(Near(environments_of(Guess)), Scripted(["It is 5."]), group=3, turns=4)
        return [one.told() for one in flat(made, [task("a"), task("b")], step)]

    assert told(1) == told(1) != told(2)
    hidden = [one["turns"][1]["added"] for one in told(1) if len(one["turns"]) > 1]
    assert hidden[:3] == [hidden[0]] * 3  # rollouts of one task look for the same number


def test_no_more_rollouts_than_may_be_there_at_once_and_each_as_without_that() -> None:
    class Counting(Near):
        most = 0

        def ask(self, calls: Sequence[Call]) -> list[Answer]:
            self.most = max(self.most, len(calls))
            return super().ask(calls)

    def played(**steps: int) -> tuple[list[object], int]:
        host = Counting(environments_of(Guess))
        made = stepping(host, Scripted(["It is 5."]), group=3, turns=4, **steps)
        return [one.told() for one in flat(made, [task("a"), task("b")], 1)], host.most

    (whole, all_six), (few, two) = played(), played(at_once=2)
    assert (all_six, two) == (6, 2) and few == whole


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("nan", "reward: the environment returned nan"),
        ("bool", "reward: the environment returned bool True, not a number"),
        ("text", "reward: the environment returned str '1.0', not a number"),
        ("mute", "returned no message that the model could answer"),
        ("raise", "the environment failed: ValueError: out of order"),
        ("unscorable", "a sensor was off"),
    ],
)
def test_what_is_no_reward_is_unscorable_and_the_others_go_on(apart: Apart, does: str, reason: str) -> None:
    bad, good = flat(stepping(apart, group=1), [odd(does, at=2), odd("reward", at=2)])
    assert bad.reward is None and reason in bad.reason
    assert good.reward == 0.25 and len(good.tree.turns) == 2 and good.components == {"turns": 2.0}


HALF = "cut \ud83d"
TOLD = [{"role": "user", "content": HALF}]


@pytest.mark.parametrize(
    ("tools", "first", "then", "reason"),
    [
        ([], TOLD, [], "reset returned half of a surrogate pair (U+D83D)"),
        ([{"type": "function", "function": {"name": "no name"}}], None, [], "`tools` is no list of"),
        ([{"function": "f"}], None, [], "`tools` is no list of"),
        ([], None, [TOLD, 1.0, True, {}], "step returned half of a surrogate pair (U+D83D)"),
        ([], None, [[], 1.0, True, {"metrics": {HALF: 1.0}}], "step returned half of a surrogate pair"),
        ([], None, [[], 1.0, True, {"metrics": [1.0]}], "`info.metrics` as list [1.0], not as a mapping"),
        ([], None, ValueError(HALF), "the environment failed: ValueError: cut ?"),
    ],
)
def test_what_cannot_be_read_or_kept_is_unscorable_and_ends_no_run(
    tools: Any, first: Any, then: Any, reason: str, tmp_path: Path
) -> None:
    class Own:
        def __init__(self) -> None:
            self.tools = tools

        def reset(self, row: Any, seed: int) -> Any:
            return first

        def step(self, message: Any) -> Any:
            if isinstance(then, Exception):
                raise then
            return then

    [one] = flat(stepping(Near(Own), group=1), [task()])
    assert one.reward is None and reason in one.reason
    RolloutLog(tmp_path).write(0, [[one]])
    assert [told["reason"] for told in RolloutLog(tmp_path).read(0)] == [one.reason]


def test_what_a_grader_says_and_a_row_is_called_can_be_kept_whatever_it_is(tmp_path: Path) -> None:
    class Own:
        name, verified = "own", True

        def grade(self, samples: Sequence[Sample]) -> list[Score]:
            return [Score(one.id, None, (Metric(HALF, 1.0),), HALF) for one in samples]

    [one] = flat(stepping(Near(environments_of(Guess)), group=1, turns=1, grader=Own()), [task(id=HALF)])
    assert one.reason == "cut ?" and "cut ?" in (one.components or {})
    RolloutLog(tmp_path).write(0, [[one]])
    assert [told["task"] for told in RolloutLog(tmp_path).read(0)] == ["cut ?"]


def test_one_that_hangs_or_dies_takes_nothing_along_that_could_go_on() -> None:
    host = Apart(Program(FILE, "Odd", {}), 1.0)
    made = stepping(host, group=1)
    try:
        hung, good = flat(made, [odd("hang"), odd("end")])
        assert hung.reward is None and hung.reason == "the environment took longer than 1 s" and good.reward == 1.0
        dead, late, first = flat(made, [odd("die", at=2), odd("end", at=3), odd("end")], 1)
        assert dead.reason == "the environment's process died (exit status 7)" and first.reward == 1.0
        assert late.reward is None and "process died" in late.reason
        assert [one.reward for one in flat(made, [odd("end")], 2)] == [1.0]  # another process
    finally:
        host.close()


def test_one_that_never_ends_is_stopped_by_turns_tokens_or_the_context(apart: Apart) -> None:
    [one] = flat(stepping(apart, group=1, turns=5), [odd("")])
    assert len(one.tree.turns) == 5 and one.reward == 0.0 and not one.reason
    few = stepping(apart, group=1, turns=50, tokens=10)
    [one] = flat(few, [odd("")])
    assert one.tree.sampled_tokens == 10 and not one.finished and one.reward == 0.0
    narrow = stepping(apart, Scripted(context=100), group=1, turns=50)
    [group], figures = narrow.collect([odd("")], 0)
    assert 1 < len(group[0].tree.turns) < 10 and figures["stopped/context"] == 1.0 and group[0].reward == 0.0
    [one] = flat(stepping(apart, Scripted(context=8), group=1), [odd("")])
    assert one.reward is None and one.reason == "its first prompt leaves no room for an answer"
    late = stepping(apart, group=1, turns=50, deadline=0.0)
    [one] = flat(late, [odd("")])
    assert one.reward is None and one.reason == "it was not over after 0 s"


def test_calls_of_one_step_are_waited_for_together_and_rewards_may_come_at_the_end() -> None:
    host = Apart(Program(FILE, "Slow", {}), 5.0)
    made = stepping(host, group=8)
    try:
        groups, spent = made.collect([task()], 0)
    finally:
        host.close()
    assert [one.reward for one in groups[0]] == [1.0] * 8 and spent["environment_s"] < 8 * 0.3
    host = Apart(Program(FILE, "Worth", {}), 5.0, processes=2)
    try:
        found = flat(stepping(host, turns=2), [task()])
    finally:
        host.close()
    assert [one.reward for one in found] == [0.5, 0.5]
    assert str(found[0].tree.turns[0].added[0]["content"]).startswith("seed ")


@dataclass
class Counts:
    """Rewards the number of messages."""

    name: str = "counts"
    verified: bool = True

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        assert all(one.messages[-1]["role"] == "assistant" for one in samples)
        return [Score(one.id, float(len(one.messages)), (Metric("said", 1.0),)) for one in samples]


def test_a_grader_of_the_recipe_rewards_the_transcript(apart: Apart) -> None:
    good, bad = flat(stepping(apart, group=1, grader=Counts()), [odd("end", at=2), odd("raise", at=2)])
    assert good.reward == 4.0 and good.components == {"turns": 2.0, "said": 1.0, "environment": 1.0}
    assert bad.reward is None and "out of order" in bad.reason


def test_a_run_ends_when_no_environment_works_any_more(apart: Apart) -> None:
    made = stepping(apart, group=1)
    for step in range(OUTAGE - 1):
        assert flat(made, [odd("raise")], step)[0].reward is None
    with pytest.raises(InputError, match="no rollout of 5 steps could be scored: the environment failed"):
        made.collect([odd("raise")], OUTAGE)


def test_an_environment_that_cannot_be_made_is_refused_before_anything_is_sampled() -> None:
    for name, reason in (("Broken", "no licence"), ("Nobody", "defines no class `Nobody`")):
        with pytest.raises(InputError, match=reason):
            Apart(Program(FILE, name, {}), 1.0)
    with pytest.raises(InputError, match="cannot be started"):
        Apart(Program(FILE, "Odd", {}, python="nowhere/python"), 1.0)
    assert [row["id"] for row in rows_of(Program(FILE, "Odd", {}), 3)] == ["0", "1", "2"]
    with pytest.raises(InputError, match="it tells no tasks"):
        rows_of(Program(FILE, "Worth", {}), 3)


def environments_of(made: Any, **kwargs: Any) -> Any:
    return lambda: made(**kwargs)


def _trained(one: Rollout) -> Rollout:
    return Rollout(one.task, one.number, one.tree, advantage=1.0, why="trained")


def test_a_wrong_program_is_answered_with_its_error_and_can_be_repaired() -> None:
    row = {"metadata": {"reference": "charge orders\ntally", "seed": 5}}
    one = Repair(discount=0.5)
    one.reset(row, 0)
    [told], reward, done, _ = one.step({"role": "assistant", "content": "charge ordes\ntally"})
    assert told["content"].startswith("! ") and "ordes" in told["content"] and (reward, done) == (0.0, False)
    [told], reward, done, _ = one.step({"role": "assistant", "content": "charge orders"})
    assert "expected" in told["content"] and "tally" not in told["content"]
    assert one.step({"role": "assistant", "content": "charge orders\ntally"})[1:3] == (0.25, True)


def test_the_calculator_is_called_in_the_form_of_the_chat_template() -> None:
    rows = list(Calculator.tasks(3))
    assert rows == list(Calculator.tasks(3)) and len({row["prompt"] for row in rows}) == 3
    call = '{"name": "calculate", "arguments": {"left": 12, "operator": "+", "right": 30}}'
    says = [f"<tool_call>{call}</tool_call>", "It is 42."]
    made = stepping(Near(environments_of(Calculator, call=0.25)), Scripted(says), group=1)
    made.settings = RolloutSettings(group=1, max_tokens=200)
    [one] = flat(made, [task(reference_answer="42")])
    assert one.reward == 1.25 and len(one.tree.turns) == 2
    assert one.tree.turns[0].reply["tool_calls"][0]["id"] == "call_0_0"
    assert one.tree.turns[1].added[0] | {"name": ""} == {
        "role": "tool", "tool_call_id": "call_0_0", "name": "", "content": "42",
    }  # fmt: skip
    wrong = Calculator()
    wrong.reset({"reference_answer": "1"}, 0)
    function = {"name": "calculate", "arguments": {"left": "x"}}
    [told], reward, *_ = wrong.step({"content": "", "tool_calls": [{"id": "c", "function": function}]})
    assert told["content"].startswith("error") and reward == 0.0
    assert wrong.step({"role": "assistant", "content": "2"})[1:3] == (0.0, True)


def test_guessing_says_higher_or_lower_and_later_guesses_earn_less() -> None:
    game = Guess(1, 100)
    game.reset({}, 7)
    low, high, guesses, done = 1, 100, 0, False
    while not done:
        middle = (low + high) // 2
        told, earned, done, _ = game.step({"content": f"Is it {middle}?"})
        guesses += 1
        low, high = (middle + 1, high) if told and told[0]["content"] == "higher" else (low, middle - 1)
    assert 1 < guesses < 8 and earned == pytest.approx(1 - 0.1 * (guesses - 1))
    assert game.step({"content": "no idea"})[0][0]["content"] == "a number"
    host = Near(environments_of(Guess))
    assert "KeyError" in host.ask([Call(9, "step", {"message": {}})])[0].fault
