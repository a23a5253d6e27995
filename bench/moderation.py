"""Moderation on real comments: one ember-based model for six policies, against a model for each and against TF-IDF.

    PYTHONPATH=src python bench/moderation.py DATA SCRATCH [--peer PYTHON]

DATA holds `civil_comments_train.jsonl.xz` (CC0); its rows stay in SCRATCH. Every step leaves a file there and is
skipped when it is there, so that a run that was stopped goes on. Figures go to `bench/moderation/`, without any row.
`--peer` is a Python with scikit-learn, for the baseline.

Policies: `toxic` is the label of the set; `insult` more than half of the annotators, rarer types three in ten or more.
Rows go to training (70 %), calibration (13 %) and test (17 %) by a hash of their text; equal texts are one row.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.core.files import read_json, write_json, write_text
from bloomery.review.calibration import calibrate
from bloomery.review.spec import ClassifierSpec

RESULTS = Path(__file__).parent / "moderation"
TYPES = {
    "insult": "Insult",
    "identity": "Identity based Attack",
    "profane": "Profane/Obscene",
    "threat": "Threat",
    "other": "Other Toxicity",
}
POLICIES = ("toxic", *TYPES)
READ, ANSWER = 1_200, 3_000
"""Thousands of tokens: reading comments, then answering. A model for each policy has a sixth of the second."""

RECIPE = """\
{start}
objective: {objective}
data:
  domain: [{{path: {rows}}}]
  share: {share}
{more}budget: {budget}k tokens
threads: {threads}
steps: [train, export]
"""
SFT = "schedule: {lr: 1.2e-3}\noptim: {batch: 2048 tokens}\n"


def labels(row: dict[str, Any]) -> dict[str, bool]:
    """Policy -> whether the comment breaks it."""
    share = {name: row["types"].get(kind, 0) / max(row["annotators"], 1) for name, kind in TYPES.items()}
    found = {name: value > 0.5 if name == "insult" else value >= 0.3 for name, value in share.items()}
    return {"toxic": row["label"] == "toxic"} | found


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a compressed file."""
    with lzma.open(path, "rt") as file:
        yield from map(json.loads, file)


