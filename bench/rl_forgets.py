"""What two models forgot of their common start: one learned from rewards, one by fine-tuning to the same skill.

    .venv/bin/python bench/rl_forgets.py START RL SFT --records START.jsonl RL.jsonl SFT.jsonl

Folders of models, or runs. For each: held-out tasks solved (temperature 1); KL to the start in nats a token, over its
own answers to held-out tasks and to prompts of ember's skills, which nobody trained here; of ember's own suites the
answers that were right at the start and are wrong now, and the other way round.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.core.rows import TokenRow
from bloomery.data.curated.workflow.check import check
from bloomery.data.curated.workflow.data import pairs
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Sampling
from bloomery.evals.prompts import Prompter
from bloomery.models.load import load_model


def folder(name: str) -> Path:
    return Path(name) / "model" if (Path(name) / "model").is_dir() else Path(name)


def rows_of(prompts: Sequence[list[int]], answers: Sequence[Any]) -> list[TokenRow]:
    ids = [np.array([*prompt, *answer.ids], np.int32) for prompt, answer in zip(prompts, answers, strict=True)]
    return [TokenRow(one, {"ce": np.ones(len(one), np.float32)}, str(n), "kl", str(n)) for n, one in enumerate(ids)]


def kl(engine: NativeEngine, start: NativeEngine, prompts: Sequence[list[int]]) -> float:
    """Mean of log p(model) - log p(start) over tokens that the model sampled: an unbiased estimate of the KL."""
    answers = engine.generate(prompts, Sampling(48, temperature=1.0, seed=5))
    told = zip(start.score(rows_of(prompts, answers)), prompts, answers, strict=True)
    each = [answer.logprobs - before[len(prompt) :] for before, prompt, answer in told]
    return float(np.concatenate(each).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start")
    parser.add_argument("models", nargs="+")
    parser.add_argument(
        "--records", nargs="*", default=[], help="records.jsonl of `bloomery eval --out`, in that order"
    )
    parser.add_argument("--tasks", type=int, default=400)
    options = parser.parse_args()
    begun = load_model(folder(options.start))
    start, prompter = NativeEngine(begun), Prompter(begun.tokenizer, "auto")
    tasks = list(pairs(count=options.tasks, split="heldout"))
    asked = [prompter.prompt([{"role": "user", "content": row["prompt"]}]) for row in tasks]
    records = [right(Path(one)) for one in options.records]
    general = [prompter.prompt([{"role": "user", "content": text}]) for text in PROMPTS]
    for number, name in enumerate(options.models):
        engine = NativeEngine(load_model(folder(name)))
        answers = engine.generate(asked, Sampling(48, temperature=1.0, seed=9))
        said = [begun.tokenizer.decode(answer.body, skip_special_tokens=True).strip() for answer in answers]
        solved = np.mean([check(text, row["metadata"]).ok for text, row in zip(said, tasks, strict=True)])
        told = {
            "model": name, "held_out": round(float(solved), 3),
            "kl_tasks": round(kl(engine, start, asked), 4), "kl_general": round(kl(engine, start, general), 4),
        }  # fmt: skip
        if records:
            before, after = records[0], records[number + 1]
            told["right_to_wrong"] = sum(before[key] and not after[key] for key in before)
            told["wrong_to_right"] = sum(after[key] and not before[key] for key in before)
            told["answers"] = len(before)
        print(json.dumps(told), flush=True)


def right(path: Path) -> dict[tuple[str, str], bool]:
    """(suite, id) -> whether the answer was right, of every graded answer."""
    found = {}
    for one in map(json.loads, path.read_text().splitlines()):
        if one.get("score") is not None and one.get("answer") is not None:
            found[one["suite"], str(one["id"])] = one["score"] >= 0.5
    return found


TOPICS = ("a list", "a file", "the loss", "a tensor", "numbers", "a string", "the weather", "a set", "a loop", "time")
PROMPTS = [
    text.format(topic)
    for topic in TOPICS
    for text in (
        "What is {}?", "Explain {} in one sentence.", "Give an example of {}.", "Why would one need {}?",
        "Write about {}.", "Name two things about {}.", "How does {} work?", "Say something short about {}.",
    )
]  # fmt: skip


if __name__ == "__main__":
    main()
