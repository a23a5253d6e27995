"""Moderation on real comments: one ember-based model for six policies, against a model for each and against TF-IDF.

    PYTHONPATH=src python bench/moderation.py DATA SCRATCH [--peer PYTHON] [--price PRICE] [--borrow]

DATA holds `civil_comments_train.jsonl.xz` (CC0) and `davidson_train.jsonl.xz` (MIT; only read, without its labels).
With `--borrow` (and a SCRATCH of its own) all of that set and of `goemotions_reddit_train.jsonl.xz` (CC BY 4.0) is
read, and the model learns to answer what their annotators were asked before it is asked about comments; the models of
`each` are left out.
Their rows stay in SCRATCH. Every step leaves a file there and is skipped when it is there, so that a run that was
stopped goes on. Figures go to `bench/moderation/`, without any row. `--peer` is a Python with scikit-learn, for the
baseline.

Policies: `toxic` is the label of the set; `insult` more than half of the annotators, rarer types three in ten or more.
Rows go to training (70 %), calibration (13 %) and test (17 %) by a hash of their text; equal texts are one row.

`one` and the models of `each` compute equally much, on texts of up to `SHORT` characters. Their answers are drawn,
each pass anew, with the chance that is the share of the annotators who said so. `longer` goes on from `one` with texts
of all lengths; of the rarer types it is told the label. TF-IDF is fitted on the whole training part and its labels (on
the shares it has the same AUROC).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.core.files import read_json, write_json, write_text
from bloomery.families.registry import load_family
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
SHORT, PASSES, MORE = 300, 3, 2
"""Characters of the texts that `one` is asked about (78 % of them), how often each is, and how often `longer` is."""
STAGE = "pretrained"
READING = "objective: text\nschedule: {lr: 1.5e-3}\noptim: {batch: 1024 tokens}\n"
ANSWERING = "objective: sft\nschedule: {{lr: {lr}}}\noptim: {{batch: {batch} tokens}}\n"
ONE = ANSWERING.format(lr="1.5e-3", batch=5120)
LONGER = ANSWERING.format(lr="1e-3", batch=5120)
EACH = ANSWERING.format(lr="1.5e-3", batch=1280)
RECIPE = """\
{start}
data: {{domain: [{{path: {rows}{columns}}}], holdout: 0}}
budget: 1 epochs
threads: {threads}
steps: [train, export]
"""
TURNS = (
    "{%- for m in messages %}{%- if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '<|endoftext|>' }}{% endgeneration %}"
    "{%- else %}{{ m.content + '\\n' }}{%- endif %}{%- endfor %}"
)
"""A chat template of one newline a turn: a question then costs 6 tokens where ember's own takes 15."""

ANGRY = {"anger", "annoyance", "disgust"}

Row = dict[str, Any]


def shares(row: Row) -> dict[str, float]:
    """Policy -> the part of the annotators who say that the comment breaks it."""
    kinds = {name: min(row["types"].get(kind, 0) / max(row["annotators"], 1), 1.0) for name, kind in TYPES.items()}
    return {"toxic": row["toxic"]} | kinds


def labels(row: Row) -> dict[str, bool]:
    """Policy -> whether the comment breaks it."""
    said = shares(row)
    found = {name: said[name] > 0.5 if name == "insult" else said[name] >= 0.3 for name in TYPES}
    return {"toxic": row["label"] == "toxic"} | found


def read(path: Path) -> Iterator[Row]:
    """Rows of a compressed file."""
    with lzma.open(path, "rt") as file:
        yield from map(json.loads, file)


def split(data: Path) -> dict[str, list[Row]]:
    """Rows by part."""
    parts: dict[str, list[Row]] = {"train": [], "calibration": [], "test": []}
    seen = set()
    for row in read(data / "civil_comments_train.jsonl.xz"):
        if row["text"] in seen:
            continue
        seen.add(row["text"])
        place = _place(row["text"])
        part = "train" if place < 0.7 else "calibration" if place < 0.83 else "test"
        parts[part].append({"id": row["id"], "text": row["text"], "labels": labels(row), "shares": shares(row)})
    return parts


def write(path: Path, rows: Sequence[Row] | Iterator[Row]) -> None:
    """JSON lines, once."""
    if not path.is_file():
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), mode=0o600)


