"""Comparison: known figures, the ledger's books, the gate's three outcomes and the law of proof."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up import bits, evaluation, scores

from bloomery.core.errors import InputError
from bloomery.core.intervals import Interval
from bloomery.evals.bootstrap import over_seeds
from bloomery.evals.compare import compare
from bloomery.evals.gate import gate, judge
from bloomery.evals.ledger import Entry, expected_by_guessing, ledger, sign_test
from bloomery.evals.proof import prove


def test_bits_per_byte_change_is_a_ratio_of_sums_not_a_mean_of_ratios() -> None:
    before, after = evaluation("a", bits("g", "general", [10, 90])), evaluation("b", bits("g", "general", [20, 90]))
    change = compare(before, after).groups["general"]
    assert change.change.estimate == pytest.approx(0.10)  # the mean of ratios would be 0.5
    assert change.before == pytest.approx(100 / np.log(2) / 200)
    assert change.worse == change.change


def test_equal_models_change_by_nothing_and_scores_know_how_little_that_says() -> None:
    suites = [bits("g", "general", range(1, 50)), scores("s", "skills", [1, 0, 1, 1] * 25)]
    found = compare(evaluation("a", *suites), evaluation("b", *suites))
    assert found.groups["general"].change == Interval(0, 0, 0)
    still = found.groups["skills"]
    assert still.change.estimate == 0 and still.ledger is not None and still.ledger.p_value == 1.0
    assert still.change.high == -still.change.low == pytest.approx(0.0362, abs=1e-4)  # Clopper-Pearson for 0 of 100
    assert judge("skills", still.worse, 0.01, 100).status == "unproven"


def test_skills_weigh_the_same_however_many_examples_they_have() -> None:
    many, few = [1.0] * 90, [0.0] * 10
    before = evaluation("a", scores("s1", "skills", many), scores("s2", "skills", few))
    after = evaluation("b", scores("s1", "skills", many), scores("s2", "skills", [1.0] * 10))
    change = compare(before, after).groups["skills"]
    assert (change.before, change.after) == (0.5, 1.0)
    assert change.change.estimate == 0.5 and change.worse.estimate == -0.5


def test_bits_and_scores_of_one_group_stand_beside_each_other() -> None:
    mixed = [
        bits("d", "domain", [9, 8]),
        scores("a", "domain", [1, 0]),
        bits("t", "skills", [5]),
        scores("s", "skills", [1]),
    ]
    found = compare(evaluation("a", *mixed), evaluation("b", *mixed)).groups
    assert {name: change.kind for name, change in found.items()} == {
        "domain": "bpb",
        "domain_answers": "generate",
        "skills": "generate",
        "skills_text": "bpb",
    }


def test_rows_with_a_skill_are_compared_skill_by_skill() -> None:
    a, b = scores("s", "skills", [1, 1], part="add"), scores("s", "skills", [0, 1], part="sort")
    both = scores("s", "skills", [])
    both = replace(both, records=a.records + tuple(replace(r, id="x" + r.id) for r in b.records))
    found = compare(evaluation("a", both), evaluation("b", both))
    assert [(c.name, c.examples, c.before) for c in found.changes] == [("s/add", 2, 1.0), ("s/sort", 2, 0.5)]


def test_what_could_not_be_graded_is_left_out_in_pairs_and_counted() -> None:
    before = evaluation("a", scores("s", "skills", [1, None, 0, 1]))
    after = evaluation("b", scores("s", "skills", [1, 1, None, 0]))
    change = compare(before, after).changes[0]
    assert (change.examples, change.unscorable, change.before, change.after) == (2, 2, 1.0, 0.5)


def test_ledger_counts_moves_and_a_repeat_measures_what_chance_moves() -> None:
    before = evaluation("a", scores("s", "skills", [1, 1, 1, 0, 0]))
    after = evaluation("b", scores("s", "skills", [0, 0, 1, 1, 0]))
    repeat = evaluation("a2", scores("s", "skills", [1, 0, 1, 1, 0]))
    book = compare(before, after, repeat=repeat).changes[0].ledger
    assert book is not None
    assert (book.lost, book.gained, book.stayed_right, book.stayed_wrong) == (2, 1, 1, 1)
    assert book.by_chance == 1 and book.lost_beyond_chance == 1 and book.gained_beyond_chance == 0


def test_two_models_that_only_guess_are_expected_to_move_as_they_do() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((2, 4000)) < 0.25
    entries = [Entry(float(b), float(a), 0.25) for b, a in right.T]
    book = ledger(entries)
    assert book.by_chance == pytest.approx(4000 * 0.25 * 0.75, rel=0.05)
    assert abs(book.lost - book.by_chance) < 0.1 * book.by_chance
    assert expected_by_guessing([Entry(1, 0)] * 10) == 0  # a blind guess is never right on open questions


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 0.03125), (6, 0, 0.03125), (1, 9, 0.021484375)]
)
def test_sign_test_equals_mcnemars_exact_values(lost: int, gained: int, p: float) -> None:
    assert sign_test(lost, gained) == pytest.approx(p)


def test_evaluations_of_different_rows_are_not_compared() -> None:
    a = evaluation("a", bits("g", "general", [1, 2]))
    with pytest.raises(InputError, match="are 2 and 3"):
        compare(a, evaluation("b", bits("g", "general", [1, 2, 3])))
    with pytest.raises(InputError, match="one common suite"):
        compare(a, evaluation("b", bits("h", "general", [1, 2])))
    renamed = evaluation("b", bits("g", "general", [1, 2]))
    object.__setattr__(renamed.suites["g"].records[1], "id", "other")
    with pytest.raises(InputError, match="differ at example 2"):
        compare(a, renamed)


@pytest.mark.parametrize(
    ("worse", "status"),
    [
        (Interval(0.001, -0.002, 0.004), "within"),
        (Interval(0.004, 0.001, 0.007), "unproven"),
        (Interval(0.02, 0.01, 0.03), "broken"),
        (Interval(0.006, 0.004, 0.008), "unproven"),
        (Interval(float("nan"), float("nan"), float("nan")), "unproven"),
    ],
)
def test_the_gate_asks_for_the_whole_interval(worse: Interval, status: str) -> None:
    assert judge("general", worse, 0.005, 100).status == status


def test_an_unproven_budget_says_how_many_documents_it_needs() -> None:
    assert judge("general", Interval(0.004, 0.002, 0.006), 0.005, 100).needed == 400  # half the width: four times
    assert judge("general", Interval(0.005, 0.002, 0.008), 0.005, 100).needed is None  # no number tells them apart


def test_the_gate_judges_against_start_and_control_and_the_worst_counts() -> None:
    rng = np.random.default_rng(0)
    nats = rng.uniform(50, 100, 400)
    start, control, result = (
        evaluation(name, bits("g", "general", nats * f)) for name, f in (("s", 1.0), ("c", 0.97), ("r", 1.0))
    )
    alone = gate({"general": 0.005}, [compare(start, result)])
    assert (alone.status, alone.exit_status) == ("within", 0)
    both = gate({"general": 0.005}, [compare(start, result), compare(control, result)])
    assert (both.status, both.exit_status, len(both.verdicts)) == ("broken", 3, 2)
    assert gate({}, [compare(start, result)]).exit_status == 0


def test_a_budget_on_nothing_measured_is_refused() -> None:
    found = compare(evaluation("a", bits("g", "domain", [1])), evaluation("b", bits("g", "domain", [1])))
    with pytest.raises(InputError, match="nothing measures it"):
        gate({"general": 0.01}, [found])
    with pytest.raises(InputError, match="did you mean `general`"):
        gate({"generl": 0.01}, [found])


def test_a_figure_stands_only_beside_start_forgetting_arm_and_control() -> None:
    def arm(name: str, general: float, domain: float) -> object:
        spread = np.linspace(0.9, 1.1, 60)
        return evaluation(name, bits("g", "general", 70 * general * spread), bits("d", "domain", 70 * domain * spread))

    start, result = arm("start", 1, 1), arm("result", 1.002, 0.75)
    forgets, keeps, control = arm("d", 1.4, 0.7), arm("d", 1.02, 0.7), arm("c", 0.98, 1.0)
    assert not prove(start, result, {}, "hot").stands  # type: ignore[arg-type]
    assert not prove(start, result, {"domain-only": forgets}, "hot").stands  # type: ignore[arg-type, dict-item]
    assert prove(start, result, {"domain-only": forgets}, "cold").stands  # type: ignore[arg-type, dict-item]
    both = {"domain-only": forgets, "curated-only": control}
    found = prove(start, result, both, "warm")  # type: ignore[arg-type]
    assert found.stands and found.gain_kept is not None
    assert found.gain_kept.estimate == pytest.approx(0.25 / 0.30)
    assert not prove(start, result, {**both, "domain-only": keeps}, "warm").stands  # type: ignore[arg-type, dict-item]


def test_three_seeds_have_an_interval_and_two_have_none() -> None:
    assert over_seeds([1.0, 2.0]) is None
    found = over_seeds([1.0, 2.0, 3.0])
    assert found is not None and found.estimate == 2
    assert found.high - found.estimate == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)
