"""Runs suites on an engine: score, choose or generate and grade; one record an example."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.engine.protocol import Completion, Engine, Sampling
from bloomery.evals.prompts import Prompter, Scored, messages_of, windows
from bloomery.evals.results import EvalResult, Record, SuiteResult
from bloomery.evals.rewards import DESIRABLE, UNDESIRABLE
from bloomery.evals.suites import Row, Suite
from bloomery.graders.load import load_grader
from bloomery.graders.payload import Sample, text_of


def evaluate(
    engine: Engine,
    tokenizer: Any,
    suites: Sequence[Suite],
    out: Path | None = None,
    *,
    model: str = "model",
    base: Path | None = None,
    seed: int = 0,
) -> EvalResult:
    """Run every suite and return its records; with `out`, save them there too.

    `tokenizer` is a transformers fast tokenizer, `base` the folder relative grader paths count from.
    Raises `InputError` for suites of one name, broken rows and graders that cannot work.
    """
    names = [suite.name for suite in suites]
    if len(set(names)) != len(names):
        raise InputError(f"two suites have one name: {', '.join(sorted(n for n in set(names) if names.count(n) > 1))}")
    began = time.perf_counter()
    prompters = {render: Prompter(tokenizer, render) for render in {suite.render for suite in suites}}
    found = {suite.name: _run(engine, prompters[suite.render], suite, base, seed) for suite in suites}
    result = EvalResult(model, found, time.perf_counter() - began)
    if out is not None:
        result.save(out)
    return result


def _run(engine: Engine, prompter: Prompter, suite: Suite, base: Path | None, seed: int) -> SuiteResult:
    began = time.perf_counter()
    rows = suite.load_rows()
    if suite.kind == "generate":
        records = _generate(engine, prompter, suite, rows, base, seed)
    else:
        records = SCORED[suite.kind](engine, prompter, rows)
    return SuiteResult(suite.name, suite.kind, suite.group, tuple(records), time.perf_counter() - began)


def _bits(engine: Engine, prompter: Prompter, rows: Sequence[Row]) -> list[Record]:
    if all(row.get("text") is not None for row in rows):
        documents = prompter.texts([str(row["text"]) for row in rows])
    else:
        documents = [prompter.texts([row["text"]])[0] if row.get("text") else prompter.answered(row) for row in rows]
    nats = _nats(engine, documents)
    return [
        Record(_id(row, i), _part(row), nats=nats[i], bytes=doc.text_bytes, tokens=max(len(doc.ids) - doc.start, 0))
        for i, (row, doc) in enumerate(zip(rows, documents, strict=True))
    ]


def _choose(engine: Engine, prompter: Prompter, rows: Sequence[Row]) -> list[Record]:
    """The choice with the highest log-likelihood wins, as lm-eval's `acc` has it."""
    candidates = [prompter.choice(row) for row in rows]
    nats = iter(_nats(engine, [one for many in candidates for one in many]))
    records = []
    for number, (row, many) in enumerate(zip(rows, candidates, strict=True)):
        losses = [next(nats) for _ in many]
        picked, choices = losses.index(min(losses)), row["choices"]
        if not (isinstance(row["answer"], int) and 0 <= row["answer"] < len(choices)):
            raise InputError(f"row `{_id(row, number)}`: `answer` must be the number of a choice, from 0")
        records.append(
            Record(
                _id(row, number),
                _part(row),
                score=float(picked == row["answer"]),
                tokens=sum(len(one.ids) - one.start for one in many),
                chance=1 / len(choices),
                prompt=_shown(row),
                answer=str(choices[picked]),
                reference=str(choices[row["answer"]]),
            )
        )
    return records


def _generate(
    engine: Engine, prompter: Prompter, suite: Suite, rows: Sequence[Row], base: Path | None, seed: int
) -> list[Record]:
    grader = load_grader(suite.grader or {}, base)
    prompts = [prompter.prompt(messages_of(row)) for row in rows]
    completions = engine.generate(prompts, Sampling(suite.max_new_tokens, suite.temperature, seed=seed))
    answers = [_text(prompter.tokenizer, completion, suite.stop) for completion in completions]
    samples = [
        Sample(
            _id(row, i),
            [*messages_of(row), {"role": "assistant", "content": answer}],
            _reference(row),
            row.get("metadata") or {},
        )
        for i, (row, answer) in enumerate(zip(rows, answers, strict=True))
    ]
    return [
        Record(
            sample.id,
            _part(row),
            score=score.aggregate_reward_score,
            reason=score.reason,
            tokens=len(completion.ids),
            seconds=completion.seconds,
            prompt=_shown(row),
            answer=answer,
            reference="" if sample.reference_answer is None else str(sample.reference_answer),
        )
        for row, sample, score, completion, answer in zip(
            rows, samples, grader.grade(samples), completions, answers, strict=True
        )
    ]


