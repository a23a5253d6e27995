"""The kinds of suites beyond bits and grades, on engines that answer what they are told."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from told import TEXTS, Told

from bloomery.core.errors import InputError
from bloomery.core.rows import TokenRow
from bloomery.data.builtin import generate
from bloomery.evals.measures import measures
from bloomery.evals.results import load_result
from bloomery.evals.runner import evaluate
from bloomery.evals.suites import Suite


def figures(result: Any, name: str = "s") -> dict[str, float]:
    return {one.name: one.found.estimate for one in measures(result.suites[name])}


def test_several_answers_to_a_row_are_kept_and_graded_one_by_one(tokenizer: Any, tmp_path: Path) -> None:
    engine = Told(tokenizer, lambda prompt, number: "4" if number % 4 == 0 else "5")
    rows = [{"prompt": f"question\u2028{n}", "reference_answer": "4"} for n in range(12)]  # which ends no line
    suite = Suite(
        "s", "generate", rows, "skills", {"type": "exact"}, temperature=0.8, samples=4, metrics=("pass@1", "pass@2")
    )
    result = evaluate(engine, tokenizer, [suite], tmp_path)
    assert figures(result) == {"score": 0.25, "pass@1": 0.25, "pass@2": 0.5}
    assert [one.answer for one in result.suites["s"].records[0].samples] == ["4", "5", "5", "5"]
    assert load_result(tmp_path).suites["s"] == result.suites["s"]


def test_metrics_alone_need_no_grader_and_templates_fill_the_question(tokenizer: Any) -> None:
    engine = Told(tokenizer, lambda prompt, number: "7 crowns" if "cost of item" in prompt else "?")
    rows = [{"what": f"item {n}", "gold": ["the 7 crowns", "x"]} for n in range(3)]
    keys: Any = {
        "prompt": "cost of {{ what }}",
        "columns": {"reference_answer": "gold"},
        "metrics": ("f1", "exact_match"),
    }
    result = evaluate(engine, tokenizer, [Suite("s", "generate", rows, "skills", **keys)])
    assert figures(result) == {"f1": 1.0, "exact_match": 1.0}
    with pytest.raises(InputError, match="`prompt` names `which`"):
        evaluate(engine, tokenizer, [Suite("s", "generate", rows, "skills", **{**keys, "prompt": "{{ which }}"})])


def test_truth_is_the_probability_of_the_true_answers(tokenizer: Any) -> None:
    rows = [{"prompt": "q", "choices": ["crowns", "grams", "items"], "true": [1, 2]}]
    found = figures(evaluate(Told(tokenizer, None, "grams"), tokenizer, [Suite("s", "truth", rows, "truthfulness")]))
    assert found["mc1"] == 1.0 and found["mc2"] > 0.66
    found = figures(evaluate(Told(tokenizer, None, "crowns"), tokenizer, [Suite("s", "truth", rows, "truthfulness")]))
    assert found["mc1"] == 0.0 and found["mc2"] < 0.66
    with pytest.raises(InputError, match="`true` must list numbers"):
        evaluate(Told(tokenizer), tokenizer, [Suite("s", "truth", [rows[0] | {"true": [0, 1, 2]}], "truthfulness")])


def test_bias_rows_are_balanced_and_a_stereotyping_engine_has_a_high_score(tokenizer: Any) -> None:
    rows = list(generate("bias"))
    assert len(rows) == 192
    for row in rows:
        assert row["choices"][row["answer"]] or row["answer"] == 2
    told = [row for row in rows if row["metadata"]["condition"] == "disambig"]
    assert np.mean([row["answer"] == row["metadata"]["target"] for row in told]) == 0.5
    assert np.mean([row["metadata"]["target"] == 0 for row in rows]) == 0.5

    class Biased(Told):
        def score(self, rows: Sequence[TokenRow]) -> list[Any]:
            return [np.array([0.0] + [-cost(number)] * (len(row) - 1)) for number, row in enumerate(rows)]

    def cost(number: int) -> float:
        row, choice = rows[number // 3], number % 3
        about = row["metadata"]
        wanted = about["target"] if about["polarity"] == "neg" else 1 - about["target"]
        return 0.0 if choice == wanted else 1.0

    found = figures(evaluate(Biased(tokenizer), tokenizer, [Suite("s", "choice", rows, "bias")]))
    assert found["bias_ambiguous"] == found["bias_disambiguated"] == 1.0
    assert found["accuracy_ambiguous"] == 0.0 and found["accuracy_disambiguated"] == 0.5


def test_toxicity_counts_the_worst_of_the_continuations(tokenizer: Any) -> None:
    engine = Told(tokenizer, lambda prompt, number: "you idiot" if number in (0, 1, 4) else "kind")
    rows = [{"prompt": f"p{n}"} for n in range(4)]
    suite = Suite("s", "toxicity", rows, "toxicity", {"type": "regex", "pattern": "idiot"}, temperature=1.0, samples=3)
    found = figures(evaluate(engine, tokenizer, [suite]))
    assert found == {"score": 0.5, "expected_max_toxicity": 0.5, "toxicity_probability": 0.5}


def test_an_injected_answer_holds_the_canary_and_saying_nothing_is_not_doing_the_task(tokenizer: Any) -> None:
    rows = list(generate("injection"))
    assert all(row["canary"] in row["prompt"] and row["answer"].lower() in row["prompt"].lower() for row in rows)
    assert all(row["canary"].lower() != row["answer"].lower() for row in rows)
    obeys = Told(tokenizer, lambda prompt, number: rows[number]["canary"].lower())
    found = figures(evaluate(obeys, tokenizer, [Suite("s", "injection", rows, "injection")]))
    assert found == {"score": 0.0, "injected": 1.0, "task_done": 0.0}
    silent = Told(tokenizer, lambda prompt, number: "")
    found = figures(evaluate(silent, tokenizer, [Suite("s", "injection", rows, "injection")]))
    assert found == {"score": 1.0, "injected": 0.0, "task_done": 0.0}


def test_extraction_finds_what_was_learnt_by_heart_and_not_what_was_not(tokenizer: Any) -> None:
    known, other = (" ".join(f"{w}{n * k}" for n in range(30)) for w, k in (("item", 7), ("gram", 3)))
    engine = Told(tokenizer, lambda prompt, number: known[len(prompt) :] if known.startswith(prompt) else "no")
    rows = [{"text": known, "control": other}, {"text": "short", "control": other}]
    result = evaluate(engine, tokenizer, [Suite("s", "extraction", rows, "privacy")])
    first, second = result.suites["s"].records
    assert (first.score, first.values["extracted"], first.values["extracted_control"]) == (0.0, 1.0, 0.0)
    assert second.score is None and "fewer than" in second.reason
    answer = [{"role": "user", "content": TEXTS[0]}, {"role": "assistant", "content": known}]
    whole = [{"text": answer, "control": answer}]
    engine = Told(tokenizer, lambda prompt, number: known)
    assert evaluate(engine, tokenizer, [Suite("s", "extraction", whole, "privacy")]).suites["s"].records[0].score == 0.0


def test_exposure_is_the_rank_of_a_secret_among_others_like_it(tokenizer: Any) -> None:
    rows = list(generate("canaries", {"count": 2}))
    engine = Told(tokenizer, None, likes=rows[0]["secret"])
    planted, other = evaluate(engine, tokenizer, [Suite("s", "exposure", rows, "privacy")]).suites["s"].records
    assert (planted.score, planted.values["exposure"]) == (0.0, 8.0)
    assert planted.values["exposure_control"] < 1 and other.values["exposure"] == 0.0
    with pytest.raises(InputError, match="too short to be one of many"):
        evaluate(engine, tokenizer, [Suite("s", "exposure", [rows[0] | {"secret": "12"}], "privacy")])


def test_canaries_are_the_same_rows_wherever_they_are_asked_for() -> None:
    assert list(generate("canaries", {"count": 3})) == list(generate("canaries", {"count": 3}))
    thrice = list(generate("canaries", {"count": 2, "repeat": 3}))
    assert len({row["id"] for row in thrice}) == 6 and len({row["text"] for row in thrice}) == 2


def test_a_rubric_weighs_every_criterion_by_itself(tokenizer: Any, tmp_path: Path) -> None:
    code = (
        "def grade(sample):\n    return float(sample['metadata']['criterion'] in sample['messages'][-1]['content'])\n"
    )
    (tmp_path / "judge.py").write_text(code)
    rubric = [{"criterion": "polite", "weight": 3}, "short", {"criterion": "rude", "weight": -2}]
    rows = [{"prompt": f"q{n}", "rubric": rubric} for n in range(3)]
    said = ["polite and rude", "short", "rude"]
    engine = Told(tokenizer, lambda prompt, number: said[number])
    grader = {"type": "python", "path": "judge.py", "trusted": True}
    result = evaluate(engine, tokenizer, [Suite("s", "rubric", rows, "skills", grader)], base=tmp_path)
    assert [record.score for record in result.suites["s"].records] == [0.25, 0.25, 0.0]
    with pytest.raises(InputError, match="no criterion that adds"):
        bad = Suite("s", "rubric", [{"prompt": "q", "rubric": [{"criterion": "x", "weight": -1}]}], "skills", grader)
        evaluate(engine, tokenizer, [bad], base=tmp_path)


def test_a_pairwise_suite_stands_the_answer_beside_the_rows_own(tokenizer: Any, tmp_path: Path) -> None:
    code = (
        "def grade(sample):\n"
        "    a, b = len(sample['messages'][-1]['content']), len(sample['metadata']['other'])\n"
        "    return (a > b) - (a < b)\n"
    )
    (tmp_path / "judge.py").write_text(code)
    rows = [{"prompt": "q", "reference_answer": "xx"}] * 3
    engine = Told(tokenizer, lambda prompt, number: "x" * (number + 1))
    grader = {"type": "python", "path": "judge.py", "trusted": True, "scale": [-1, 1]}
    result = evaluate(engine, tokenizer, [Suite("s", "pairwise", rows, "skills", grader)], base=tmp_path)
    assert [record.score for record in result.suites["s"].records] == [0.0, 0.5, 1.0]
    with pytest.raises(InputError, match="no answer of its own"):
        evaluate(engine, tokenizer, [Suite("s", "pairwise", [{"prompt": "q"}], "skills", grader)], base=tmp_path)


@pytest.mark.parametrize(("kind", "module"), [("lm_eval", "lm_eval"), ("inspect", "inspect_ai")])
def test_a_package_that_is_missing_is_named_with_its_command(tokenizer: Any, kind: Any, module: str) -> None:
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    suite = Suite("s", kind, [], "general", tasks=("x",), trusted=True)
    with pytest.raises(InputError, match=r"pip install 'bloomery\[eval\]'"):
        evaluate(Told(tokenizer), tokenizer, [suite])
