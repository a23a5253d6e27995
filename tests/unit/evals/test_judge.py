"""Models of this machine as judges: what they are asked, in what form they answer, and what has no verdict."""

from __future__ import annotations

import json
from typing import Any

import pytest
from told import Told

from bloomery.engine.native import NativeEngine
from bloomery.evals.judge import EngineJudge
from bloomery.evals.judged import Judging, judged, judges_of
from bloomery.evals.prompts import Prompter
from bloomery.evals.results import EvalResult, load_result
from bloomery.evals.runner import evaluate
from bloomery.evals.suites import Suite
from bloomery.graders.ask import Question
from bloomery.graders.load import Given, load_grader
from bloomery.graders.payload import Sample

SCORE = {"type": "score_model", "judge": "a judge", "input": "Rate {{ sample.output_text }}", "range": [0, 10]}
LABEL = {"type": "object", "properties": {"better": {"enum": ["first", "second"]}}, "required": ["better"]}


def bench(tokenizer: Any, answers: Any, context: int = 2048) -> EngineJudge:
    return EngineJudge(Told(tokenizer, answers, context=context), Prompter(tokenizer, "auto"))


def sample(answer: str, name: str = "a") -> Sample:
    return Sample(name, [{"role": "user", "content": "why?"}, {"role": "assistant", "content": answer}])


def test_a_named_judge_scores_what_it_is_shown(tokenizer: Any) -> None:
    judge = bench(tokenizer, lambda prompt, n: json.dumps({"reasoning": "", "score": 9 if "crowns" in prompt else 2}))
    asked: list[str] = []
    given = Given(judges=lambda name: asked.append(name) or judge)  # type: ignore[func-returns-value]
    scores = load_grader({**SCORE, "scale": [0, 10]}, given=given).grade([sample("7 crowns"), sample("grams", "b")])
    assert [one.aggregate_reward_score for one in scores] == [0.9, 0.2] and asked == ["a judge"]


def test_prose_and_questions_beyond_the_context_have_no_score(tokenizer: Any) -> None:
    prose = load_grader(SCORE, given=Given(judges=lambda name: bench(tokenizer, {"Rate": "I like it, 9 of 10."})))
    [score] = prose.grade([sample("x")])
    assert score.aggregate_reward_score is None and "cannot be used, twice: 'I like it" in score.reason
    judge = bench(tokenizer, lambda prompt, n: '{"reasoning": "", "score": 3}', context=1400)
    short, long = load_grader(SCORE, given=Given(judges=lambda name: judge)).grade(
        [sample("x"), sample("x" * 900, "b")]
    )
    assert short.aggregate_reward_score == 3.0
    assert long.aggregate_reward_score is None and "the judge's context holds 1,400" in long.reason


def test_an_engine_is_held_to_the_form_of_the_reply(tokenizer: Any) -> None:
    from toys import toy_model

    loaded = toy_model(vocab_size=290, eos_token_id=0, max_position_embeddings=512)
    loaded.tokenizer = tokenizer
    judge = EngineJudge(NativeEngine(loaded), Prompter(tokenizer, "auto"))
    said = judge([Question([{"role": "user", "content": f"which? {n}"}], LABEL) for n in range(3)])
    assert all(json.loads(one.text)["better"] in ("first", "second") for one in said)
    cut = judge([Question([{"role": "user", "content": "?"}], LABEL, sampling={"max_completion_tokens": 2})])
    assert "cut at its length limit" in cut[0].problem
    rows = judge.embed(["item 3", "item 3", "crowns"])
    assert rows[0] == pytest.approx(rows[1], abs=1e-5) and rows[0] != pytest.approx(rows[2], abs=1e-3)
    with pytest.raises(ValueError, match="a text has"):
        judge.embed(["x" * 2000])


def test_texts_of_a_reply_have_an_end(tokenizer: Any) -> None:
    from bloomery.evals.judge import _bounded

    schema = {"properties": {"reasoning": {"type": "string"}, "label": {"type": "string", "enum": ["a"]}}}
    assert _bounded(schema)["properties"] == {
        "reasoning": {"type": "string", "maxLength": 300},
        "label": {"type": "string", "enum": ["a"]},
    }


def test_cosine_compares_the_embeddings_of_a_named_model() -> None:
    given = Given(embedders=lambda name: lambda texts: [[1.0, float("b" in text)] for text in texts])
    spec = {"type": "text_similarity", "evaluation_metric": "cosine", "embedder": "ember"}
    same, other, none = load_grader(spec, given=given).grade(
        [Sample(str(n), [{"role": "assistant", "content": "b"}], wanted) for n, wanted in enumerate(("b", "a", None))]
    )
    assert same.aggregate_reward_score == pytest.approx(1.0) and other.aggregate_reward_score == pytest.approx(0.5**0.5)
    assert none.aggregate_reward_score is None and "reference_answer" in none.reason


def test_an_embedder_that_fails_scores_nothing() -> None:
    def fails(texts: Any) -> Any:
        raise OSError("down")

    spec = {"type": "text_similarity", "evaluation_metric": "cosine", "embedder": "ember"}
    [score] = load_grader(spec, given=Given(embedders=lambda name: fails)).grade(
        [Sample("a", [{"role": "assistant", "content": "b"}], "b")]
    )
    assert score.aggregate_reward_score is None and "OSError: down" in score.reason


def test_a_result_says_who_judged_and_whether_that_was_the_model_itself(tokenizer: Any, tmp_path: Any) -> None:
    judge = bench(tokenizer, lambda prompt, n: '{"reasoning": "", "score": 1}')
    rows = [{"prompt": "q"}] * 2
    suites = [
        Suite("s", "generate", rows, "skills", {**SCORE, "range": [0, 1]}),
        Suite("t", "bpb", [{"text": "a b"}], "general"),
    ]
    judging = Judging(Given(judges=lambda name: judge), frozenset({"a judge"}))
    found = evaluate(Told(tokenizer), tokenizer, suites, tmp_path, model="m", judging=judging)
    assert found.suites["s"].value == 1.0 and load_result(tmp_path) == found
    other = EvalResult("n", {"s": found.suites["s"]}, 0.0)
    [told] = judged([found, other])
    assert told.said() == ("s is judged by a judge, which is m and n itself: a model tends to prefer its own answers")
    plain = evaluate(Told(tokenizer), tokenizer, suites, judging=Judging(Given(judges=lambda name: judge)))
    assert judged([plain])[0].said() == "s is judged by a judge"


def test_judges_are_named_wherever_they_are_asked() -> None:
    server = {"url": "https://judge.example/v1", "model": "big", "key": {"env": "JUDGE_KEY"}}
    inner = {"a": SCORE, "b": {**SCORE, "judge": server}, "c": {"type": "exact"}}
    assert judges_of({"type": "multi", "graders": inner}) == ["a judge", "big at judge.example"]
    assert judges_of({"type": "endpoint", "url": "https://rewards.example"}) == []
