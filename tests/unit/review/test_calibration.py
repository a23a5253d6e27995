"""Probabilities mean what they say on what nothing was fitted on, and are refused where they would not."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from bloomery.core.errors import DamagedError, InputError
from bloomery.review.calibration import calibrate, load_calibration
from bloomery.review.conformal import coverage, fit_sets
from bloomery.review.measures import auroc, best_cut, ece, f1, labels_until, recall_at_precision
from bloomery.review.scaling import Scaling, fit, fit_temperature, fit_vector, nll
from bloomery.review.scores import batch_prior, label_scores, less_prior, log_sum, normalised
from bloomery.review.selective import risk_curve, threshold_for
from bloomery.review.spec import ClassifierSpec, load_spec


def answers(n: int, seed: int, sharpness: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n, 3] and labels drawn from their true probabilities; `sharpness` makes the scores overconfident."""
    rng = np.random.default_rng(seed)
    true = normalised(rng.normal(0, 1.5, (n, 3)))
    truth = np.array([rng.choice(3, p=row) for row in np.exp(true)])
    return normalised(true * sharpness + np.array([shift, 0, 0])), truth


def test_a_label_is_as_likely_as_all_its_words_together() -> None:
    yes, no = np.log([[0.2, 0.1]]), np.log([[0.1]])
    assert np.exp(label_scores([yes, no])) == pytest.approx(np.array([[0.75, 0.25]]))
    assert log_sum(np.array([[-1e4, -1e4]]))[0] == pytest.approx(-1e4 + np.log(2))


def test_a_text_without_content_says_nothing_once_its_prior_is_removed() -> None:
    scores = np.log([[0.8, 0.2], [0.5, 0.5]])
    assert np.exp(less_prior(scores, np.log([0.8, 0.2])))[0] == pytest.approx([0.5, 0.5])
    assert np.exp(batch_prior(scores)) == pytest.approx([0.65, 0.35])


def test_the_temperature_that_made_scores_overconfident_is_found() -> None:
    scores, truth = answers(4000, 0, sharpness=3.0)
    assert fit_temperature(scores, truth).temperature == pytest.approx(3.0, rel=0.1)


def test_a_bias_is_fitted_where_there_is_one_and_left_out_where_it_does_not_help() -> None:
    scores, truth = answers(3000, 1, shift=2.0)
    found, tried = fit(scores, truth)
    assert tried["vector"] < tried["temperature"]
    assert found.bias[0] - found.bias[1] == pytest.approx(-2.0, abs=0.3)
    few, told = answers(12, 2)
    assert nll(fit_vector(few, told)(few), told) <= nll(few, told) + 1e-9


def test_scores_that_say_nothing_are_scaled_to_even_odds_and_never_diverge() -> None:
    rng = np.random.default_rng(0)
    scores, truth = normalised(rng.normal(0, 5, (500, 2))), rng.integers(0, 2, 500)
    p = np.exp(fit_temperature(scores, truth)(scores))
    assert np.isfinite(p).all()
    assert p.max() < 0.6


def test_sets_cover_each_label_as_promised_even_where_one_is_rare() -> None:
    held = []
    for seed in range(20):
        scores, truth = answers(1200, seed, sharpness=4.0)
        p, half = np.exp(scores), 600
        sets = fit_sets(p[:half], truth[:half], 0.1)
        held.append(coverage(sets(p[half:]), truth[half:])[1])
    assert (np.mean(held, axis=0) > 0.88).all()
    assert (np.mean(held, axis=0) < 0.93).all()


def test_a_label_with_too_few_answers_is_always_in_the_set() -> None:
    p = np.array([[0.9, 0.1]] * 20 + [[0.2, 0.8]] * 3)
    sets = fit_sets(p, np.array([0] * 20 + [1] * 3), 0.1)
    assert sets.threshold[1] == 1.0
    with pytest.raises(InputError, match="no answer of the label `no`"):
        fit_sets(p[:20], np.zeros(20, np.int64), 0.1, ["yes", "no"])


