"""Word lists as patterns over folded text, in which digits and signs may stand for letters.

Words match whole, whatever their case, accents, width or script of look-alike letters. `0 1 3 4 5 7 8 9 @ $ ! + |`
may stand for the letters they look like, as long as a letter is left. A space in an entry is up to three characters of
white space, hyphens or underscores; a `*` at the end of an entry stands for up to twelve letters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import regex  # type: ignore[import-untyped]

from bloomery.core.errors import InputError
from bloomery.serve.policy.fold import fold
from bloomery.serve.policy.pattern import Pattern

_SIGNS = {"a": "4@", "b": "8", "e": "3", "g": "9", "i": "1!|", "l": "1|", "o": "0", "s": "5$", "t": "7+"}
STEM = 12
GAP = 3
_BETWEEN = r"[^.!?\n]"
"""What may stand between words of one sentence."""
_END = ""


def word_pattern(entries: Iterable[str]) -> Pattern:
    """One pattern for all entries. Raises `InputError` for an entry without a letter and for a list without entries."""
    source, longest = _any_of(entries)
    return Pattern(source, longest + 1, folded=True)


def near_pattern(groups: Sequence[Sequence[str]], gap: int, any_order: bool, without: Sequence[str]) -> Pattern:
    """One entry of each group in one sentence, in order, at most `gap` characters apart.

    In `any_order` the groups may come in every order. A sentence that holds an entry of `without`, as far as the match
    can reach and as far before it, does not count.
    """
    found = [_any_of(group) for group in groups]
    longest = sum(length for _, length in found) + gap * (len(found) - 1) + 1
    between = rf"{_BETWEEN}{{1,{gap}}}?"
    sources = [source for source, _ in found]
    source = _in_any_order(sources, between) if any_order else between.join(sources)
    if not without:
        return Pattern(source, longest, folded=True)
    not_with, more = _any_of(without)
    # Last, so that it is looked for only where the rest matched.
    alone = rf"(?<!{not_with}{_BETWEEN}{{0,{2 * longest}}})(?!{_BETWEEN}{{0,{longest}}}{not_with})"
    return Pattern(f"(?:{source}){alone}", 2 * longest + more, folded=True)


def _in_any_order(sources: Sequence[str], between: str) -> str:
    """The parts in every order; orders that begin alike share their beginning."""
    if len(sources) == 1:
        return sources[0]
    rest = ([*sources[:place], *sources[place + 1 :]] for place in range(len(sources)))
    ways = (source + between + _in_any_order(others, between) for source, others in zip(sources, rest, strict=True))
    return f"(?:{'|'.join(ways)})"


def _any_of(entries: Iterable[str]) -> tuple[str, int]:
    """(source of a pattern for any of the entries, most characters it matches)."""
    trees: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    longest = STEM
    for entry in entries:
        plain, stem = _plain(entry)
        node = trees[plain.split(" ")[0].isdecimal()]
        for character in plain:
            node = node.setdefault(character, {})
        node[_END] = bool(node.get(_END)) or stem
        longest = max(longest, len(plain) + GAP * plain.count(" ") + STEM * stem)
    # A number is no word: `455` is not another spelling of a word unless an entry begins with a number itself.
    a_letter = r"(?=[\w@$!|+]{0,11}?[^\W\d_])"
    ways = [before + _group(tree) for before, tree in zip((a_letter, ""), trees, strict=True) if tree]
    if not ways:
        raise InputError("a word list has no words", fix="add some, or remove it")
    return rf"(?<!\w)(?:{'|'.join(ways)})(?!\w)", longest


def _plain(entry: str) -> tuple[str, bool]:
    """(folded entry with single spaces, whether it is a stem)."""
    stem = entry.endswith("*")
    plain = " ".join(regex.sub(r"[\s_-]+", " ", fold(entry.removesuffix("*"))).split())
    if not any(character.isalpha() for character in plain) or "*" in plain:
        raise InputError(f"`{entry}` is no entry of a word list", fix="write a word, or a word and a final `*`")
    return plain, stem


def _group(node: dict[str, Any]) -> str:
    """The pattern of everything below a node of the tree; longer entries first, so that they win."""
    ways = [_letter(character) + _group(below) for character, below in sorted(node.items()) if character != _END]
    if _END in node:
        ways.append(rf"\w{{0,{STEM}}}" if node[_END] else "")
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


def _letter(character: str) -> str:
    if character == " ":
        return rf"[\s_-]{{1,{GAP}}}"
    signs = _SIGNS.get(character)
    return f"[{character}{regex.escape(signs, special_only=False)}]" if signs else str(regex.escape(character))
