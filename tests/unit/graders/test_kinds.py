"""Similarity, maths, choices, JSON and sums: the known cases of each, and what each cannot score."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.core.errors import InputError
from bloomery.graders.arithmetic import expression
from bloomery.graders.load import Given, load_grader
from bloomery.graders.payload import Sample, Score
from bloomery.graders.similarity import METRICS, cosine, fuzzy_match, gleu, meteor, rouge_l, rouge_n, word_f1


def scored(spec: dict[str, Any], answer: str, reference: Any = None, **metadata: Any) -> Score:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    return load_grader(spec).grade([Sample("a", messages, reference, metadata)])[0]


def grade(spec: dict[str, Any], answer: str, reference: Any = None, **metadata: Any) -> float | None:
    return scored(spec, answer, reference, **metadata).aggregate_reward_score


CAT, MAT = "the cat sat on the mat", "the cat is on the mat"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (rouge_n(CAT, MAT, 1), 5 / 6),
        (rouge_n(CAT, MAT, 2), 3 / 5),
        (rouge_n("one", "one", 2), 0.0),
        (rouge_l(CAT, MAT), 5 / 6),
        (rouge_l("police killed the gunman", "police kill the gunman"), 3 / 4),  # Lin 2004
        (word_f1("in the year 1969", "1969"), 0.4),
        (fuzzy_match("kitten", "sitting"), 8 / 13),  # rapidfuzz's fuzz.ratio: 61.538
        (fuzzy_match("", ""), 1.0),
        (gleu(CAT, MAT), 9 / 18),
        (meteor("on the mat sat the cat", "the cat sat on the mat"), 1 - 0.5 * (3 / 6) ** 3),
        (cosine([1, 0], [1, 1]), 1 / math.sqrt(2)),
        (cosine([1, 0], [-1, 0]), 0.0),
    ],
)
def test_metrics_give_the_values_that_their_papers_and_packages_give(value: float, wanted: float) -> None:
    assert value == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("answer", "reference", "wanted"),
    [
        ("The cat sat on the mat.", "The cat is on the mat.", 0.4889230224349009),
        ("the the the the the the the", "the cat is on the mat", 0.07809849842300637),  # Papineni's: 2/7 at order 1
        ("It costs 1,000.5 crowns.", "It cost 1,000.50 crowns!", 0.12703318703865366),
        ("It is well-known, and true.", "It's known & true.", 0.13134549472120788),
        ("a b", "a b c d e f", math.exp(1 - 6 / 2)),
        ("yes", "no", 0.0),
        ("Yes.", "Yes.", 1.0),
        ("", "", 1.0),
    ],
)
def test_bleu_of_a_sentence_is_sacrebleus(answer: str, reference: str, wanted: float) -> None:
    assert METRICS["bleu"](answer, reference) == pytest.approx(wanted)  # sacrebleu 2.6, sentence_bleu


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_every_metric_is_in_0_to_1_and_1_for_equal_texts(a: str, b: str) -> None:
    for name, metric in METRICS.items():
        assert 0 <= metric(a, b) <= 1 + 1e-12, name
        if name in ("fuzzy_match", "bleu", "gleu", "meteor"):
            assert metric(a, a) == pytest.approx(1), name


@given(st.lists(st.sampled_from("ab c"), max_size=30), st.lists(st.sampled_from("ab c"), max_size=30))
def test_what_two_texts_share_in_order_is_the_textbooks_length(a: list[str], b: list[str]) -> None:
    from bloomery.graders.similarity import shared_in_order

    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    assert shared_in_order(a, b) == table[-1][-1]


def test_text_similarity_takes_the_nearest_reference_and_refuses_unknown_metrics() -> None:
    assert grade({"type": "text_similarity"}, "Rome", ["Paris", "rome"]) == 1
    assert grade({"type": "text_similarity"}, "Rome") is None
    with pytest.raises(InputError, match=r"bleurt.*not measured here"):
        load_grader({"type": "text_similarity", "evaluation_metric": "bleurt"})


def test_cosine_needs_embeddings_and_uses_those_it_is_given() -> None:
    spec = {"type": "text_similarity", "evaluation_metric": "cosine"}
    sample = Sample("a", [{"role": "assistant", "content": "x"}], "xy")
    embedding = Given(embed=lambda texts: [[text.count("x"), text.count("y")] for text in texts])
    [score] = load_grader(spec, given=embedding).grade([sample])
    assert score.aggregate_reward_score == pytest.approx(1 / math.sqrt(2))
    with pytest.raises(InputError, match="embeddings"):
        load_grader(spec).grade([sample])


MATHS = [
    (r"The answer is $\frac{1}{2}$.", "0.5", 1),
    (r"so \boxed{2\sqrt{3}}", r"\sqrt{12}", 1),
    ("It is 1/3", r"\frac{2}{6}", 1),
    (r"$x = 4$", "4", 1),
    (r"$\{1, 2\}$", r"\{2,1\}", 1),
    (r"$(1, 2]$", r"(1,2]", 1),
    ("It is 9 / 27 * 100% = 33.333%\n#### 33", "33", 1),
    ("It is 7", "8", 0),
    ("no idea", "8", 0),
    ("It is 7", None, None),
]


def test_maths_is_compared_by_value_and_hostile_latex_costs_its_own_answer_only() -> None:
    bomb = "$" + "9^{" * 6 + "9" + "}" * 6 + "$"
    cases = [*MATHS, (bomb, "3", None), ("It is 8", "8", 1)]
    samples = [Sample(str(at), [{"role": "assistant", "content": one[0]}], one[1]) for at, one in enumerate(cases)]
    scores = load_grader({"type": "maths", "seconds": 2}).grade(samples)
    got = [score.aggregate_reward_score for score in scores]
    assert [*got[: len(MATHS)], got[-1]] == [case[2] for case in (*MATHS, cases[-1])]
    assert got[len(MATHS)] in (None, 0)
    assert [score.id for score in scores] == [sample.id for sample in samples]


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("B", "B", 1),
        (" (b) ", "B", 1),
        ("B. Rome", "B", 1),
        ("The answer is **B**.", "B", 1),
        ("First I thought A, but the answer is (B).", "B", 1),
        (r"Thus \boxed{\text{B}}", "B", 1),
        ("Rome", "B", 1),
        ("It must be Rome, I think", "B", 1),
        ("B", 1, 1),
        ("B", "Rome", 1),
        ("A or B", "B", 0),
        ("Rome or Paris", "B", 0),
        ("", "B", 0),
        ("A cat", "A", 0),
        ("B", "E", None),
        ("B", None, None),
        ("B", True, None),
    ],
)
def test_a_choice_is_read_from_a_letter_or_the_options_words(answer: str, reference: Any, score: float | None) -> None:
    assert grade({"type": "choice"}, answer, reference, choices=["Paris", "Rome", "Oslo"]) == score


def test_choices_by_letters_alone_and_broken_ones() -> None:
    assert grade({"type": "choice", "letters": 5}, "Answer: E", "e") == 1
    assert grade({"type": "choice"}, "Answer: E", "E") is None
    assert grade({"type": "choice"}, "A", "A", choices="Paris") is None
    assert grade({"type": "choice"}, "x", "x", choices={"X": "Paris", "Y": "Rome"}) == 1
    with pytest.raises(InputError, match="between 2 and 26"):
        load_grader({"type": "choice", "letters": True})


SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "s": {"type": "string", "pattern": r"^(\w|\w\w)+$"}},
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"n": 1}', 1),
        (' {"n": 1, "s": "aa"}\n', 1),
        ('{"n": "1"}', 0),
        ('{"n": true}', 0),
        ('{"n": 1, "n": 2}', 0),
        ('{"n": NaN}', 0),
        ('{"n": 1} and more', 0),
        ('```json\n{"n": 1}\n```', 0),
        ("", 0),
        ("[" * 100_000, 0),
        ('{"n": 1, "s": "' + "a" * 80 + '!"}', None),
    ],
)
def test_json_is_parsed_strictly_and_checked(answer: str, score: float | None) -> None:
    assert grade({"type": "json_schema", "schema": SCHEMA}, answer) == score


@pytest.mark.parametrize(
    ("answer", "rest", "score"),
    [
        ('{"n": 1, "x1": 2}', False, 1),
        ('{"n": 1, "x1": "2"}', False, 0),
        ('{"n": 1, "y": "2"}', False, 0),
        ('{"n": 1, "y": "2"}', {"type": "string"}, 1),
        ('{"n": 1, "y": 2}', {"type": "string"}, 0),
        ("[1]", False, 1),
        ('{"n": 1, "' + "a" * 80 + '!": 1}', False, None),
    ],
)
def test_names_of_properties_are_matched_for_a_second(answer: str, rest: Any, score: float | None) -> None:
    patterns = (
        {"^x": {"type": "integer"}, r"^(\w|\w\w)+$": {"type": "integer"}}
        if score is None
        else {"^x": {"type": "integer"}}
    )
    schema = {"properties": {"n": {}}, "patternProperties": patterns, "additionalProperties": rest}
    assert grade({"type": "json_schema", "schema": schema}, answer) == score


def test_a_fenced_block_counts_where_allowed_and_schemas_are_checked_beforehand() -> None:
    assert grade({"type": "json_schema", "schema": SCHEMA, "fenced": True}, '```json\n{"n": 1}\n```') == 1
    assert grade({"type": "json_schema", "schema": {"$ref": "#/$defs/none"}}, "1") is None
    for schema, message in (
        ({"type": "objekt"}, "no JSON schema"),
        ("x", "no JSON schema"),
        ({"$ref": "file:///etc/passwd"}, "outside itself"),
        ({"items": [{"$ref": "http://example.org/x"}]}, "outside itself"),
    ):
        with pytest.raises(InputError, match=message):
            load_grader({"type": "json_schema", "schema": schema})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("2 ^ 3 ^ 2", 512),
        ("-2 ^ 2", -4),
        ("2 ^ -1", 0.5),
        ("2 - 3 - 4", -5),
        ("a / b", 2),
        ("min(a, b, 0.1) + max(a, 2)", 2.1),
        ("sqrt(abs(-4)) + floor(1.7) + ceil(1.2) + exp(0) + log(1)", 6),
        ("0.7 * a + 0.3 * b", 0.85),
        ("1e-3", 0.001),
    ],
)
def test_arithmetic_is_what_it_is_on_paper(text: str, value: float) -> None:
    assert expression(text, {"a": 1, "b": 1})({"a": 1.0, "b": 0.5}) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["", "a +", "a b", "c", "a.b", "__import__('os')", "a; b", "min(a)", "abs(a, a)", "(a", "a)", "[a]",
     "a if b else a", "9" * 3000, "(" * 100 + "a" + ")" * 100, "a = 1", "lambda: 1", "min", None],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused(text: Any) -> None:
    with pytest.raises(InputError):
        expression(text, {"a": 1, "b": 1})


@given(st.text(alphabet="ab12.+-*/^(), emin", max_size=30))
def test_any_text_is_a_number_or_a_refusal(text: str) -> None:
    try:
        value = expression(text, {"a": 1, "b": 1})({"a": 0.5, "b": 0.25})
    except (InputError, ArithmeticError, ValueError):
        return
    assert math.isfinite(value)


PARTS = {"same": {"type": "exact"}, "close": {"type": "text_similarity"}}


def test_a_sum_is_a_mean_a_weighted_sum_or_an_expression() -> None:
    spec = {"type": "multi", "graders": PARTS}
    assert grade(spec, "ab", "abcd") == pytest.approx(1 / 3)
    assert grade({**spec, "weights": {"same": 1, "close": 3}}, "ab", "abcd") == pytest.approx(2)
    got = scored({**spec, "calculate_output": "1 - close ^ 2"}, "ab", "abcd")
    assert got.aggregate_reward_score == pytest.approx(1 - 4 / 9)
    assert {metric.name: metric.value for metric in got.metrics_list} == {"same": 0.0, "close": pytest.approx(2 / 3)}


def test_one_component_without_a_score_leaves_the_whole_without_one() -> None:
    spec = {"type": "multi", "graders": {**PARTS, "n": {"type": "number"}}, "weights": {"same": 1, "close": 1, "n": 0}}
    got = scored(spec, "x", "x")
    assert got.aggregate_reward_score is None and got.reason.startswith("n: ")
    assert grade({"type": "multi", "graders": PARTS, "calculate_output": "1 / same"}, "x", "y") is None
    assert grade({"type": "multi", "graders": PARTS, "calculate_output": "log(same)"}, "x", "y") is None


def test_a_sum_is_checked_where_all_its_components_are() -> None:
    judged = {"type": "score_model", "input": "Rate {{ sample.output_text }}"}
    assert load_grader({"type": "multi", "graders": PARTS}).verified
    assert not load_grader({"type": "multi", "graders": {**PARTS, "judge": judged}}).verified
    assert not load_grader({"type": "exact", "verified": False}).verified


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"graders": {}}, "needs `graders`"),
        ({"graders": "exact"}, "no mapping"),
        ({"graders": {"a": "exact"}}, "`graders.a` is no grader"),
        ({"graders": [{"type": "exact"}, {"type": "exact"}]}, "two of one name"),
        ({"graders": PARTS, "weights": {"same": 1}}, "lacks `close`"),
        ({"graders": PARTS, "weights": {"sane": 1, "close": 1}}, "did you mean `same`"),
        ({"graders": PARTS, "weights": {"same": math.nan, "close": 1}}, "no number"),
        ({"graders": PARTS, "calculate_output": "same + clos"}, "did you mean `close`"),
        ({"graders": PARTS, "calculate_output": "same", "weights": {}}, "keep one|both"),
    ],
)
def test_a_sum_that_cannot_work_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_grader({"type": "multi", **more})


def test_loading_graders_imports_no_algebra_and_leaves_logging_alone() -> None:
    code = "import logging, sys, bloomery.graders.load; print(logging.root.manager.disable, 'sympy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert told.stdout.split() == ["0", "False"]
