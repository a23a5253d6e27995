"""The chat source: short conversations about Bloomery, about the installed documentation, and of several turns."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.data.curated import documentation
from bloomery.data.curated.chat_texts import ABOUT, ASK_DEFINITION, ASK_SUMMARY, SMALL_TALK, SYSTEM
from bloomery.data.curated.skills.stream import SKILLS, draw

MAX_SENTENCE, MAX_SHOWN = 160, 700
_FIRST_SENTENCE = re.compile(rf"(.{{20,{MAX_SENTENCE}}}?[.!?])(?:\s|$)")
_NAME = re.compile(r"^(?:class |module )?([\w.]+)")

Turns = list[tuple[str, str]]
"""(what the user says, what the assistant answers), in order."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A documented name, the first sentence of its docstring and the beginning of the document."""

    name: str
    sentence: str
    text: str


def generate(
    seed: int = 0,
    count: int | None = 5_000,
    split: str = "train",
    kinds: Sequence[str] | None = None,
    fraction: float = 0.1,
) -> Iterator[dict[str, Any]]:
    """Yield `count` rows `{"id", "skill", "messages"}` (without end when None), alternating over `kinds`.

    Kinds: about, small_talk, definition, summary, turns. `fraction` is the share of the installed modules
    whose documentation is spoken of. Held-out documents and problems appear only in the held-out split;
    about and small_talk know no split. Raises `InputError` for an unknown split or kind.
    """
    names = list(kinds) if kinds is not None else list(KINDS)
    if split not in ("train", "heldout"):
        raise InputError(f"`split: {split}` is not train or heldout", fix="set `options.split`")
    for name in names:
        if name not in KINDS:
            raise InputError(f"`kinds` names `{name}`{nearest(name, KINDS)}", fix="set `options.kinds`")
    entries = _entries(split, fraction) if {"definition", "summary"} & set(names) else []
    for index in itertools.count() if count is None else range(count):
        rng = random.Random(f"chat/{seed}/{split}/{index}")
        kind = names[index % len(names)]
        yield {
            "id": f"chat-{seed}-{index}",
            "skill": kind,
            "messages": _messages(rng, KINDS[kind](rng, split, entries)),
        }


def first_sentence(body: str) -> str | None:
    """The first sentence of a docstring's first paragraph, None where it has no plain one of 20 to 160 characters."""
    paragraph = " ".join(body.split("\n\n", 1)[0].split())
    match = _FIRST_SENTENCE.match(paragraph)
    plain = match and not re.search(r"[`*:|<>{}=\\]", match[1]) and match[1][0].isupper()
    return match[1] if match and plain else None


def _entries(split: str, fraction: float) -> list[Entry]:
    entries = []
    for row in documentation.generate(split=split, fraction=fraction):
        name, sentence = _NAME.match(row["text"]), first_sentence(documentation.body_of(row["text"]))
        if name and sentence and "._" not in name[1]:  # public names: people ask about those
            entries.append(Entry(name[1], sentence, row["text"][:MAX_SHOWN].rstrip()))
    return entries


def _messages(rng: random.Random, turns: Turns) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": rng.choice(SYSTEM)}] if rng.random() < 0.2 else []
    for user, assistant in turns:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return messages


def _about(rng: random.Random, split: str, entries: Sequence[Entry]) -> Turns:
    questions, answer = rng.choice(ABOUT)
    return [(rng.choice(questions), answer)]


def _small_talk(rng: random.Random, split: str, entries: Sequence[Entry]) -> Turns:
    said, answers = rng.choice(SMALL_TALK)
    return [(rng.choice(said), rng.choice(answers))]


def _definition(rng: random.Random, split: str, entries: Sequence[Entry]) -> Turns:
    entry = rng.choice(entries)
    return [(rng.choice(ASK_DEFINITION).format(name=entry.name), entry.sentence)]


def _summary(rng: random.Random, split: str, entries: Sequence[Entry]) -> Turns:
    entry = rng.choice(entries)
    return [(rng.choice(ASK_SUMMARY).format(name=entry.name, text=entry.text), entry.sentence)]


def _turns(rng: random.Random, split: str, entries: Sequence[Entry]) -> Turns:
    """Two or three problems in one conversation, at times between a greeting and a thank you."""
    names = list(SKILLS)
    turns = _small_talk(rng, split, entries) if rng.random() < 0.3 else []
    problems = (draw(rng, rng.choice(names), split) for _ in range(rng.randint(2, 3)))
    return turns + [(problem.prompt, problem.answer) for problem in problems]


KINDS: Mapping[str, Callable[[random.Random, str, Sequence[Entry]], Turns]] = {
    "turns": _turns,
    "about": _about,
    "definition": _definition,
    "summary": _summary,
    "small_talk": _small_talk,
}