def asked(rows: Sequence[Row], policies: Sequence[str], texts: int, told: Sequence[str] = ()) -> Iterator[Row]:
    """The answers about `texts` texts: pass after pass, a group of rows a text. Policies in `told` have the label,
    others what is drawn by the annotators' shares."""
    for number in range(texts):
        row, turn = rows[number % len(rows)], number // len(rows)
        for name in policies:
            drawn = (_place(f"{row['id']}:{name}") + turn / PASSES) % 1 < row["shares"][name]
            said = row["labels"][name] if name in told else drawn
            yield {
                "id": f"{row['id']}:{name}:{turn}",
                "group": f"{row['id']}:{turn}",
                "prompt": f"{row['text']}\n{name}?",
                "response": "yes" if said else "no",
            }


def borrowed(data: Path) -> Iterator[Row]:
    """What other sets' annotators were asked: of tweets whether they are hateful or offensive, drawn by the votes, and
    of messages on Reddit whether their writer is angry, for all who are and a third of the others."""
    for row in read(data / "davidson_train.jsonl.xz"):
        hateful, offensive = (row["votes"][kind] / sum(row["votes"]) for kind in (0, 1))
        yield from _answers(row, {"hateful": hateful, "offensive": hateful + offensive})
    for row in read(data / "goemotions_reddit_train.jsonl.xz"):
        angry = not ANGRY.isdisjoint(row["labels"])
        if angry or _place(row["text"]) < 1 / 3:
            yield from _answers(row, {"angry": float(angry)})


def _answers(row: Row, said: dict[str, float]) -> Iterator[Row]:
    for name, share in said.items():
        answer = "yes" if _place(f"{row['id']}:{name}") < share else "no"
        yield {"id": f"{row['id']}:{name}", "group": row["id"], "prompt": f"{row['text']}\n{name}?", "response": answer}