def refuse_ungradable(suite: Suite, base: Path | None = None, at_once: int = 64) -> None:
    """Raise `InputError` where not even the rows' own answers can be graded, so that no model's could be.

    A suite that is not graded passes. Rows are tried until one has a score.
    """
    if suite.grader is None:
        return
    grader, rows, reason = load_grader(suite.grader, base), suite.load_rows(), ""
    for at in range(0, len(rows), at_once):
        samples = [_answered(row, at + i) for i, row in enumerate(rows[at : at + at_once])]
        scores = grader.grade(samples)
        if any(score.aggregate_reward_score is not None for score in scores):
            return
        reason = reason or scores[0].reason
    raise InputError(
        f"none of the {len(rows)} answers to `{suite.name}` could be graded: {reason}",
        fix="give the rows what the grader needs (`reference_answer`, `metadata`), or change the grader",
    )


def _answered(row: Row, number: int) -> Sample:
    """The row with its own reference as the answer."""
    wanted = _reference(row)
    said = str(wanted[0] if isinstance(wanted, list | tuple) and wanted else wanted or "")
    answer = {"role": "assistant", "content": said}
    return Sample(_id(row, number), [*messages_of(row), answer], wanted, row.get("metadata") or {})


def _reference(row: Row) -> Any:
    """What an answer is graded against: the row's own reference, else the answer that the row ends with."""
    metadata = row.get("metadata")
    inside = metadata.get("reference_answer") if isinstance(metadata, Mapping) else None
    for found in (row.get("reference_answer"), inside, row.get("response")):
        if found is not None:
            return found
    messages = row.get("messages") or [{}]
    return text_of(messages[-1]) if messages[-1].get("role") == "assistant" else None


def _prefer(engine: Engine, prompter: Prompter, rows: Sequence[Row]) -> list[Record]:
    """Right where a token of the better answer is likelier on average: sums would favour short answers."""
    pairs = [[prompter.continued(row[side], row["prompt"]) for side in ("chosen", "rejected")] for row in rows]
    nats = iter(_nats(engine, [one for pair in pairs for one in pair]))
    records = []
    for number, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
        lost = [next(nats) for _ in pair]
        better, worse = (loss / _counted(one) for loss, one in zip(lost, pair, strict=True))
        said = {side: "\n".join(map(text_of, row[side][row["prompt"] :])) for side in ("chosen", "rejected")}
        records.append(
            Record(
                _id(row, number),
                _part(row),
                score=float(better < worse),
                nats=lost[0] - lost[1],
                tokens=sum(len(one.ids) - one.start for one in pair),
                chance=0.5,
                prompt="\n".join(map(text_of, row["chosen"][: row["prompt"]])),
                answer=said["chosen" if better < worse else "rejected"],
                reference=said["chosen"],
            )
        )
    return records


def _judge(engine: Engine, prompter: Prompter, rows: Sequence[Row]) -> list[Record]:
    """Right where a good answer is of the likelier half of the suite by token, and a bad one of the other half."""
    sides = ["chosen" if row.get("chosen") else "rejected" for row in rows]
    answers = [prompter.continued(row[side], row["prompt"]) for row, side in zip(rows, sides, strict=True)]
    lost = _nats(engine, answers)
    each = [loss / _counted(one) for loss, one in zip(lost, answers, strict=True)]
    middle = statistics.median(each)
    return [
        Record(
            _id(row, number),
            _part(row),
            score=0.5 if each[number] == middle else float((each[number] < middle) == (side == "chosen")),
            nats=lost[number],
            tokens=len(answers[number].ids) - answers[number].start,
            chance=0.5,
            prompt="\n".join(map(text_of, row[side][: row["prompt"]])),
            answer="\n".join(map(text_of, row[side][row["prompt"] :])),
            reference=DESIRABLE if side == "chosen" else UNDESIRABLE,
        )
        for number, (row, side) in enumerate(zip(rows, sides, strict=True))
    ]


def _counted(one: Scored) -> int:
    """How many tokens of a document are scored, at least 1."""
    return max(len(one.ids) - one.start, 1)


SCORED: dict[str, Callable[[Engine, Prompter, Sequence[Row]], list[Record]]] = {
    "bpb": _bits,
    "choice": _choose,
    "preference": _prefer,
    "judged": _judge,
}
"""Kind of suite -> how its rows are scored without generating."""


def _nats(engine: Engine, documents: Sequence[Scored]) -> list[float]:
    """Negative log-likelihood of what counts in each document, long ones in windows of the context."""
    pieces = [(i, row, start) for i, doc in enumerate(documents) for row, start in windows(doc, engine.context, str(i))]
    total = [0.0] * len(documents)
    for (i, _, start), logp in zip(pieces, engine.score([row for _, row, _ in pieces]), strict=True):
        total[i] -= float(logp[start:].sum(dtype="float64"))
    return total


def _text(tokenizer: Any, completion: Completion, stop: Sequence[str]) -> str:
    text: str = tokenizer.decode(completion.body, skip_special_tokens=True)
    for end in stop:
        text = text.split(end, 1)[0]
    return text


def _id(row: Row, number: int) -> str:
    return str(row.get("id", number))


def _part(row: Row) -> str:
    return str(row.get("skill") or "")


def _shown(row: Row) -> str:
    return "\n".join(text_of(message) for message in messages_of(row))