def test_a_threshold_keeps_its_risk_on_new_answers_as_often_as_stated() -> None:
    broken = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sure = rng.uniform(0.5, 1, 4000)
        right = (rng.uniform(size=4000) < sure).astype(float)
        least = threshold_for(sure[:2000], right[:2000], 0.1)
        if least is not None:
            new = right[2000:][sure[2000:] >= least]
            broken += (1 - sure[sure >= least]).mean() > 0.1  # the true risk, not the new sample's
            assert len(new) > 100
    assert broken <= 60 * 0.1 + 4


def test_no_threshold_is_given_where_none_keeps_the_risk() -> None:
    assert threshold_for(np.linspace(0.5, 1, 200), np.zeros(200), 0.1) is None


def test_risk_at_coverage_and_its_area_are_those_of_a_hand_count() -> None:
    curve = risk_curve(np.array([0.9, 0.8, 0.7, 0.7]), np.array([1.0, 1, 0, 1]))
    assert curve.risk.tolist() == [0, 0, 0.25]  # the two of 0.7 cannot be told apart
    assert curve.risk_at(0.6) == 0.25
    assert curve.area == pytest.approx(0.125)


def test_figures_are_those_of_a_hand_count() -> None:
    score, wanted = np.array([0.9, 0.8, 0.8, 0.1]), np.array([1.0, 1, 0, 0])
    assert auroc(score, wanted) == pytest.approx(0.875)
    assert f1(score >= best_cut(score, wanted), wanted) == pytest.approx(0.8)
    assert recall_at_precision(score, wanted, 1.0) == 0.5
    assert ece(np.array([0.9, 0.9, 0.6]), np.array([1.0, 0, 1])) == pytest.approx((0.8 + 0.4) / 3)
    assert np.isnan(auroc(score, np.ones(4)))


def test_a_threat_counts_as_caught_once_it_stays_so() -> None:
    assert labels_until([10, 20, 30, 40], [0.0, 0.6, 0.4, 0.7], 0.5) == 40
    assert labels_until([10, 20], [0.6, 0.7], 0.5) == 10
    assert labels_until([10, 20], [0.6, 0.1], 0.5) is None


def spec(**changes: object) -> ClassifierSpec:
    return ClassifierSpec.model_validate({"questions": {"threat": "threat?"}} | changes)


def test_the_cut_is_the_best_one_on_all_answers() -> None:
    scores, truth = answers(301, 3, 2.0)
    scores, truth = normalised(scores[:, :2]), np.minimum(truth, 1)
    fitted = calibrate(spec(), "m", {"threat": scores}, {"threat": truth}).questions["threat"]
    assert fitted.cut == best_cut(fitted(scores)[:, 0], (truth == 0).astype(np.float64))


def two_labels(n: int, seed: int, part: float) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident scores [n, 2] and labels, of which `part` are 0."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) >= part).astype(np.int64)
    odds = rng.normal(np.where(truth == 0, 1.0, -1.0), 1.5)
    return normalised(np.stack([3 * odds, np.zeros(n)], axis=1)), truth


def test_rows_whose_labels_take_turns_are_calibrated_as_any_others() -> None:
    scores, truth = two_labels(700, 0, 0.5)
    turns = np.stack([np.flatnonzero(truth == label)[:300] for label in (0, 1)], axis=1).ravel()
    scores, truth = scores[turns], truth[turns]
    fitted = calibrate(spec(), "m", {"threat": scores}, {"threat": truth}).questions["threat"]
    assert max(abs(bias) for bias in fitted.scaling.bias or (0.0,)) < 0.5
    assert ece(fitted(scores).max(axis=1), (fitted(scores).argmax(axis=1) == truth).astype(np.float64)) < 0.06


def test_sets_of_two_labels_use_every_answer_and_keep_their_promise() -> None:
    """They do not depend on the scaling: a label is in the set of the texts that say so most."""
    held = []
    for seed in range(8):
        scores, truth = two_labels(4000, seed, 0.1)
        fitted = calibrate(spec(), "m", {"threat": scores[:400]}, {"threat": truth[:400]}).questions["threat"]
        odds, rare = scores[:, 0] - scores[:, 1], truth == 0
        rank = math.ceil((rare[:400].sum() + 1) * 0.9)
        wanted = odds >= -np.sort(-odds[:400][rare[:400]])[rank - 1] - 1e-9
        sets = fitted.sets(fitted(scores))
        assert (sets[:, 0] == wanted).all()
        held.append(coverage(sets[400:], truth[400:])[1])
    assert np.mean(held, axis=0) == pytest.approx([0.9, 0.9], abs=0.04)