def _place(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def train(scratch: Path, name: str, threads: int, start: str, rows: str) -> Path:
    """The model of a run in SCRATCH, trained, gone on with, or there already."""
    from bloomery.recipes.run import resume, run

    folder = scratch / "runs" / name
    if not (folder / "model").is_dir():
        path = scratch / f"{name}.yaml"
        columns = "" if name == "text" else ", columns: {group: group}"
        path.write_text(RECIPE.format(threads=threads, start=start, rows=rows, columns=columns))
        if (folder / "recipe.yaml").is_file():
            resume(str(folder))
        else:
            run(str(path), folder=folder)
    return folder


def start_of(scratch: Path) -> Path:
    """A copy of ember with the short chat template."""
    folder = scratch / "ember"
    if not (folder / "chat_template.jinja").is_file():
        family = load_family("ember")
        stage = family.file_of(str(family.checkpoint(STAGE).folder))
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(stage / name, folder / name)
        write_text(folder / "chat_template.jinja", TURNS)
    return folder


def spec_of(policies: Sequence[str]) -> ClassifierSpec:
    """The classifier of some policies. Fine-tuned: the fitted bias holds whatever prior there is."""
    return ClassifierSpec.model_validate({"questions": {name: f"{name}?" for name in policies}, "prior": "none"})


def policies_of(model: str) -> tuple[str, ...]:
    """What a model was trained to answer."""
    return (model.removeprefix("only-"),) if model.startswith("only-") else POLICIES


def scores(scratch: Path, model: str, part: str, rows: Sequence[Row]) -> Row:
    """Scores of a model on a part with what they cost, from a file where they are there."""
    from bloomery.studies.classifying import open_classifier

    path = scratch / "scores" / f"{model}-{part}.json"
    if not path.is_file():
        found = open_classifier(spec_of(policies_of(model)), str(scratch / "runs" / model)).classifier(rows)
        told = {name: np.round(one, 5).tolist() for name, one in found.scores.items()}
        write_json(path, {"scores": told, "seconds": found.seconds, "tokens": found.tokens, "alone": found.alone})
    return dict(read_json(path))


def measured(
    scratch: Path, name: str, models: Sequence[str], parts: dict[str, list[Row]], borrowed: bool = False
) -> Any:
    """The arm of one way to answer all policies: its report, written to the results, latency and training."""
    from bloomery.evals.classify_compare import Arm, latency
    from bloomery.evals.classify_report import assess
    from bloomery.recipes.find import find_model
    from bloomery.studies.classifying import LATENCY_ROWS, open_classifier, training_of

    raw = {part: [scores(scratch, model, part, parts[part]) for model in models] for part in ("calibration", "test")}
    given = {part: {k: np.array(v) for one in raw[part] for k, v in one["scores"].items()} for part in raw}
    spec = spec_of(POLICIES)
    truth = {
        part: {name: np.array([0 if row["labels"][name] else 1 for row in parts[part]]) for name in POLICIES}
        for part in raw
    }
    fitted = calibrate(spec, "bench", given["calibration"], truth["calibration"])
    found = assess(spec, fitted, given["test"], truth["test"], name)
    print(found)
    cost = {key: sum(one[key] for one in raw["test"]) for key in ("seconds", "tokens", "alone")}
    write_json(RESULTS / f"{'borrowed-' if borrowed else ''}{name}.json", found.to_json() | {"cost": cost})
    runs = [str(scratch / "runs" / model) for model in models]
    classifiers = [
        open_classifier(spec_of(policies_of(model)), run).classifier for model, run in zip(models, runs, strict=True)
    ]
    tokens, seconds = (sum(one) for one in zip(*(training_of(find_model(run)) for run in runs), strict=True))
    return Arm(name, len(models), found, latency(classifiers, parts["test"][:LATENCY_ROWS]), tokens, seconds)


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


def part_of_texts(scratch: Path, rows: Sequence[Row]) -> float:
    """The part of the texts that six models with a question each compute as much with as one model with six of all."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(scratch / "ember" / "tokenizer.json"))
    text = float(np.mean([len(one.ids) for one in tokenizer.encode_batch([row["text"] for row in rows])]))
    ends = [len(tokenizer.encode(f"\n{name}?\nno<|endoftext|>").ids) for name in POLICIES]
    return (text + sum(ends)) / (len(POLICIES) * text + sum(ends))


def main() -> None:
    """Every step that is not there yet."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("scratch", type=Path)
    options.add_argument("--peer", help="a Python with scikit-learn")
    options.add_argument("--price", type=float, default=0.04, help="of an hour of one core, for the cost of answers")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--borrow", action="store_true", help="learn from other sets' labels first")
    given = options.parse_args()
    scratch, parts = given.scratch.resolve(), split(given.data)
    for name, rows in parts.items():
        write(scratch / f"{name}.jsonl", rows)
    if given.peer and not (RESULTS / "tfidf.json").is_file():
        done = subprocess.run([given.peer, "-c", PEER, str(scratch)], check=True, capture_output=True, text=True)
        write_json(RESULTS / "tfidf.json", json.loads(done.stdout))
    write(scratch / "text.jsonl", _texts(given.data, parts["train"], given.borrow))
    train(scratch, "text", given.threads, f"model: {start_of(scratch)}\n{READING}", "text.jsonl")
    short = [row for row in parts["train"] if len(row["text"]) <= SHORT]
    before = scratch / "runs" / "text"
    if given.borrow:
        write(scratch / "borrowed.jsonl", borrowed(given.data))
        before = train(scratch, "borrowed", given.threads, f"start: {before}\n{ONE}", "borrowed.jsonl")
    later, texts = f"start: {before}\n", len(short) * PASSES
    write(scratch / "one.jsonl", asked(short, POLICIES, texts))
    train(scratch, "one", given.threads, later + ONE, "one.jsonl")
    arms = [measured(scratch, "one", ["one"], parts, given.borrow)]
    whole, rare = parts["train"], [name for name in TYPES if name != "insult"]
    write(scratch / "longer.jsonl", asked(whole, POLICIES, len(whole) * MORE, rare))
    train(scratch, "longer", given.threads, f"start: {scratch / 'runs' / 'one'}\n{LONGER}", "longer.jsonl")
    measured(scratch, "longer", ["longer"], parts, given.borrow)
    if given.borrow:
        return
    for name in POLICIES:
        write(scratch / f"only-{name}.jsonl", asked(short, [name], round(texts * part_of_texts(scratch, short))))
        train(scratch, f"only-{name}", given.threads, later + EACH, f"only-{name}.jsonl")
    arms.append(measured(scratch, "each", [f"only-{name}" for name in POLICIES], parts))
    _compare(arms, given.price)


def _compare(arms: Sequence[Any], price: float) -> None:
    from bloomery.evals.classify_compare import by_question, table
    from bloomery.studies.classifying import Compared

    found = Compared(table(arms, price), by_question(arms), price)
    print(found)
    write_json(RESULTS / "compared.json", found.to_json())


def _texts(data: Path, rows: Sequence[Row], borrow: bool) -> Iterator[Row]:
    """What is read: the comments of the training part, and every sixth text of another set or all of two."""
    kinds, every = (("davidson", "goemotions_reddit"), 1) if borrow else (("davidson",), 6)
    others = (row for name in kinds for row in [*read(data / f"{name}_train.jsonl.xz")][::every])
    yield from ({"id": row["id"], "text": row["text"]} for row in (*rows, *others))


if __name__ == "__main__":
    sys.exit(main())