def split(data: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows by part."""
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "calibration": [], "test": []}
    seen = set()
    for row in read(data / "civil_comments_train.jsonl.xz"):
        if row["text"] in seen:
            continue
        seen.add(row["text"])
        place = int(hashlib.sha256(row["text"].encode()).hexdigest()[:8], 16) / 2**32
        part = "train" if place < 0.7 else "calibration" if place < 0.83 else "test"
        parts[part].append({"id": row["id"], "text": row["text"], "labels": labels(row)})
    return parts


def write(path: Path, rows: Sequence[dict[str, Any]] | Iterator[dict[str, Any]]) -> None:
    """JSON lines, once."""
    if not path.is_file():
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), mode=0o600)


def asked(rows: Sequence[dict[str, Any]], policies: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each comment and policy, as the classifier asks and as `bloomery review export` writes them."""
    for row in rows:
        for name in policies:
            prompt, said = f"{row['text']}\n{name}?", "yes" if row["labels"][name] else "no"
            yield {"id": f"{row['id']}:{name}", "prompt": prompt, "response": said}


def train(scratch: Path, name: str, threads: int, **said: Any) -> Path:
    """The model of a run in SCRATCH, trained, gone on with, or there already."""
    from bloomery.recipes.run import resume, run

    folder = scratch / "runs" / name
    if not (folder / "model").is_dir():
        path = scratch / f"{name}.yaml"
        path.write_text(RECIPE.format(threads=threads, **said))
        if (folder / "recipe.yaml").is_file():
            resume(str(folder))
        else:
            run(str(path), folder=folder)
    return folder


def spec_of(policies: Sequence[str]) -> ClassifierSpec:
    """The classifier of some policies. Fine-tuned: the fitted bias holds whatever prior there is."""
    return ClassifierSpec.model_validate({"questions": {name: f"{name}?" for name in policies}, "prior": "none"})


def scores(scratch: Path, model: str, part: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Scores of a model on a part with what they cost, from a file where they are there."""
    from bloomery.studies.classifying import open_classifier

    path = scratch / "scores" / f"{model}-{part}.json"
    if not path.is_file():
        policies = POLICIES if model == "one" else (model.removeprefix("only-"),)
        found = open_classifier(spec_of(policies), str(scratch / "runs" / model)).classifier(rows)
        told = {name: np.round(one, 5).tolist() for name, one in found.scores.items()}
        write_json(path, {"scores": told, "seconds": found.seconds, "tokens": found.tokens, "alone": found.alone})
    return dict(read_json(path))


def measured(scratch: Path, models: Sequence[str], parts: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Report of one way to answer all policies of `models`, and what an answer cost."""
    from bloomery.evals.classify_report import assess

    raw = {part: [scores(scratch, model, part, parts[part]) for model in models] for part in ("calibration", "test")}
    given = {part: {k: np.array(v) for one in raw[part] for k, v in one["scores"].items()} for part in raw}
    spec = spec_of(tuple(name for name in POLICIES if name in given["test"]))
    truth = {
        part: {name: np.array([0 if row["labels"][name] else 1 for row in parts[part]]) for name in spec.questions}
        for part in raw
    }
    fitted = calibrate(spec, "bench", given["calibration"], truth["calibration"])
    found = assess(spec, fitted, given["test"], truth["test"], "+".join(models))
    print(found)
    cost = {key: sum(one[key] for one in raw["test"]) for key in ("seconds", "tokens", "alone")}
    return found.to_json() | {"cost": cost}


PEER = """
import json, sys, numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
rows = {p: [json.loads(l) for l in open(f"{sys.argv[1]}/{p}.jsonl")] for p in ("train", "calibration", "test")}
words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit([r["text"] for r in rows["train"]])
x = {p: words.transform([r["text"] for r in rows[p]]) for p in rows}
out = {}
for name in rows["train"][0]["labels"]:
    y = {p: np.array([r["labels"][name] for r in rows[p]]) for p in rows}
    fits = [LogisticRegression(C=c, max_iter=3000).fit(x["train"], y["train"]) for c in (0.1, 0.3, 1, 3, 10)]
    best = max(fits, key=lambda m: roc_auc_score(y["calibration"], m.predict_proba(x["calibration"])[:, 1]))
    p = {part: best.predict_proba(x[part])[:, 1] for part in ("calibration", "test")}
    cut = max(np.unique(p["calibration"]), key=lambda c: f1_score(y["calibration"], p["calibration"] >= c))
    out[name] = {"C": best.C, "f1": f1_score(y["test"], p["test"] >= cut), "auroc": roc_auc_score(y["test"], p["test"])}
mean = {k: float(np.mean([one[k] for one in out.values()])) for k in ("f1", "auroc")}
print(json.dumps({"mean": mean, "questions": out}))
"""


def main() -> None:
    """Every step that is not there yet."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("scratch", type=Path)
    options.add_argument("--peer", help="a Python with scikit-learn")
    options.add_argument("--threads", type=int, default=2)
    given = options.parse_args()
    scratch, parts = given.scratch.resolve(), split(given.data)
    for name, rows in parts.items():
        write(scratch / f"{name}.jsonl", rows)
    if given.peer and not (RESULTS / "tfidf.json").is_file():
        done = subprocess.run([given.peer, "-c", PEER, str(scratch)], check=True, capture_output=True, text=True)
        write_json(RESULTS / "tfidf.json", json.loads(done.stdout))
    write(scratch / "text.jsonl", ({"id": row["id"], "text": row["text"]} for row in _texts(given.data, parts)))
    first = {"start": "family: ember\nstart: posttrained", "objective": "text", "share": "90%", "more": ""}
    reader = train(scratch, "text", given.threads, rows="text.jsonl", budget=READ, **first)
    later = {"start": f"start: {reader}", "objective": "sft", "share": "98%", "more": SFT}
    write(scratch / "one.jsonl", asked(parts["train"], POLICIES))
    train(scratch, "one", given.threads, rows="one.jsonl", budget=ANSWER, **later)
    write_json(RESULTS / "one.json", measured(scratch, ["one"], parts))
    for name in POLICIES:
        write(scratch / f"only-{name}.jsonl", asked(parts["train"], [name]))
        train(
            scratch, f"only-{name}", given.threads, rows=f"only-{name}.jsonl", budget=ANSWER // len(POLICIES), **later
        )
    write_json(RESULTS / "each.json", measured(scratch, [f"only-{name}" for name in POLICIES], parts))


def _texts(data: Path, parts: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Comments of the training part, then unlabelled ones of another set, to read."""
    yield from parts["train"]
    yield from read(data / "goemotions_reddit_train.jsonl.xz")


if __name__ == "__main__":
    sys.exit(main())
