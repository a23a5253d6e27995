"""Results in lm-eval's own form: `results_<time>.json` and a sample log for each task, which its tools read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bloomery.core.files import canonical_hash, write_json, write_text
from bloomery.evals.measures import Measure, measures
from bloomery.evals.results import EvalResult, Record, SuiteResult

NAMES: Mapping[tuple[str, str], str] = {("choice", "score"): "acc", ("bpb", "bits_per_byte"): "bits_per_byte"}
"""(kind, our name) -> lm-eval's; others keep ours."""
Z = 1.96
"""Half an interval of 95 % in standard errors."""


def write_lm_eval(result: EvalResult, folder: Path, seed: int = 0, limit: int | None = None) -> Path:
    """Write the result file and, readable by their owner only, the sample logs; returns the former."""
    now = datetime.now()
    stamp = now.isoformat().replace(":", "-")
    for suite in result.suites.values():
        lines = [json.dumps(_sample(n, one, suite), ensure_ascii=False) for n, one in enumerate(suite.records)]
        write_text(folder / f"samples_{_file(suite.name)}_{stamp}.jsonl", "".join(f"{line}\n" for line in lines), 0o600)
    path = folder / f"results_{stamp}.json"
    write_json(path, lm_eval_form(result, seed, limit, now.timestamp()))
    return path


def lm_eval_form(result: EvalResult, seed: int, limit: int | None, date: float) -> dict[str, Any]:
    """The result as lm-eval's `results_*.json` has it; standard errors are half intervals over 1.96."""
    suites = result.suites
    figures = {name: _figures(suite) for name, suite in suites.items()}
    seeds = {f"{kind}_seed": seed for kind in ("random", "numpy", "torch", "fewshot")}
    return {
        "results": figures,
        "group_subtasks": {name: [] for name in suites},
        "configs": {name: _config(suite) for name, suite in suites.items()},
        "versions": dict.fromkeys(suites, 1),
        "n-shot": dict.fromkeys(suites, 0),
        "higher_is_better": {n: {_name(s, m): m.better == "more" for m in measures(s)} for n, s in suites.items()},
        "n-samples": {n: {"original": len(s.records), "effective": len(s.records)} for n, s in suites.items()},
        "config": {"model": "bloomery", "model_args": result.model, "limit": limit, **seeds},
        "date": date,
        "model_source": "bloomery",
        "model_name": result.model,
        "model_name_sanitized": _file(result.model),
        "total_evaluation_time_seconds": str(result.seconds),
    }


def _figures(suite: SuiteResult) -> dict[str, Any]:
    found: dict[str, Any] = {"alias": suite.name}
    for one in measures(suite):
        low, high = one.found.low, one.found.high
        found[f"{_name(suite, one)},none"] = _finite(one.found.estimate)
        spread = (high - low) / 2 / Z
        found[f"{_name(suite, one)}_stderr,none"] = spread if math.isfinite(spread) else "N/A"
    return found


def _name(suite: SuiteResult, one: Measure) -> str:
    return NAMES.get((suite.kind, one.name), one.name)


def _config(suite: SuiteResult) -> dict[str, Any]:
    kinds = {"bpb": "loglikelihood_rolling", "choice": "multiple_choice", "truth": "multiple_choice"}
    return {"task": suite.name, "tag": suite.group, "output_type": kinds.get(suite.kind, "generate_until")}


def _sample(number: int, record: Record, suite: SuiteResult) -> dict[str, Any]:
    answers = [one.answer for one in record.samples] or [record.answer]
    doc = {"id": record.id, "prompt": record.prompt, "reference": record.reference}
    score = "bits_per_byte" if suite.kind == "bpb" else "acc" if suite.kind == "choice" else "score"
    told = {"doc_hash": canonical_hash(doc), "prompt_hash": canonical_hash(record.prompt)}
    return {
        "doc_id": number,
        "doc": doc,
        "target": record.reference,
        "arguments": {"gen_args_0": {"arg_0": record.prompt}},
        "resps": [answers],
        "filtered_resps": answers,
        "filter": "none",
        "metrics": [score, *record.values],
        **told,
        "target_hash": canonical_hash(record.reference),
        score: record.score,
        **{name: _finite(value) for name, value in record.values.items()},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _file(name: str) -> str:
    return re.sub(r"[\"<>:/|\\?*\[\]\s]+", "__", name)
