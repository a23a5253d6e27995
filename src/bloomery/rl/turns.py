"""A rollout as a tree of turns: what was sampled, exactly, and how later requests continue it.

A client of the OpenAI kind sends the whole conversation with every request. Each request is matched against what was
sampled before, and continues it with the very ids that were sampled: nothing of it is ever tokenised again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bloomery.core.files import canonical_hash
from bloomery.core.rows import Floats, TokenRow

Message = Mapping[str, Any]
Kind = Literal["clean", "realign", "fork"]
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer. Its prompt is everything up to the end of `parent`'s answer (None: nothing), then `bridge`.

    `added` are the messages that the client sent since that answer, `bridge` their ids with what the chat template
    puts around them, `tools` the key of the tools offered. `sampled` are the ids of the answer with its stop token,
    `logp` float32 the log-probability of each, `version` that of the weights, `reply` the answer as a message.
    """

    number: int
    parent: int | None
    kind: Kind
    added: tuple[Message, ...]
    tools: str
    bridge: tuple[int, ...]
    sampled: tuple[int, ...]
    logp: Floats
    version: int
    finish: str
    reply: Message


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request belongs: after the answer of `parent`, with `added` messages that are not in the tree there.

    `clean`: the history is what was said, and goes on. `realign`: an answer came back altered; it stands among the
    added messages, and is rendered again and never trained. `fork`: another branch, after a history that was edited or
    compacted, of a sub-agent, or asked for once more.
    """

    parent: int | None
    kind: Kind
    added: tuple[Message, ...]


class Tree:
    """The turns of one rollout attempt, by number in the order in which they were sampled."""

    def __init__(self, turns: Sequence[Turn] = ()) -> None:
        self.turns: list[Turn] = []
        self._keys: list[tuple[list[Key], Key]] = []
        self._children: dict[int | None, list[int]] = {}
        for turn in turns:
            self.add(turn)

    def add(self, turn: Turn) -> None:
        """Take in a turn, whose number is the next and whose parent is here."""
        assert turn.number == len(self.turns) and (turn.parent is None or turn.parent < turn.number)
        self.turns.append(turn)
        self._keys.append(([_key(message) for message in turn.added], _key(turn.reply)))
        self._children.setdefault(turn.parent, []).append(turn.number)

    @property
    def counts(self) -> dict[str, int]:
        """How many turns are of each kind."""
        found = Counter(turn.kind for turn in self.turns)
        return {kind: found[kind] for kind in ("clean", "realign", "fork")}

    @property
    def sampled_tokens(self) -> int:
        """Tokens sampled in all turns."""
        return sum(len(turn.sampled) for turn in self.turns)

    @property
    def leaves(self) -> list[int]:
        """Turns that no other continues."""
        return [turn.number for turn in self.turns if turn.number not in self._children]

    def place(self, messages: Sequence[Message], tools: str) -> Place:
        """Where a request belongs; answers that differ in white space, or in the order of JSON keys, are the same."""
        keys = [_key(message) for message in messages]
        matched, deepest = 0, None
        altered: set[int | None] = set()  # turns of which a continuation came back with another answer
        open_turns: list[tuple[int, int | None]] = [(0, None)]
        while open_turns:
            at, turn = open_turns.pop()
            if turn is not None and (at, turn) > (matched, -1 if deepest is None else deepest):
                matched, deepest = at, turn
            for child in self._children.get(turn, ()):
                added, reply = self._keys[child]
                end = at + len(added)
                if self.turns[child].tools != tools or end >= len(keys) or keys[at:end] != added:
                    continue
                if keys[end] == reply:
                    open_turns.append((end + 1, child))
                elif messages[end]["role"] == "assistant":
                    altered.add(turn)
        kind: Kind = "realign" if deepest in altered else self.kind_after(deepest)
        return Place(deepest, kind, tuple(messages[matched:]))

    def kind_after(self, parent: int | None) -> Kind:
        """What an unaltered continuation of `parent` is: clean for the first one, a fork for any other."""
        return "fork" if self._children.get(parent) else "clean"

    def line(self, number: int | None) -> list[Turn]:
        """A turn and all before it, the first one first."""
        found: list[Turn] = []
        while number is not None:
            found.append(self.turns[number])
            number = self.turns[number].parent
        return found[::-1]

    def ids(self, number: int | None) -> list[int]:
        """Every id up to the end of a turn's answer; none for no turn."""
        return [token for turn in self.line(number) for token in (*turn.bridge, *turn.sampled)]


def tools_key(tools: Sequence[Message]) -> str:
    """What tells offers of tools apart; empty for none."""
    return canonical_hash([*tools])[:16] if tools else ""


def rows(
    tree: Tree,
    name: str,
    *,
    source: str,
    example_id: str,
    group_id: str | None = None,
    weight: float = 1.0,
    advantages: Sequence[float] | None = None,
) -> list[TokenRow]:
    """The rows that train a rollout: one for each leaf, from the root to it, `name:number` of the leaf its id.

    A token that was sampled has its `pg` weight in one row only, the first that it lies in, whatever branches share
    it; everything else has none. `weight` is that of the whole rollout and is spread evenly over its sampled tokens,
    so a rollout of many branches or turns counts as much as one of a single turn, and a step's loss, which is divided
    by the sum of its weights, is the mean over rollouts. With `weight=tree.sampled_tokens` every token weighs 1 and
    it is the mean over tokens. `advantages` holds one for each turn.
    """
    total = tree.sampled_tokens
    share = weight / total if total else 0.0
    trained: set[int] = set()
    found = []
    for leaf in tree.leaves:
        line = tree.line(leaf)
        row = _Row()
        for turn in line:
            row.put(turn.bridge)
            gain = 0.0 if advantages is None else advantages[turn.number]
            row.put(turn.sampled, turn.logp, 0.0 if turn.number in trained else share, gain)
            trained.add(turn.number)
        if any(row.weight):
            found.append(row.finished(f"{name}:{leaf}", source, example_id, group_id, advantages is not None))
    return found


class _Row:
    """A row as it grows."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.weight: list[float] = []
        self.logp: list[float] = []
        self.advantage: list[float] = []

    def put(self, ids: Sequence[int], logp: Floats | None = None, weight: float = 0.0, advantage: float = 0.0) -> None:
        self.ids += ids
        self.weight += [weight] * len(ids)
        self.logp += [0.0] * len(ids) if logp is None else logp.tolist()
        self.advantage += [advantage if weight else 0.0] * len(ids)

    def finished(self, row_id: str, source: str, example_id: str, group_id: str | None, gained: bool) -> TokenRow:
        weight, logp = (np.array(values, np.float32) for values in (self.weight, self.logp))
        advantage = np.array(self.advantage, np.float32) if gained else None
        ids = np.array(self.ids, np.int32)
        return TokenRow(ids, {"pg": weight}, row_id, source, example_id, group_id, advantage, logp)


def _key(message: Message) -> Key:
    """What makes two messages the same; ids of calls are left out, since clients number them as they like."""
    role, text = message["role"], message.get("content") or ""
    calls = [(call["function"]["name"], _canonical(call["function"]["arguments"])) for call in _calls(message)]
    return role, message.get("name"), " ".join(text.split()) if role == "assistant" else text, tuple(calls)


def _calls(message: Message) -> Sequence[Mapping[str, Any]]:
    return message.get("tool_calls") or ()


def _canonical(arguments: Any) -> str:
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False)
