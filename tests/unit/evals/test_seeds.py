"""Seeds and small samples: every seed counts beside its own control, and a handful of documents settles nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_up import bits, evaluation, scores

from bloomery.core.intervals import Interval
from bloomery.evals.bootstrap import FEWEST
from bloomery.evals.compare import compare
from bloomery.evals.gate import judge
from bloomery.evals.report import Origin, Report, make_report
from bloomery.evals.results import EvalResult
from bloomery.evals.seeds import Seeded, combined
from bloomery.evals.wording import direction
from bloomery.evals.write import write_report

NATS = np.random.default_rng(0).uniform(50, 100, 200)
NOISE = np.random.default_rng(1).normal(1, 0.01, 200)


def measured(name: str, general: float, domain: float = 1.0) -> EvalResult:
    return evaluation(name, bits("g", "general", NATS * NOISE * general), bits("d", "domain", NATS * NOISE * domain))


START = evaluation("start", bits("g", "general", NATS), bits("d", "domain", NATS))


def reported(*generals: float, keep: float = 0.01, **more: object) -> Report:
    """A report of one model a seed; its controls lie 0.2 % under it, its domain-only arms at +10 % and rising."""
    every = [
        Seeded(
            measured("model", general, 0.8),
            {
                "domain-only": measured("alone", 1.1 + 0.02 * number, 0.6),
                "curated-only": measured(f"curated-only-seed{number}", general - 0.002),
            },
        )
        for number, general in enumerate(generals)
    ]
    arms, seeds = every[0].arms, every[1:]
    return make_report(
        "r", START, every[0].result, keep={"general": keep}, arms=arms, plasticity="hot", seeds=seeds, draws=500, **more
    )  # type: ignore[arg-type]


def test_the_gate_judges_the_mean_over_seeds_and_not_the_first() -> None:
    assert reported(1.001).gate.status == "within"
    assert reported(1.001, 1.05, 1.051).gate.status == "unproven"
    assert reported(1.03, 1.031, 1.032).gate.status == "broken"
    assert "Not proven either way" in reported(1.001, 1.05, 1.051).headline
    assert [verdict.against for verdict in reported(1.03, 1.031).gate.verdicts] == ["start", "curated-only"]


def test_two_seeds_are_judged_by_the_wider_bounds_of_both() -> None:
    one, other = reported(1.0), reported(1.02)
    both = reported(1.0, 1.02).comparison.groups["general"].change
    assert both.low == one.comparison.groups["general"].change.low
    assert both.high == other.comparison.groups["general"].change.high


def test_each_seed_stands_beside_the_arms_of_its_own(tmp_path: Path) -> None:
    found = reported(1.001, 1.05, 1.003)
    write_report(found, tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    against = told["seeds_against_control"]["general"]
    assert against["changes"] == pytest.approx([0.002, 0.002, 0.002], abs=2e-4)
    assert against["interval"]["estimate"] == pytest.approx(0.002, abs=2e-4)
    forgets = next(arm for arm in told["arms"] if arm["name"] == "domain-only")["seeds"]["general"]["changes"]
    assert forgets == pytest.approx([0.1, 0.12, 0.14], abs=3e-3)
    assert len(told["proof"]["gain_kept_seeds"]["changes"]) == 3
    assert told["groups"]["general"]["change"]["estimate"] == pytest.approx(
        np.mean(told["seeds"]["general"]["changes"])
    )
    assert found.proof is not None and "mean over 3 seeds" in found.proof.conditions[1].said
    for kind in ("md", "html"):
        text = (tmp_path / f"report.{kind}").read_text()
        assert "Student's t" in text.replace("&#x27;", "'") and "over seeds" in text


def test_an_interval_over_seeds_is_never_narrower_than_documents_or_seeds() -> None:
    alike = [Interval(0.01, 0.0, 0.02)] * 3
    assert combined(alike) == alike[0]
    scattered = combined([Interval(v, v - 1e-6, v + 1e-6) for v in (0.0, 0.01, 0.02)])
    assert scattered.high - scattered.estimate == pytest.approx(4.303 * 0.01 / np.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("documents", [1, 2, FEWEST - 1])
def test_a_handful_of_documents_is_too_few_to_tell(documents: int) -> None:
    few = compare(evaluation("a", bits("d", "domain", [70.0] * documents)),
                  evaluation("b", bits("d", "domain", [50.0] * documents)))  # fmt: skip
    assert direction(few.groups["domain"]) == "too few"
    assert judge("general", few.groups["domain"].worse, 1.0, documents).status == "unproven"
    assert judge("general", Interval(0.0, 0.0, 0.0), 1.0, documents).status == "unproven"
    one = (
        evaluation("a", bits("d", "domain", [70.0] * documents)),
        evaluation("b", bits("d", "domain", [50.0] * documents)),
    )
    assert "Too few documents to tell of domain text" in make_report("r", *one).headline


def test_ten_documents_have_an_interval() -> None:
    nats = np.linspace(50, 90, FEWEST)
    enough = compare(evaluation("a", bits("d", "domain", nats)), evaluation("b", bits("d", "domain", nats * 0.7)))
    assert direction(enough.groups["domain"]) == "better"


def test_skills_of_one_example_each_have_no_interval() -> None:
    names = [f"s{number}" for number in range(12)]
    before, after = (
        evaluation(model, *(scores(n, "skills", [score]) for n in names)) for model, score in (("a", 0.0), ("b", 1.0))
    )
    assert direction(compare(before, after).groups["skills"]) == "too few"


def test_the_first_start_of_a_recipe_is_judged_against_too(tmp_path: Path) -> None:
    origin = Origin(evaluation("the first start", bits("g", "general", NATS / 1.03)), {"general": 0.01})
    found = reported(1.0, keep=0.01, origin=origin)
    assert [verdict.status for verdict in found.gate.verdicts] == ["within", "within", "broken"]
    assert found.exit_status == 3 and "against the first start" in found.headline
    write_report(found, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["from_origin"]["start"] == "the first start"
    for kind in ("md", "html"):
        assert "From the start of the whole recipe, the first start" in (tmp_path / f"report.{kind}").read_text()


def test_a_report_without_a_budget_is_done_and_not_within(tmp_path: Path) -> None:
    write_report(make_report("r", START, measured("m", 1.5), draws=100), tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    assert (told["status"], told["exit_status"]) == ("done", 0)


def test_answers_that_could_not_be_graded_are_counted_and_said(tmp_path: Path) -> None:
    def graded(model: str, score: float | None) -> EvalResult:
        return evaluation(model, bits("g", "general", NATS), scores("answers", "domain", [score] * 60))

    found = make_report("r", graded("a", None), graded("b", None), draws=100)
    write_report(found, tmp_path)
    said = "60 of 60 answers of b to answers could not be graded"
    assert said in found.headline and said in (tmp_path / "report.md").read_text()
    assert said in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["ungraded"][1]["answers"] == 60
