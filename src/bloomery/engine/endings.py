"""The short way to the end of an answer under a grammar: what must be said so that no token limit cuts it.

llguidance tells what may come next, not how far the end is. So an ending is looked for byte by byte: what is forced is
taken, then what closes something, then what leads to a state that was not seen on the way. The ending found is one that
works, mostly the shortest.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

FIRST = (b'}])",', b'}])0123456789",', b'}])",ntf', b"")
"""What is tried before other bytes, a way of looking each: JSON's closings, then numbers, words, and nothing."""
TEXT = b'"}])'
"""The same within a text, where brackets are plain characters."""
PLAIN = ord("z")
"""A byte that may stand beside a quote within a text only."""
LAST_ASCII = 127
AGAIN = 4
"""How often a closing may lead to a state that was seen: a list of so many items is not made of ever new ones."""
LONGEST, LOOKS = 4096, 2000
"""Bytes, and bytes tried out (15 µs each), after which an ending is given up: other requests wait meanwhile."""
WORDS = 64
"""Long words that fill a text of a least length."""
MEMBERS = 256
"""Members of JSON objects that are left out on trial."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Tokens that end an answer; `stop`: whether a stop token must follow, because the grammar could go on."""

    ids: tuple[int, ...]
    stop: bool

    def __len__(self) -> int:
        return len(self.ids) + self.stop


class Endings:
    """Finds endings for one tokenizer, that of llguidance. Matchers that are given stay as they are."""

    def __init__(self, tokenizer: Any) -> None:
        self.stop: int = tokenizer.eos_token
        self._tokenizer = tokenizer
        self._bytes: dict[int, int] = {}  # byte -> token
        words = []
        for token in range(tokenizer.vocab_size):
            raw = tokenizer.decode_bytes([token])
            if len(raw) == 1 and not tokenizer.is_special_token(token):
                self._bytes.setdefault(raw[0], token)
            elif raw.isalpha():
                words.append((-len(raw), token, raw))
        self._words = [(token, raw) for _, token, raw in sorted(words)[:WORDS]]

    def shortest(self, matcher: Any) -> Ending | None:
        """The shortest of those that the ways of looking find; None where none of them finds one."""
        found = [self._shrunk(matcher, one) for first in FIRST if (one := self.find(matcher, first)) is not None]
        return min(found, key=len, default=None)

    def _shrunk(self, matcher: Any, whole: Ending) -> Ending:
        """A whole answer without the members of JSON objects that it may lack: no search tells which are needed."""
        try:
            value = json.loads(self._tokenizer.decode_str(list(whole.ids)))
        except (ValueError, RecursionError):
            return whole
        members = [(one, key) for one in _objects(value) for key in one]
        for one, key in members[:MEMBERS]:
            before = dict(one)
            del one[key]
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            found = self.checked(matcher, self._tokenizer.tokenize_str(text))
            if found is not None and len(found) < len(whole):
                whole = found
            else:
                one.clear()
                one.update(before)  # in the order in which they were
        return whole

    def find(self, matcher: Any, first: bytes = FIRST[0]) -> Ending | None:
        """An ending from where `matcher` is, by one way of looking; None where it finds none."""
        walk, said, way = matcher.deep_copy(), bytearray(), _Way(first)
        while not walk.is_accepting():
            more = self._next(walk, way)
            if not more or len(said) > LONGEST or way.looks > LOOKS:
                return None
            walk.consume_tokens(self._tokenizer.tokenize_bytes(more))
            said += more
        return self.checked(matcher, self._tokenizer.tokenize_bytes(bytes(said)))

    def checked(self, matcher: Any, ids: Sequence[int]) -> Ending | None:
        """These tokens as an ending from where `matcher` is; None where they are none."""
        if matcher.validate_tokens([*ids, self.stop]) <= len(ids):
            return None
        walk = matcher.deep_copy()
        walk.consume_tokens(list(ids))
        return Ending(tuple(ids), not walk.is_stopped())

    def _next(self, walk: Any, way: _Way) -> bytes:
        """What to go on with: what is forced, else a byte that ends or closes, else one to a state least seen.

        States are told apart by the tokens that may follow. `walk` stays where it is.
        """
        mask = walk.compute_bitmask()
        way.seen[mask] += 1
        if forced := walk.compute_ff_bytes():
            return bytes(forced)
        again = way.seen[mask]
        counting = again > 2 and again & (again - 1) != 0  # as in a text of a least length: look seldom
        closings, candidates = self._candidates(mask, way.first)
        fills = counting and PLAIN in candidates and closings != TEXT
        if fills and (word := next((raw for token, raw in self._words if _allowed(mask, token)), b"")):
            return word
        best, least = b"", 0
        for byte in candidates:
            if byte > LAST_ASCII and best and least < AGAIN:
                break  # another alphabet is ever new, and leads nowhere
            if not walk.consume_token(self._bytes[byte]):
                return b""
            ends, state = walk.is_accepting(), walk.compute_bitmask()
            walk.rollback(1)
            way.looks += 1
            times = way.seen[state]
            if ends or not times or counting or (byte in closings and state != mask and times < AGAIN):
                return bytes([byte])
            if not best or times < least:
                best, least = bytes([byte]), times
        return best

    def _candidates(self, mask: bytes, first: bytes) -> tuple[bytes, list[int]]:
        """(closings, all bytes that may come next in the order in which they are tried)."""
        allowed = {byte for byte, token in self._bytes.items() if _allowed(mask, token)}
        closings = TEXT if PLAIN in allowed and ord('"') in allowed else first
        return closings, [byte for byte in closings if byte in allowed] + sorted(allowed.difference(closings))


@dataclass(slots=True)
class _Way:
    """One search: what it tries first, how often it was in each state, how many bytes it has tried out."""

    first: bytes
    seen: Counter[bytes] = field(default_factory=Counter)
    looks: int = 0


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """The JSON objects in a value, outer ones first."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)


def _allowed(mask: bytes, token: int) -> int:
    return mask[token >> 3] >> (token & 7) & 1
