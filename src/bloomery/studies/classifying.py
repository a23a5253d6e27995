"""A classifier file on a model of ours: fitted, measured, used, and compared with one model for each question."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bloomery.core.errors import InputError, Where, nearest
from bloomery.core.events import read_events
from bloomery.core.files import sha256_file, verify_ours
from bloomery.data.config import SourceSpec
from bloomery.data.sources import iter_records
from bloomery.data.turns import refuse_half_in
from bloomery.recipes.find import Found, find_model
from bloomery.review.calibration import Calibration, calibrate
from bloomery.review.scores import Array, Labels
from bloomery.review.spec import ClassifierSpec, given_labels

if TYPE_CHECKING:
    from bloomery.evals.classify import Classifier
    from bloomery.evals.classify_compare import Arm
    from bloomery.evals.classify_report import ClassifierReport

Row = dict[str, Any]
LATENCY_ROWS = 200
"""Texts that latency is measured on, one at a time."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A classifier on a model: the model's name, and the hash of its weights that a calibration belongs to."""

    name: str
    sha256: str
    classifier: Classifier


@dataclass(frozen=True, slots=True)
class Compared:
    """One model for all questions beside one for each, printable."""

    rows: Sequence[Mapping[str, Any]]
    f1: Mapping[str, Mapping[str, float]]
    price: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"price_per_hour": self.price, "arms": list(self.rows), "f1": self.f1}

    def __str__(self) -> str:
        heads = list(self.rows[0])
        cells = [[f"{v:,.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (heads, *cells)]
        each = [f"  {name}: " + ", ".join(f"{arm} {v:.3f}" for arm, v in by.items()) for name, by in self.f1.items()]
        return "\n".join([*lines, f"at {self.price:g} an hour; F1 by question:", *each])


def open_classifier(spec: ClassifierSpec, model: str) -> Opened:
    """A classifier on a run, a model folder or FAMILY/STAGE. Raises `InputError` where it is none of them."""
    from bloomery.engine.native import NativeEngine
    from bloomery.evals.classify import Classifier
    from bloomery.models.load import load_model
    from bloomery.train.parallel import pick_device

    found = find_model(model)
    if found.scaffold:
        raise InputError(f"`{model}` has no weights to classify with", fix="train it first")
    loaded = load_model(found.folder, device=str(pick_device()))
    return Opened(found.name, weights_hash(found.folder), Classifier(spec, NativeEngine(loaded), loaded.tokenizer))


def weights_hash(folder: Path) -> str:
    """What a calibration is tied to: the manifest's hash of an export of ours, else that of its weight files."""
    ours = verify_ours(folder)
    return ours or "-".join(sha256_file(path)[:16] for path in sorted(folder.glob("*.safetensors")))


def read_rows(path: Path) -> list[Row]:
    """Rows of a file in any format of ours, each with an id. Raises `InputError` for a file without rows, and where
    two rows have one id: an answer would be taken for another's."""
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for record in iter_records(SourceSpec(path=str(path)), Path()):
        refuse_half_in(record.fields, record.where)
        name = str(record.fields.get("id") or f"{path.name}:{record.where.line}")
        if name in seen:
            raise InputError(
                f"the id `{name}` is that of row {seen[name]} too", where=record.where, fix="make it unique"
            )
        seen[name] = record.where.line or len(rows) + 1
        rows.append({**record.fields, "id": name})
    return rows


def truth_of(spec: ClassifierSpec, rows: Sequence[Row], path: Path) -> dict[str, Labels]:
    """Question -> number of the true label int64[n], -1 where a row does not answer it."""
    given = [given_labels(spec, row, Where(path)) for row in rows]
    return {
        question: np.array([names.index(one[question]) if question in one else -1 for one in given], np.int64)
        for question in spec.questions
        for names in [spec.names(question)]
    }


def fit(spec: ClassifierSpec, model: str, rows: Path) -> Calibration:
    """Calibrate a classifier on held-out rows with `labels`."""
    opened, read = open_classifier(spec, model), read_rows(rows)
    truth = truth_of(spec, read, rows)
    return calibrate(spec, opened.sha256, opened.classifier(read).scores, truth)


def score(spec: ClassifierSpec, opened: Opened, calibration: Calibration, rows: Sequence[Row]) -> list[Row]:
    """A row's answers: by question the label, its probability and all others', the conformal set, and the lowest risk
    of `calibration.RISKS` that answers as sure as this one keep (None: none)."""
    raw = opened.classifier(rows).scores
    found: list[Row] = [{"id": row["id"], "questions": {}} for row in rows]
    for question in spec.questions:
        fitted, names = calibration.questions[question], spec.names(question)
        p = fitted(raw[question])
        sets = fitted.sets(p)
        for number, one in enumerate(found):
            best = int(p[number].argmax())
            kept = [float(risk) for risk, least in fitted.thresholds.items() if p[number, best] >= least]
            one["questions"][question] = {
                "label": names[best],
                "p": dict(zip(names, p[number].tolist(), strict=True)),
                "set": [name for name, inside in zip(names, sets[number], strict=True) if inside],
                "risk": min(kept, default=None),
            }
    return found


def probabilities(
    spec: ClassifierSpec, opened: Opened, rows: Sequence[Row], calibration: Calibration | None
) -> dict[str, Array]:
    """Probabilities [n, labels] of every question, calibrated where there is a calibration."""
    raw = opened.classifier(rows).scores
    return {name: calibration.questions[name](raw[name]) if calibration else np.exp(raw[name]) for name in raw}


def report(spec: ClassifierSpec, model: str, calibration: Calibration, rows: Path) -> ClassifierReport:
    """Measure a calibrated classifier on rows that nothing was fitted on."""
    from bloomery.evals.classify_report import assess

    opened, read = open_classifier(spec, model), read_rows(rows)
    return assess(spec, calibration, opened.classifier(read).scores, truth_of(spec, read, rows), opened.name)


def compare(
    spec: ClassifierSpec, one: str, each: Mapping[str, str], fit_on: Path, rows: Path, price: float
) -> Compared:
    """One model for all questions against `each` question's own model, calibrated and measured on the same rows."""
    from bloomery.evals.classify_compare import by_question, table

    if missing := [question for question in spec.questions if question not in each]:
        raise InputError(f"no model of its own is named for `{missing[0]}`", fix=f"add --each {missing[0]}=MODEL")
    arms = [
        _arm("one for all", dict.fromkeys(spec.questions, one), spec, fit_on, rows),
        _arm("one for each", each, spec, fit_on, rows),
    ]
    return Compared(table(arms, price), by_question(arms), price)


def _arm(name: str, models: Mapping[str, str], spec: ClassifierSpec, fit_on: Path, rows: Path) -> Arm:
    from bloomery.evals.classify_compare import Arm, latency
    from bloomery.evals.classify_report import ClassifierReport

    test = read_rows(rows)
    reports, classifiers, trained = [], [], [0, 0.0]
    for model in dict.fromkeys(models.values()):
        own = {question: spec.questions[question] for question in spec.questions if models[question] == model}
        part = spec.model_copy(update={"questions": own})
        calibration = fit(part, model, fit_on)
        reports.append(report(part, model, calibration, rows))
        classifiers.append(open_classifier(part, model).classifier)
        trained = [a + b for a, b in zip(trained, training_of(find_model(model)), strict=True)]
    whole = {question: found for one in reports for question, found in one.questions.items()}
    together = ClassifierReport(name, 1 - spec.alpha, {question: whole[question] for question in spec.questions})
    spent = latency(classifiers, test[:LATENCY_ROWS])
    return Arm(name, len(reports), together, spent, int(trained[0]), float(trained[1]))


def training_of(found: Found) -> tuple[int, float]:
    """Tokens that were read, and seconds, of the training that a run did; 0 for a model that is none of our runs."""
    if found.run is None:
        return 0, 0.0
    steps = {e["step"]: e for e in read_events(found.run.events) if e["event"] == "step"}
    return sum(int(e["read_tokens"]) for e in steps.values()), sum(float(e["seconds"]) for e in steps.values())


def to_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def split_rows(path: Path, by: str, column: str, part: str, out: Path) -> tuple[int, int]:
    """Write `train.jsonl` and `heldout.jsonl`, split by time or group; how many rows each has."""
    from bloomery.core.files import write_text
    from bloomery.core.quantity import parse_share
    from bloomery.data.partition import by_group, by_time

    ways = {"time": by_time, "group": by_group}
    if by not in ways:
        raise InputError(f"`--by {by}` is no way to split{nearest(by, ways)}", fix="use time or group")
    rows = read_rows(path)
    seen, held = ways[by](rows, column, parse_share(part, "--part"))
    for name, side in (("train", seen), ("heldout", held)):
        write_text(out / f"{name}.jsonl", to_lines([rows[number] for number in side]), mode=0o600)
    return len(seen), len(held)
