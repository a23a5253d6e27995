"""Toys for tests of training: a tiny Llama, rows made from a seed, a source of steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bloomery.core.events import EventLog
from bloomery.core.rows import TokenRow
from bloomery.models.load import Loaded, new_model
from bloomery.train.config import Optim, Schedule, TrainConfig
from bloomery.train.job import StepRows, TrainJob
from bloomery.train.parallel import World, join_world

VOCABULARY = 97
TINY = {
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "attention_dropout": 0.0,
}


def toy_model(seed: int = 0, **changes: Any) -> Loaded:
    """A two-layer Llama with random weights in fp32."""
    return new_model({**TINY, **changes}, seed, check=False)


def toy_row(name: str, length: int, seed: int, source: str = "toy") -> TokenRow:
    """A row whose next token mostly follows from the last one, so that there is something to learn."""
    random = np.random.default_rng(seed)
    ids = np.cumsum(random.choice([1, 1, 1, 5], length)) % VOCABULARY
    weight = np.ones(length, np.float32)
    weight[0] = 0
    return TokenRow(ids.astype(np.int32), {"ce": weight}, name, source, name)


def toy_rows(step: int, count: int = 6, longest: int = 40) -> list[TokenRow]:
    """The rows of one step, of unequal lengths, a pure function of the step."""
    random = np.random.default_rng(1000 + step)
    return [toy_row(f"{step}.{i}", int(random.integers(4, longest)), 100 * step + i) for i in range(count)]


class ToySource:
    """Steps made by `toy_rows`; remembers what it gave and what it was restored to."""

    def __init__(self, count: int = 6) -> None:
        self.count = count
        self.given: list[list[str]] = []
        self.restored: dict[str, Any] | None = None

    def steps(self, first: int, last: int) -> Iterator[StepRows]:
        for step in range(first, last):
            rows = toy_rows(step, self.count)
            self.given.append([row.row_id for row in rows])
            yield StepRows(step, rows, 0.0, {"next": step + 1})

    def restore(self, state: dict[str, Any]) -> None:
        self.restored = state


def toy_config(steps: int = 12, **changes: Any) -> TrainConfig:
    """A short run in fp32 that checkpoints every four steps."""
    schedule = Schedule("wsd", 1e-2, steps, warmup=0.1, anneal=0.3, shape="1-sqrt")
    settings: dict[str, Any] = {"precision": "fp32", "checkpoint_every": 4, "micro_tokens": 64, "optim": Optim()}
    return TrainConfig(schedule, **{**settings, **changes})


def toy_job(folder: Path, config: TrainConfig | None = None, **changes: Any) -> TrainJob:
    """A job over the toy model and source."""
    world: World = changes.pop("world", None) or join_world("cpu")
    loaded = changes.pop("loaded", None) or toy_model()
    source = changes.pop("source", None) or ToySource()
    events = EventLog(folder / "events.jsonl")
    return TrainJob(loaded, config or toy_config(), source, folder, world, events, quiet=True, **changes)


def lengths_of(rows: Sequence[TokenRow]) -> list[int]:
    """Tokens of each row."""
    return [len(row) for row in rows]


def toy_preferences(step: int, objective: str = "dpo", count: int = 4) -> list[TokenRow]:
    """The rows of one step: pairs, or judged answers each with the row that KTO measures, then two rows of text."""
    random = np.random.default_rng(5000 + step)
    rows = []
    for number in range(count):
        for side, sign in (("chosen", 1), ("rejected", -1)):
            name, made = f"{step}.{number}.{side}", toy_row("", int(random.integers(8, 30)), 100 * step + number)
            answer = np.where(np.arange(len(made)) < 3, 0, 1).astype(np.float32)
            size = answer.sum() if objective in ("ipo", "orpo") else 1
            parts = {"pref": sign * answer / size} | ({"ce": answer} if objective == "orpo" and sign > 0 else {})
            logp = None if objective == "orpo" else -answer * random.uniform(3, 6, len(made)).astype(np.float32)
            group = None if objective == "kto" else f"{step}.{number}"
            rows.append(TokenRow(made.ids, parts, name, "pairs", name, group, logp_ref=logp))
            if objective == "kto":
                ids = np.roll(made.ids, 2)
                rows.append(TokenRow(ids, {"kl": answer}, f"{name}:kl", "pairs", name, logp_ref=logp))
    return rows + toy_rows(step, 2, 20)


def toy_rollouts(step: int, groups: int = 3, size: int = 4, averaged: bool = False) -> list[TokenRow]:
    """The rows of one step: groups of answers to one prompt, some held to the start, then two rows of text."""
    random = np.random.default_rng(7000 + step)
    rows = []
    for number in range(groups):
        prompt = toy_row("", 10, 100 * step + number).ids
        for each in range(size):
            name, length = f"{step}.{number}.{each}", int(random.integers(2, 20))
            ids = np.concatenate([prompt, random.integers(0, VOCABULARY, length)]).astype(np.int32)
            answer = np.where(np.arange(len(ids)) < len(prompt), 0, 1).astype(np.float32)
            answer[len(prompt) + length // 2] = length < 4  # what a tool said is in the middle
            weight = answer / max(answer.sum(), 1) if averaged else answer
            parts = {"pg": weight} | ({"kl": weight} if number else {})
            logp = [-answer * random.uniform(3.5, 5.5, len(ids)).astype(np.float32) for _ in range(2)]
            advantage = answer * np.float32(each - (size - 1) / 2)
            rows.append(TokenRow(ids, parts, name, "rollouts", f"{step}.{number}", name.rpartition(".")[0],
                                 advantage, logp[0], logp[1] if number else None))  # fmt: skip
    return rows + toy_rows(step, 2, 20)


class ToyPreferences(ToySource):
    """Steps made by `toy_preferences`."""

    def __init__(self, objective: str = "dpo", count: int = 4) -> None:
        super().__init__(count)
        self.objective = objective

    def steps(self, first: int, last: int) -> Iterator[StepRows]:
        for step in range(first, last):
            rows = toy_preferences(step, self.objective, self.count)
            self.given.append([row.row_id for row in rows])
            yield StepRows(step, rows, 0.0, {"next": step + 1})
