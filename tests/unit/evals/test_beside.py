"""Answers of several models beside each other: scores, standings, what has no verdict, and how it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from made_up import model
from told import Told

from bloomery.core.errors import InputError
from bloomery.evals.beside import Standings, side_by_side
from bloomery.evals.figures import to_json as figures_of
from bloomery.evals.markdown import to_markdown
from bloomery.evals.measures import differences
from bloomery.evals.page import to_html
from bloomery.evals.report import make_report
from bloomery.evals.results import EvalResult
from bloomery.evals.runner import evaluate
from bloomery.evals.standings import lines, to_json
from bloomery.evals.suites import Suite
from bloomery.evals.ungraded import ungraded
from bloomery.graders.ask import Said
from bloomery.graders.load import Given

ROWS = [{"id": f"q{n}", "prompt": f"question {n}"} for n in range(12)]
SUITE = Suite("pairs", "pairwise", ROWS, "skills", {"type": "pairwise"})


def longer(questions: Any) -> list[Said]:
    """A judge that prefers the longer answer, and has no word for what it does not understand."""
    found = []
    for question in questions:
        text = question.messages[1]["content"]
        first, second = (part.split("\n[/data-")[0].rpartition("]\n")[2] for part in text.split("answer:\n")[1:])
        if "?" in first + second:
            found.append(Said("I would say the one with the question mark"))
            continue
        better = "neither" if len(first) == len(second) else "first" if len(first) > len(second) else "second"
        found.append(Said(json.dumps({"reasoning": "", "better": better})))
    return found


def answered(tokenizer: Any, name: str, say: Any) -> EvalResult:
    engine = Told(tokenizer, lambda prompt, number: say(number))
    return evaluate(engine, tokenizer, [SUITE], model=name, beside=True)


@pytest.fixture
def three(tokenizer: Any) -> list[EvalResult]:
    return [
        answered(tokenizer, "long", lambda n: "xxxx"),
        answered(tokenizer, "mixed", lambda n: "xxxxx" if n < 4 else "xx"),
        answered(tokenizer, "short", lambda n: "x" if n else "?"),
    ]


def test_every_answer_is_scored_by_what_it_won_and_the_judge_is_asked_in_both_orders(three: list[EvalResult]) -> None:
    asked: list[int] = []

    def ask(questions: Any) -> list[Said]:
        asked.append(len(questions))
        return longer(questions)

    scored, [table], samples = side_by_side(three, [SUITE], Given(ask=ask))
    assert asked[0] == 2 * 3 * 12
    long, mixed, short = (one.suites["pairs"] for one in scored)
    assert [record.score for record in long.records] == [0.0, *[0.5] * 3, *[1.0] * 8]
    assert [record.score for record in mixed.records] == [1.0, *[1.0] * 3, *[0.5] * 8]
    assert short.records[0].score is None and "cannot be used, twice: 'I would say" in short.records[0].reason
    assert short.unscorable == 1 and [record.score for record in short.records[1:]] == [0.0] * 11
    assert (table.prompts, table.pairs, table.unjudged) == (12, 36, 2)
    assert table.tournament is not None
    ranked = {one.model: one for one in table.tournament.standings}
    assert ranked["long"].win_rate.estimate > ranked["mixed"].win_rate.estimate > ranked["short"].win_rate.estimate
    assert all(one.win_rate.low < one.win_rate.estimate < one.win_rate.high for one in ranked.values())
    assert table.tournament.position_bias.estimate == 0 and (ranked["long"].wins, ranked["long"].losses) == (19, 4)
    assert len(samples) == 36 and sum(one["won_by_first"] is None for one in samples) == 2
    assert samples[0] == {
        "suite": "pairs", "id": "q0", "prompt": "question 0", "first": {"model": "long", "answer": "xxxx"},
        "second": {"model": "mixed", "answer": "xxxxx"}, "won_by_first": 0.0, "turned_with_the_order": False,
        "reason": "",
    }  # fmt: skip


def test_a_judge_that_goes_by_position_is_found_out(three: list[EvalResult]) -> None:
    first = Given(ask=lambda questions: [Said('{"reasoning": "", "better": "first"}')] * len(questions))
    _, [table], _ = side_by_side(three[:2], [SUITE], first)
    assert table.tournament is not None and table.tournament.swapped == 1.0
    assert table.tournament.position_bias.estimate == 0.5
    told = "\n".join(lines([table]))
    assert "the order decided 100.0% of them" in told and "preferred by +50.0 points" in told


def test_where_no_pair_has_a_verdict_nobody_is_ranked_and_the_reason_is_told(three: list[EvalResult]) -> None:
    prose = Given(ask=lambda questions: [Said("well, well")] * len(questions))
    scored, [table], samples = side_by_side(three[:2], [SUITE], prose)
    assert table.tournament is None and table.unjudged == table.pairs == 12
    assert lines([table])[1].startswith("  12 pairs of answers to 12 prompts, each judged in both orders; none has a")
    assert [one.answers for one in ungraded(scored)] == [12, 12]
    assert all(one["won_by_first"] is None and "'well, well'" in one["reason"] for one in samples)
    assert to_json(table)["standings"] == []


def test_models_of_one_name_are_told_apart_and_one_alone_is_refused(three: list[EvalResult]) -> None:
    _, [table], _ = side_by_side([three[0], three[0]], [SUITE], Given(ask=longer))
    assert table.models == ("long (1)", "long (2)")
    assert table.tournament is not None and {one.ties for one in table.tournament.standings} == {12}
    with pytest.raises(InputError, match="one model cannot be compared"):
        side_by_side(three[:1], [SUITE], Given(ask=longer))


def test_two_models_beside_each_other_have_a_difference(three: list[EvalResult]) -> None:
    scored, _, _ = side_by_side([three[1], three[0]], [SUITE], Given(ask=longer))
    [found] = differences(scored[0], scored[1])
    assert (found.name, found.before, found.after) == ("score", pytest.approx(4 / 12), pytest.approx(8 / 12))


def test_a_suite_of_pairs_needs_another_answer_before_anything_is_generated(tokenizer: Any) -> None:
    engine = Told(tokenizer)
    with pytest.raises(InputError, match=r"(?s)no answer of its own.*name several models: `bloomery compare A B`"):
        evaluate(engine, tokenizer, [SUITE])
    assert engine.asked == []


def test_a_report_shows_the_standings_and_no_row(three: list[EvalResult]) -> None:
    _, tables, _ = side_by_side(three, [SUITE], Given(ask=longer))
    hostile = replace(tables[0], suite="<b>pairs|x", why="<script>")
    start, result = model("ember/mid", 1, 1, 1, 0.8), model("run one", 2, 0.7, 1.002, 0.79, 0.1)
    report = make_report("one", start, result, pairs=[hostile, Standings("none", ("a", "b"), 3, None, 3, "prose")])
    text, page, strict = to_markdown(report), to_html(report), figures_of(report)
    assert "answers beside each other" in text and "| long | " in text and "36 pairs of answers to 12 prompts" in text
    assert "<script>" not in page and "<b>pairs" not in page and "who beats whom" in page
    assert "Pairs of answers" not in text and "none has a verdict: prose" in text
    assert [one["unjudged"] for one in strict["pairs"]] == [2, 3] and "question 0" not in json.dumps(strict)