def test_a_calibration_is_read_back_and_refused_for_another_model_or_prompt(tmp_path: Path) -> None:
    scores, truth = answers(300, 0, 2.0)
    three = spec(labels={"a": ["a"], "b": ["b"], "c": ["c"]})
    made, path = calibrate(three, "model-1", {"threat": scores}, {"threat": truth}), tmp_path / "c.json"
    made.save(path)
    again = load_calibration(path, three, "model-1")
    assert again.questions["threat"](scores) == pytest.approx(made.questions["threat"](scores))
    with pytest.raises(InputError, match="another model"):
        load_calibration(path, three, "model-2")
    with pytest.raises(InputError, match="another classifier"):
        load_calibration(path, three.model_copy(update={"prompt": "{text} {ask}"}), "model-1")
    temperature = f"{made.questions['threat'].scaling.temperature!r}"
    for damaged in ("{}", path.read_text().replace(temperature, "NaN")):
        path.write_text(damaged)
        with pytest.raises(DamagedError):
            load_calibration(path, three, "model-1")


def test_a_temperature_at_a_bound_says_what_that_means() -> None:
    truth = np.arange(400) % 2
    lost, right = np.tile([5.0, -5.0], (400, 1)), np.where(np.eye(2)[truth] > 0, -1.0, -2.0)
    assert fit_temperature(lost, truth).told.endswith("hardly tell the labels apart)")
    assert fit_temperature(right, truth).told.endswith("no answer here was wrong, or too few are)")
    assert Scaling(1.5).told == "temperature 1.500"


def test_too_few_answers_are_refused_by_question() -> None:
    scores, truth = answers(300, 0)
    three = spec(labels={"a": ["a"], "b": ["b"], "c": ["c"]})
    with pytest.raises(InputError, match=r"question `threat`: .*too few"):
        calibrate(three, "m", {"threat": scores}, {"threat": np.where(np.arange(300) < 9, truth, -1)})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("questions: {}", "questions"),
        ("questons: {a: 'a?'}", "`questions` is missing"),
        ("questions: {a: 'a?'}\nprompt: '{text}'", "does not show the question"),
        ("questions: {a: 'a?'}\nlabels: {yes: [x], no: [x]}", "stands for two labels"),
        ("questions: {a: {ask: 'a?', positive: maybe}}", "none of its labels"),
        ("questions: {a: {ask: 'a?', costs: {yes: -1}}}", "no cost"),
        ("questions: {a: 'a?'}\nalpha: 1.5", "alpha"),
    ],
)
def test_a_classifier_file_that_cannot_work_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text + "\n")
    with pytest.raises(InputError, match=said) as caught:
        load_spec(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("questions: {a: 'a?'}\nlabels:\n  yes: [x]", "3: `labels` holds fewer than two labels"),
        ("questions: {a: 'a?'}\nlabels:\n  yes: [x]\n  no: []", "5: `labels.no` has no surface form"),
        ("questions: {a: 'a?'}\nlabels: {yes: [x], no: [x]}", "3: `labels`: `x` stands for two labels"),
        (
            "questions:\n  a:\n    ask: 'a?'\n    labels: {yes: [x]}",
            "5: `questions.a.labels` holds fewer than two labels",
        ),
    ],
)
def test_what_is_wrong_with_labels_is_refused_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"prompt: '{{text}} {{ask}}'\n{text}\n")
    with pytest.raises(InputError) as caught:
        load_spec(path)
    assert f"c.yaml:{said}" in str(caught.value)


def test_context_stands_before_the_text_where_a_row_has_it() -> None:
    found = spec(context=["rule", "thread"])
    assert found.shown({"text": "go {away}", "rule": "be kind"}, "threat") == "rule: be kind\ngo {away}\nthreat?"
    with pytest.raises(InputError, match="has no `text`"):
        found.shown({"id": 3}, "threat")


def test_scaling_by_one_changes_nothing() -> None:
    scores, _ = answers(10, 0)
    assert Scaling()(scores) == pytest.approx(scores)
    assert dataclasses.asdict(Scaling()) == {"temperature": 1.0, "bias": ()}
