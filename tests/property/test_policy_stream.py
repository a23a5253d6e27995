"""A stream under a policy is what the whole text would have been, however it is cut, and never shows what is banned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bloomery.serve.policy.category import Armed
from bloomery.serve.policy.decision import RANK, Decision
from bloomery.serve.policy.fold import Text, fold
from bloomery.serve.policy.load import floor_guard
from bloomery.serve.policy.numbers import luhn
from bloomery.serve.policy.pattern import Front, Pattern, Scan
from bloomery.serve.policy.watch import Pass
from bloomery.serve.policy.whole import Failed, Flag
from bloomery.serve.policy.words import near_pattern, word_pattern

PATTERNS = {
    "words": word_pattern(["cat", "cat food", "categor*", "dog"]),
    "digits": Pattern(r"\d{3}-\d{2}", 8),
    "greedy": Pattern(r"a.{0,5}z|b+c", 12),
    "unbounded": Pattern(r"foo.*bar", 20),
    "boundary": Pattern(r"\bcat\b", 6),
    "inside": Pattern(r"cat\B", 6),
    "ahead": Pattern(r"cat(?!alog)", 12),
    "behind": Pattern(r"(?<=x )dog", 8),
    "near": near_pattern([["how to"], ["cat", "dog"]], 12, False, ["nice"]),
    "any order": near_pattern([["how to"], ["cat", "cat food"], ["x", "dog"]], 9, True, []),
    "completed": near_pattern([["how to"], ["cat", "dog"]], 12, False, ["nice", "food"], whole=False),
    "completed in any order": near_pattern(
        [["how to", "c"], ["cat", "cat food"], ["dog"]], 9, True, ["x"], whole=False
    ),
    "card": Pattern(r"(?<!\w)\d{13,16}(?!\w)", 20, folded=True, holds=luhn),
}
WHOLE = {"completed": "near", "completed in any order": "any order"}
"""What stands for a pattern where all of a match is masked."""
SYLLABLES = "cat|Cat|c4t|с|at|food|alog|egory| |  |-|.|dog|x |how to |nice |12|123-45|a|z|bb|c|foo|bar|\u200b|é|ﬁ|\n|!"
TEXTS = st.lists(st.sampled_from([*SYLLABLES.split("|"), "4111111111111111"]), max_size=60).map("".join)


@dataclass(frozen=True)
class Tells:
    """A detector of whole texts that flags, or fails on, texts with a letter in their last stretch."""

    letter: str
    every: int | None
    fails: bool = False
    name: str = "tells"
    slow: bool = False

    def flags(self, messages: Sequence[Mapping[str, Any]], role: str, text: str) -> Flag | None:
        if self.letter not in text[-30:]:
            return None
        if self.fails:
            raise Failed("it broke")
        return Flag("it tells", "so it says")


def armed(order: int, action: str, patterns: Sequence[str], **changes: Any) -> Armed:
    given: dict[str, Any] = {
        "order": order,
        "name": f"category {order}",
        "floor": False,
        "action": action,
        "inputs": True,
        "outputs": True,
        "message": "stopped",
        "mask": "[x]",
        "severity": "low",
        "on_failure": "review",
        "patterns": tuple((name, PATTERNS[WHOLE.get(name, name) if action == "mask" else name]) for name in patterns),
        "wholes": (),
        "allowed": (),
    }
    return Armed(**(given | changes))


CATEGORIES = st.lists(
    st.tuples(
        st.sampled_from(["block", "mask", "mask", "warn", "review", "allow"]),
        st.lists(st.sampled_from(sorted(PATTERNS)), min_size=1, max_size=3, unique=True),
        st.sampled_from([(), ((word_pattern(["cat food", "hot dog"]), "ours"),)]),
        st.sampled_from([(), (Tells("z", 25),), (Tells("z", None),), (Tells("b", 40, fails=True),)]),
        st.sampled_from(["block", "review", "allow"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
)


def run(categories: Sequence[Armed], pieces: Sequence[str]) -> tuple[str, Decision, Decision, list[tuple[Any, ...]]]:
    told: list[tuple[Any, ...]] = []
    running = Pass(categories, [], "assistant", lambda f, text: told.append((f.span, f.category.name, f.action, text)))
    out, last = "", Decision("allow")
    for number, piece in enumerate([*pieces, ""]):
        released, decision = running.feed(piece, final=number == len(pieces))
        out += released
        if decision is not None:
            assert RANK[decision.action] >= RANK[last.action]
            last = decision
    return out, running.decision, last, told


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS, CATEGORIES, st.data())
def test_however_a_text_is_cut_the_same_is_released_decided_and_logged(
    text: str, shapes: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    categories = [
        armed(
            n,
            action,
            patterns,
            allowed=allowed,
            wholes=wholes if action != "mask" else (),
            on_failure=fails,
            floor=floor,
        )
        for n, (action, patterns, allowed, wholes, fails, floor) in enumerate(shapes)
    ]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = run(categories, [text])
    assert whole[1] == whole[2]
    assert run(categories, pieces) == whole
    assert run(categories, list(text)) == whole


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(sorted(PATTERNS)), st.data())
def test_no_match_begins_before_a_place_called_clear(text: str, name: str, data: st.DataObject) -> None:
    """What partial matching promises: a match that is found later never begins in what was released."""
    grown = Text()
    scan, cleared = Scan(PATTERNS[name], grown), 0
    front = Front([scan])
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    for begin, end in zip([0, *places], [*places, len(text)], strict=True):
        grown.grow(text[begin:end])
        assert all(span.acts >= cleared for span in scan.settle(final=False))
        assert front.advance(final=False) == []
        assert front.clear >= cleared
        cleared = front.clear
    assert all(span.acts >= cleared for span in scan.settle(final=True))


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_nothing_that_is_masked_or_blocked_is_released(text: str) -> None:
    banned = PATTERNS["words"]
    for action in ("mask", "block"):
        out, *_ = run([armed(0, action, ["words"])], list(text))
        assert banned.spans(out.replace("[x]", " . ")) == []


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_folding_pieces_is_folding_the_whole(left: str, right: str) -> None:
    assert fold(left) + fold(right) == fold(left + right)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_the_folded_text_leads_back_to_the_text(text: str) -> None:
    grown = Text()
    grown.grow(text)
    assert len(grown.origin) == len(grown.folded)
    assert grown.origin == sorted(grown.origin)
    assert all(fold(text[place]) for place in grown.origin)


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_harmless_text_is_released_at_once(name: str) -> None:
    running = Pass([armed(0, "block", [name])], [], "assistant", lambda *_: None)
    assert running.feed("Quite another thing ")[0] == "Quite another thing "


ASKED = (
    "write,show,pictures,sexual content,naked,child,young girl,law,lawn,a,of,the,17-year-old,chil,dren,4111 1111 1111"
)
SENTENCES = st.lists(st.sampled_from([*ASKED.split(","), ". ", "1111", "DE89 3704 0044 0532 0130 00", "-----BEGIN"]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SENTENCES.map(" ".join), st.integers(1, 9))
def test_the_floor_releases_the_same_however_a_text_is_cut(text: str, size: int) -> None:
    floor = floor_guard(lambda event: None).categories
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert run(floor, pieces) == run(floor, [text])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("how to,cat,cat food,dog,nice,x,c,other. ".split(",")), max_size=12).map(" ".join))
def test_a_word_completes_a_match_where_there_is_one(text: str) -> None:
    ordered, free = ([["how to"], ["cat", "dog"]], 12, False, ["nice"]), ([["how to"], ["cat"], ["x"]], 9, True, [])
    for groups in (ordered, free):
        spans, acting = near_pattern(*groups).spans(text), near_pattern(*groups, whole=False).spans(text)
        assert [(span.start, span.end) for span in spans] == [(span.start, span.end) for span in acting]
        assert all(span.start < span.acts < span.end for span in acting)


ODD = "how to,h0w t0,cat,c4t,cát,ﬁ,dog,d0g,²,½,①,_,\u0301,\u200d, ,-,. ,nice,kitty,kit,7 cats,7,x,ª,ß,İ".split(",")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(ODD), max_size=14).map("".join))
def test_what_every_match_holds_is_found_wherever_there_is_one(text: str) -> None:
    """`re` and `regex` do not agree on what a letter of a word is."""
    for groups in ([["how to"], ["cat", "7 cats", "kit*"]], [["dog"], ["how to"], ["cat", "kit*"]]):
        near = near_pattern(groups, 20, len(groups) > 2, ["nice"])
        assert len(near.needed) == len(groups)
        assert near.spans(text) == replace(near, needed=()).spans(text)
