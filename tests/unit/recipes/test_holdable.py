"""A budget that cannot be held is refused before training, with the key to change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bloomery.recipes.explain import explain
from bloomery.recipes.holdable import highest
from bloomery.recipes.load import Loaded

from .conftest import CPU

Load = Callable[..., Loaded]
TEXT = "family: tiny\nstart: hot\ndata: {domain: text.jsonl}\nbudget: 8k tokens\noptim: {batch: 125 tokens}\n"
HELD = TEXT + "keep: {general: 1%, hold: true}\n"


def test_a_budget_that_can_be_held_is_refused_nothing(recipe: Load) -> None:
    found = explain(recipe(HELD), CPU)
    assert found.problems == ()
    assert found.plan is not None
    assert found.plan.get("keep.replay") == [0.01, 0.95]
    assert found.plan.get("eval.every") == 4, "sixteen occasions to steer"


@pytest.mark.parametrize(
    ("text", "overrides", "said", "fix"),
    [
        (TEXT + "keep: {general: 1%, rate: 50%}\n", (), "`keep.rate` bounds what `keep.hold` does", "add `hold: true`"),
        (HELD, ("data.curated=none",), "needs curated data to replay", "add it"),
        (HELD, ("data.domain=[]",), "needs domain data to blend it with", "add it"),
        (HELD, ("start=scaffold",), "a scaffold knows nothing", "choose another `start`"),
        (HELD, ("data.share=2%",), "begins with 0.98 of replay, outside `keep.replay: [0.01, 0.95]`", "0.05 and 0.99"),
        (HELD, ("keep.replay=[60%, 90%]",), "begins with 0.5 of replay", "set `data.share` between 0.1 and 0.4"),
        (HELD, ("eval.every=10 steps",), "measures 6 times in 64 steps", "set `eval.every` to 8 steps"),
        (HELD, ("budget=500 tokens",), "measures 4 times in 4 steps, and needs 8", "at least 1000 tokens"),
        (HELD + "phases: [{name: a, length: 50%}, {name: b, length: 50%}]\n", (), "several, one", "remove `phases`"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_refused(
    recipe: Load, text: str, overrides: tuple[str, ...], said: str, fix: str
) -> None:
    problems = [str(problem) for problem in explain(recipe(text, *overrides), CPU).problems]
    assert any(said in problem and fix in problem for problem in problems), problems


def test_the_most_replay_is_what_sources_make_up_together() -> None:
    parts = {"small": 0.9, "big": 0.1}
    plenty, little = {"small": 1.0, "big": 1.0}, {"small": 0.1, "big": 1.0}
    assert highest(0.95, parts, plenty) == 0.95
    # at R: 0.1 of the small one, and three times its tenth of R of the big one
    assert highest(0.95, parts, little) == pytest.approx(0.1 / 0.7)
    assert highest(0.95, {"only": 1.0}, {"only": 0.3}) == pytest.approx(0.3)


def test_a_replay_that_the_caps_do_not_allow_is_said_before_the_run(recipe: Load) -> None:
    found = explain(recipe(HELD, "budget=10M tokens", "data.repetition_cap=1"), CPU)
    assert any("`keep.hold` can replay up to" in note and "data.repetition_cap" in note for note in found.notes)
    assert not any("`keep.hold`" in note for note in explain(recipe(HELD), CPU).notes)
