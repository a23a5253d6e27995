"""A tree of tokens scores what its rows score one by one, and labels follow from their words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from bloomery.core.errors import InputError
from bloomery.data.tokenizer import save_tokenizer, train_tokenizer
from bloomery.engine.native import NativeEngine
from bloomery.evals.classify import Classifier
from bloomery.evals.classify_compare import Arm, latency, table
from bloomery.evals.classify_report import assess
from bloomery.evals.classify_trie import TrieScorer, build
from bloomery.models.load import new_model
from bloomery.review.calibration import calibrate
from bloomery.review.scores import label_scores
from bloomery.review.spec import ClassifierSpec

SHAPE: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
TEXTS = [f"comment {k} says yes or no, rude or kind, {'never' if k % 3 else 'always'} threat?" for k in range(60)]
QUESTIONS = {"rude": "rude?", "threat": {"ask": "threat?", "labels": {"no": ["no"], "yes": ["yes", "always"]}}}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train_tokenizer(TEXTS, 290), folder)
    return AutoTokenizer.from_pretrained(folder)


def engine(**changes: Any) -> NativeEngine:
    return NativeEngine(new_model(SHAPE | changes, 0))


def spec(**changes: Any) -> ClassifierSpec:
    return ClassifierSpec.model_validate({"questions": QUESTIONS} | changes)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": str(k), "text": text[: 10 + 2 * k]} for k, text in enumerate(TEXTS[:count])]


def test_common_beginnings_are_one_node_and_a_node_sees_its_ancestors_only() -> None:
    trie = build([[1, 2, 3], [1, 2, 4, 5], [1, 2]])
    assert trie.tokens.tolist() == [1, 2, 3, 4, 5]
    assert trie.depth.tolist() == [0, 1, 2, 2, 3]
    assert trie.sees()[4].tolist() == [True, True, False, True, True]


def test_a_tree_scores_what_its_rows_score_one_by_one() -> None:
    rng = np.random.default_rng(0)
    scorer = TrieScorer(engine())
    assert scorer.why == ""
    groups = []
    for size in (3, 17, 40):
        stem = rng.integers(0, 400, size).tolist()
        groups.append([stem + rng.integers(0, 400, n).tolist() for n in (1, 2, 2, 5)])
    inside = scorer(groups)
    assert scorer.tokens < scorer.alone
    ends = scorer(groups, [[len(row) - 1 for row in group] for group in groups])
    scorer.why = "to see"
    for one, end, other in zip(inside, ends, scorer(groups), strict=True):
        for a, last, b in zip(one, end, other, strict=True):
            assert a == pytest.approx(b, abs=1e-4)
            assert last[-1] == pytest.approx(b[-1], abs=1e-4)


@pytest.mark.parametrize("change", [{"model_type": "mistral", "sliding_window": 8}])
def test_a_model_with_other_attention_scores_row_by_row(change: dict[str, Any]) -> None:
    assert "full attention" in TrieScorer(engine(**change)).why


def test_labels_have_the_likelihood_of_all_their_words(tokenizer: Any) -> None:
    made = Classifier(spec(prior="none"), engine(), tokenizer, "plain")
    found = made(rows(5))
    made.scorer.why = "to see"
    apart = made(rows(5))
    for name in QUESTIONS:
        assert found.scores[name] == pytest.approx(apart.scores[name], abs=1e-4)
        assert np.exp(found.scores[name]).sum(axis=1) == pytest.approx(1)
    assert found.tokens < found.alone == apart.tokens
    assert made([]).scores["rude"].shape == (0, 2)


def test_a_text_without_content_gets_even_odds(tokenizer: Any) -> None:
    made = Classifier(spec(empty=["N/A"]), engine(), tokenizer, "plain")
    assert np.exp(made([{"text": "N/A"}]).scores["threat"])[0] == pytest.approx([0.5, 0.5], abs=1e-4)


def test_words_that_cannot_be_told_apart_and_texts_that_do_not_fit_are_refused(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="begins one of"):
        Classifier(spec(labels={"a": ["no"], "b": ["no no"]}), engine(), tokenizer, "plain")
    made = Classifier(spec(prior="none"), engine(), tokenizer, "plain")
    with pytest.raises(InputError, match=r"row `long` has .* tokens with its question"):
        made([{"id": "long", "text": "kind " * 200}])


def test_a_report_holds_every_figure_with_its_interval_and_no_text(tokenizer: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    asked = spec(questions={"rude": "rude?"})
    scores = {"rude": label_scores([rng.normal(0, 2, (400, 1)), np.zeros((400, 1))])}
    truth = {"rude": (rng.uniform(size=400) > np.exp(scores["rude"][:, 0])).astype(np.int64)}
    found = assess(asked, calibrate(asked, "m", scores, truth), scores, truth, "m", draws=50)
    one = found.to_json()["questions"]["rude"]
    assert one["ece"]["low"] <= one["ece"]["value"] + 0.02
    assert 0.85 < one["coverage"] < 0.95
    assert one["auroc"]["low"] < one["auroc"]["value"] < one["auroc"]["high"]
    found.write(tmp_path)
    page = (tmp_path / "classifier.html").read_text()
    assert "reliability of rude" in page and "risk of rude" in page
    made = Classifier(asked, engine(), tokenizer, "plain")
    spent = latency([made], rows(4))
    assert 0 < spent.p50 <= spent.p95
    [line] = table([Arm("all", 1, found, spent, 10, 1.0)], price=3.6)
    assert line["cost_per_1000"] == pytest.approx(spent.mean)
