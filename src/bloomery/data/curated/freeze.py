"""Freezes the held-out rows of the embedded family into `families/ember/heldout/`, once per release of it.

The files ship with the family, because other package versions would hold out other text. Run it with
`python -m bloomery.data.curated.freeze families/ember/heldout`.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bloomery.core.files import write_text
from bloomery.data.builtin import generate
from bloomery.data.curated import documentation, safety
from bloomery.data.curated.skills.stream import SKILLS, draw, task_row

DOCUMENTATION_BYTES = 290_000
MAX_DOCUMENT_BYTES = 3_000
"""Longer documents would leave room for too few of them, and a bootstrap needs many."""

SHINGLE_WORDS = 8
MAX_SHARED = 0.2


def heldout_documentation(limit: int = DOCUMENTATION_BYTES) -> list[dict[str, str]]:
    """Held-out documents that share at most a fifth of their 8-word shingles with any training text.

    Libraries repeat whole paragraphs from class to class; without this filter the slice would measure
    what was memorised. Rows come in the order of their hash, at most `limit` bytes of JSON together.
    """
    known: set[bytes] = set()
    for row in documentation.generate(split="train"):
        known.update(_shingles(row["text"]))
    chosen, size = [], 0
    for row in sorted(documentation.generate(split="heldout"), key=lambda row: row["id"]):
        shingles = _shingles(row["text"])
        line = len(json.dumps(row, ensure_ascii=False).encode()) + 1
        if line > MAX_DOCUMENT_BYTES or sum(s in known for s in shingles) > MAX_SHARED * len(shingles):
            continue
        if size + line > limit:
            break
        size += line
        chosen.append(row)
    return chosen


def _shingles(text: str) -> set[bytes]:
    words = text.lower().split()
    runs = (" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1)))
    return {hashlib.blake2b(run.encode(), digest_size=8).digest() for run in runs}


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON lines, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def heldout_skills(names: Sequence[str], count: int) -> list[dict[str, Any]]:
    """`count` held-out task rows of each skill, no two of one instance."""
    rows = []
    for name in names:
        rng, seen = random.Random(f"frozen/{name}"), set[str]()
        while len(seen) < count:
            problem = draw(rng, name, "heldout")
            if problem.key not in seen:
                seen.add(problem.key)
                rows.append(task_row(f"{name}-{len(seen)}", name, problem))
    return rows


def heldout_safety(kind: str, count: int) -> list[dict[str, Any]]:
    """`count` held-out rows of `refusal` or `over_refusal`, no two with one prompt."""
    rows: dict[str, dict[str, Any]] = {}
    for row in safety.generate(split="heldout", kinds=[kind], count=None):
        rows.setdefault(row["prompt"], row)
        if len(rows) == count:
            break
    return [row | {"id": f"{kind}-{number}"} for number, row in enumerate(rows.values(), 1)]


def main(folder: Path) -> None:
    """Write every held-out file of the family under `folder`."""
    instruction = ["following"]
    write_rows(folder / "skills.jsonl", heldout_skills([name for name in SKILLS if name not in instruction], 100))
    write_rows(folder / "instruction.jsonl", heldout_skills(instruction, 200))
    write_rows(folder / "skills-text.jsonl", generate("skills", {"stage": "mid", "split": "heldout", "count": 150}))
    for kind in safety.KINDS:
        write_rows(folder / f"{kind}.jsonl", heldout_safety(kind, 150))
    write_rows(folder / "documentation.jsonl", heldout_documentation())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
