"""Metrics against figures recorded from the programs that define them, and against their own formulas."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.core.errors import InputError
from bloomery.evals import overlap
from bloomery.evals.measures import differences, measures
from bloomery.evals.metrics import columns_of, metric, pass_at
from bloomery.evals.own_metrics import own_values
from bloomery.evals.results import Drawn, EvalResult, Record, SuiteResult
from bloomery.evals.suites import Suite

ANSWERS = (
    "The cat sat on the mat, quietly.",
    "A dog ran 3.5 miles in the U.S. today!",
    "It's well-known & true.",
)
REFERENCES = (
    ("The cat sat quietly on the mat.", "A cat was on the mat, quietly."),
    ("A dog ran 3.5 miles in the U.S. yesterday!", "The dog ran today."),
    ("It is well-known, and true.", "It's known & true."),
)


def result(name: str, kind: str, records: list[Record], metrics: tuple[str, ...] = ()) -> EvalResult:
    return EvalResult(name, {"s": SuiteResult("s", kind, "skills", tuple(records), 0.0, metrics)}, 0.0)


def value(name: str, records: list[Record]) -> float:
    columns, _ = columns_of(name, records)
    return float(metric(name).of(columns.sum(0)[None])[0])


def test_corpus_bleu_is_sacrebleus() -> None:
    records = [Record(str(n), answer=a, references=r) for n, (a, r) in enumerate(zip(ANSWERS, REFERENCES, strict=True))]
    assert 100 * value("bleu", records) == pytest.approx(76.67144104092517, abs=1e-9)  # sacrebleu 2, default options
    short = [Record("1", answer="a b", references=("a x",)), Record("2", answer="c d e", references=("c d f",))]
    assert value("bleu", short) == 0.0  # no answer has four words


def test_rouge_is_rouge_scores() -> None:
    recorded = (
        (1.0, 0.666666666667, 0.857142857143),
        (0.909090909091, 0.9, 0.909090909091),
        (0.727272727273, 0.222222222222, 0.727272727273),
    )
    for answer, references, wanted in zip(ANSWERS, REFERENCES, recorded, strict=True):
        rules = (overlap.rouge_n(1), overlap.rouge_n(2), overlap.rouge_l)
        assert [rule(answer, references[0]) for rule in rules] == pytest.approx(wanted)


def test_f1_and_exact_match_are_of_squads_normal_form() -> None:
    assert overlap.exact("The  Mat!", "mat") == 1.0
    assert overlap.token_f1("the black cat", "a cat sat") == 0.5  # of (black cat) and (cat sat) one is common
    assert overlap.token_f1("", "") == 1.0
    record = [Record("1", answer="cat", references=("dog", "the cat"))]
    assert value("f1", record) == value("exact_match", record) == 1.0


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.integers(1, 7))
def test_pass_at_k_is_the_share_of_draws_of_k_with_a_right_one(right: list[bool], k: int) -> None:
    record = Record("1", samples=tuple(Drawn("", float(one)) for one in right))
    found = pass_at(k)(record)
    if k > len(right):
        assert found is None
    else:
        draws = list(itertools.combinations(right, k))
        assert found is not None
        assert found[0] == pytest.approx(sum(map(any, draws)) / len(draws))


def test_answers_that_could_not_be_graded_do_not_count_as_wrong_in_pass_at_k() -> None:
    record = Record("1", samples=(Drawn("", 1.0), Drawn("", None, "broken"), Drawn("", 0.0)))
    assert pass_at(2)(record) == [1.0, 1.0]
    assert pass_at(3)(record) is None


def bias(ambiguous: float, known: float, biased: float, right: float) -> Record:
    values = {"ambiguous": ambiguous, "known": known, "biased": biased, "right": right}
    return Record("1", score=right, values=values)


def test_bias_scores_are_bbqs() -> None:
    told = [bias(0, 1, 1, 1)] * 6 + [bias(0, 1, 0, 1)] * 2 + [bias(0, 0, 0, 0)] * 2
    vague = [bias(1, 1, 1, 0)] * 3 + [bias(1, 1, 0, 0)] + [bias(1, 0, 0, 1)] * 6
    assert value("bias_disambiguated", told + vague) == pytest.approx(2 * 6 / 8 - 1)
    assert value("bias_ambiguous", told + vague) == pytest.approx((1 - 0.6) * (2 * 3 / 4 - 1))
    assert value("accuracy_ambiguous", told + vague) == pytest.approx(0.6)
    assert value("bias_disambiguated", [bias(0, 0, 0, 0)]) == 0.0


def test_perplexities_are_ratios_of_sums() -> None:
    records = [
        Record("1", nats=6.0, bytes=10, tokens=4, values={"words": 2.0}),
        Record("2", nats=2.0, bytes=6, tokens=1),
    ]
    assert value("byte_perplexity", records) == pytest.approx(math.exp(8 / 16))
    assert value("token_perplexity", records) == pytest.approx(math.exp(8 / 5))
    assert value("word_perplexity", records) == pytest.approx(math.exp(8 / 2))


def test_every_figure_has_an_interval_that_holds_it_and_few_examples_have_none() -> None:
    rng = np.random.default_rng(0)
    records = [Record(str(n), score=float(rng.random() < 0.7), values={"norm": 1.0}) for n in range(60)]
    score, norm = measures(result("m", "choice", records, ("acc_norm",)).suites["s"])
    assert score.found.low < score.found.estimate < score.found.high
    assert norm.found.high == 1.0
    assert norm.found.low == pytest.approx(1 - (1 - 0.025 ** (1 / 60)))  # Clopper-Pearson, not a width of nothing
    [few, _] = measures(result("m", "choice", records[:9], ("acc_norm",)).suites["s"])
    assert math.isnan(few.found.low)


def test_a_difference_knows_which_way_is_worse_and_pairs_the_examples() -> None:
    kinds = [Record(str(n), score=1.0, values={"most": 0.1, "any": 0.0}) for n in range(40)]
    rude = [Record(str(n), score=0.2, values={"most": 0.8, "any": 1.0}) for n in range(40)]
    metrics = ("expected_max_toxicity", "toxicity_probability")
    found = {
        one.name: one
        for one in differences(result("a", "toxicity", kinds, metrics), result("b", "toxicity", rude, metrics))
    }
    assert found["score"].said == found["expected_max_toxicity"].said == found["toxicity_probability"].said == "worse"
    assert found["expected_max_toxicity"].change.estimate == pytest.approx(0.7)
    same = differences(result("a", "toxicity", kinds, metrics), result("b", "toxicity", kinds, metrics))
    assert {one.said for one in same} == {"unclear"}
    assert {one.p_value for one in same} == {1.0}


def test_a_metric_of_the_users_own_has_an_interval_by_leaving_blocks_out(tmp_path: Path) -> None:
    code = "def length(records):\n    return sum(len(r['answer']) for r in records) / len(records)\n"
    (tmp_path / "own.py").write_text(code)
    records = [Record(str(n), answer="x" * (n % 5)) for n in range(100)]
    spec = {"type": "python", "path": "own.py", "function": "length", "trusted": True}
    values = own_values(spec, records, tmp_path)
    assert values[0] == 2.0 and len(values) == 21
    suite = SuiteResult("s", "generate", "skills", tuple(records), 0.0, (), {"length": values})
    [found] = measures(suite)
    half = 1.96 * math.sqrt(2.0 / 100)
    assert found.found.high - 2.0 == pytest.approx(half, rel=0.6)
    with pytest.raises(InputError, match="with your rights"):
        own_values(spec | {"trusted": False}, records, tmp_path)
    (tmp_path / "own.py").write_text("def length(records):\n    return 'long'\n")
    with pytest.raises(InputError, match="gave no figure: the grader returned str"):
        own_values(spec, records, tmp_path)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"metrics": ("rougel",)}, r"`rougel` is no metric \(did you mean `rougeL`"),
        ({"metrics": ("pass@5",)}, "needs 5 answers to a row, and 1 are drawn"),
        ({"metrics": ("mc1",)}, "says nothing about a suite of `kind: generate`"),
        ({"samples": 4}, "at temperature 0, which are all the same"),
        ({"metrics": ({"type": "python", "path": "x.py"},)}, "with your rights"),
        (
            {"metrics": ({"type": "python", "path": "x.py", "trusted": True, "funktion": "f"},)},
            "did you mean `function`",
        ),
    ],
)
def test_metrics_that_cannot_be_are_refused_by_name(keys: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Suite("s", "generate", [], "skills", {"type": "exact"}, **keys)  # type: ignore[arg-type]
