"""The three domains of the studies: a company language that we generate, and two of real text from outside the project.

`reddit` is GoEmotions' comments (CC BY 4.0), `medicine` OpenStax's anatomy and microbiology (CC BY 4.0). They are read
from `DATA/domain_moderation/goemotions_reddit_train.jsonl.xz` and `DATA/pre/openstax_textbooks.jsonl.xz`.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("workflow", "reddit", "medicine")
HELD_OUT = {"reddit": 600, "medicine": 150}
"""Documents that no run trains on: enough that a change of one per cent has an interval beside it."""
LEAST, MOST = 400, 2000
"""Characters of one piece of a textbook; a whole chapter is one document there, and too few make an interval."""


def domain(name: str, data: Path, work: Path) -> dict[str, Any]:
    """`{"train": sources, "eval": sources}` of a domain as a recipe names them, the same rows each time."""
    if name == "workflow":
        parts = (("workflow-manual", 1500, 0.25), ("workflow-pairs", 20000, 0.75))
        return {
            "train": [{"builtin": part, "options": {"count": n}, "share": share} for part, n, share in parts],
            "eval": [{"builtin": part, "options": {"count": 150, "split": "heldout"}} for part, _, _ in parts],
        }
    files = {half: work / "data" / f"{name}-{half}.jsonl" for half in ("train", "eval")}
    if not all(path.exists() for path in files.values()):
        _write(name, data, files)
    return {half: [{"path": str(path), "name": f"{name}-{half}"}] for half, path in files.items()}


def moderation(data: Path, work: Path) -> dict[str, Any]:
    """`{"train": sources, "eval": sources}` of comments to be called ok or toxic (Civil Comments, CC0).

    `toxic` is the share of annotators who called a comment so; there are as many of one kind as of the other,
    held out and trained on.
    """
    files = {half: work / "data" / f"moderation-{half}.jsonl" for half in ("train", "eval")}
    if not all(path.exists() for path in files.values()):
        found = _rows(data / "domain_moderation" / "civil_comments_train.jsonl.xz")
        rows = sorted(map(_judged, found), key=lambda row: hashlib.sha256(row["id"].encode()).digest())
        rows = list(
            {"".join(filter(str.isalnum, row["prompt"].casefold())): row for row in rows}.values()
        )  # some comments are there twice
        held = [row for label in ("ok", "toxic") for row in [r for r in rows if r["response"] == label][:300]]
        kept = {row["id"] for row in held}
        _save(files["eval"], held)
        left = [[r for r in rows if r["response"] == label and r["id"] not in kept] for label in ("ok", "toxic")]
        _save(files["train"], [row for pair in zip(*left, strict=False) for row in pair])
    return {half: [{"path": str(path), "name": f"moderation-{half}"}] for half, path in files.items()}


def _judged(row: dict[str, Any]) -> dict[str, Any]:
    prompt = f"Is this comment ok or toxic?\n{row['text']}"
    answer = {"response": row["label"], "reference_answer": row["label"]}
    return {"id": row["id"], "prompt": prompt, **answer, "toxic": row["toxic"]}


def _write(name: str, data: Path, files: dict[str, Path]) -> None:
    rows = sorted(set(_texts(name, data)), key=lambda text: hashlib.sha256(text.encode()).digest())
    count = HELD_OUT[name]
    for half, chosen in (("eval", rows[:count]), ("train", rows[count:])):
        _save(files[half], [{"text": text} for text in chosen])


def _save(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _texts(name: str, data: Path) -> Iterator[str]:
    if name == "reddit":
        yield from (row["text"] for row in _rows(data / "domain_moderation" / "goemotions_reddit_train.jsonl.xz"))
        return
    for row in _rows(data / "pre" / "openstax_textbooks.jsonl.xz"):
        if "anatomy" in row["book"] or "microbiology" in row["book"]:
            yield from _pieces(row["text"])


def _pieces(text: str) -> Iterator[str]:
    """Paragraphs of a chapter, joined up to `MOST` characters; what stays under `LEAST` is left out."""
    piece = ""
    for paragraph in text.split("\n\n"):
        if piece and len(piece) + len(paragraph) > MOST:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph[:MOST]
    if len(piece) >= LEAST:
        yield piece


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)
