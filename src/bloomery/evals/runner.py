"""Runs suites on an engine: score, choose or generate and grade; one record an example."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.engine.protocol import Engine
from bloomery.evals.answered import ANSWERED, Answers
from bloomery.evals.beside import against_reference, only_answered
from bloomery.evals.judged import NOBODY, Judging
from bloomery.evals.metrics import BBQ, name_of
from bloomery.evals.own_metrics import own_values
from bloomery.evals.played import Play, nobody, played
from bloomery.evals.prompts import Prompter, messages_of
from bloomery.evals.results import EvalResult, Record, SuiteResult
from bloomery.evals.rows import ident, reference_of
from bloomery.evals.scored import SCORED
from bloomery.evals.suites import Row, Suite
from bloomery.graders.load import NOTHING, Given, load_grader
from bloomery.graders.payload import Sample


def evaluate(
    engine: Engine,
    tokenizer: Any,
    suites: Sequence[Suite],
    out: Path | None = None,
    *,
    model: str = "model",
    base: Path | None = None,
    seed: int = 0,
    judging: Judging = NOBODY,
    beside: bool = False,
    play: Play = nobody,
    begun: Callable[[str], None] = lambda suite: None,
) -> EvalResult:
    """Run every suite and return its records; with `out`, save them there too.

    `tokenizer` is a transformers fast tokenizer, `base` the folder relative grader paths count from. With `beside`,
    answers to suites of pairs are drawn and left to be judged beside those of other models. `play` attempts tasks in
    environments; `begun` hears each suite's name before its rows are run. Raises `InputError` for suites of one name,
    broken rows and graders that cannot work.
    """
    names = [suite.name for suite in suites]
    if len(set(names)) != len(names):
        raise InputError(f"two suites have one name: {', '.join(sorted(n for n in set(names) if names.count(n) > 1))}")
    began = time.perf_counter()
    prompters = {render: Prompter(tokenizer, render) for render in {suite.render for suite in suites}}
    runs = []
    for suite in suites:
        begun(suite.name)
        answers = Answers(engine, prompters[suite.render], suite, base, seed, judging.given)
        runs += [replace(one, **judging.told(suite.grader)) for one in _run(answers, beside, play)]
    result = EvalResult(model, {one.name: one for one in runs}, time.perf_counter() - began)
    if out is not None:
        result.save(out)
    return result


def _run(answers: Answers, beside: bool, play: Play) -> list[SuiteResult]:
    """One result, or one for each task of another package's."""
    began, engine, prompter, suite = time.perf_counter(), answers.engine, answers.prompter, answers.suite
    if suite.kind == "lm_eval":
        from bloomery.evals.lm_eval import run_tasks

        return run_tasks(engine, prompter.tokenizer, suite, answers.seed)
    if suite.kind == "inspect":
        from bloomery.evals.inspect_tasks import run_tasks as run_inspect

        return run_inspect(engine, prompter, suite, answers.seed)
    rows = suite.load_rows()
    if suite.kind in SCORED:
        records = SCORED[suite.kind](engine, prompter, rows)
    elif suite.kind == "environment":
        records = played(play, suite, rows, answers.seed)
    elif suite.kind == "pairwise":
        records = only_answered(answers, rows) if beside else against_reference(answers, rows)
    else:
        records = ANSWERED[suite.kind](answers, rows)
    base = answers.base
    own = {name_of(one): own_values(one, records, base) for one in suite.metrics or () if not isinstance(one, str)}
    told = (suite.name, suite.kind, suite.group, tuple(records), time.perf_counter() - began)
    return [SuiteResult(*told, _metrics(suite, records), own)]


def _metrics(suite: Suite, records: Sequence[Record]) -> tuple[str, ...]:
    """What the suite is measured by: rows in BBQ's form have bias scores without being asked."""
    bias = suite.metrics is None and any("ambiguous" in record.values for record in records)
    return (*suite.named_metrics, *(BBQ if bias else ()))


def refuse_ungradable(suite: Suite, base: Path | None = None, at_once: int = 64, given: Given = NOTHING) -> None:
    """Raise `InputError` where not even the rows' own answers can be graded, so that no model's could be.

    A suite that is not graded passes. Rows are tried until one has a score.
    """
    if suite.grader is None:
        return
    grader, rows, reason = load_grader(suite.grader, base, given), suite.load_rows(), ""
    for at in range(0, len(rows), at_once):
        samples = [answered(row, at + i) for i, row in enumerate(rows[at : at + at_once])]
        scores = grader.grade(samples)
        if any(score.aggregate_reward_score is not None for score in scores):
            return
        reason = reason or scores[0].reason
    raise InputError(
        f"none of the {len(rows)} answers to `{suite.name}` could be graded: {reason}",
        fix="give the rows what the grader needs (`reference_answer`, `metadata`), or change the grader",
    )


def answered(row: Row, number: int) -> Sample:
    """The row with its own reference as the answer."""
    wanted = reference_of(row)
    said = str(wanted[0] if isinstance(wanted, list | tuple) and wanted else wanted or "")
    answer = {"role": "assistant", "content": said}
    return Sample(ident(row, number), [*messages_of(row), answer], wanted, row.get("metadata") or {})
