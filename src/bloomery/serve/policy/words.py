"""Word lists as patterns over folded text, in which digits and signs may stand for letters.

Words match whole, whatever their case, accents, width or script of look-alike letters. `0 1 3 4 5 7 8 9 @ $ ! + |`
may stand for the letters they look like, as long as a letter is left. A space in an entry is up to three characters of
white space, hyphens or underscores; a `*` at the end of an entry stands for up to twelve letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import regex  # type: ignore[import-untyped]

from bloomery.core.errors import InputError
from bloomery.serve.policy.fold import fold
from bloomery.serve.policy.pattern import AT, After, Pattern

_SIGNS = {"a": "4@", "b": "8", "e": "3", "g": "9", "i": "1!|", "l": "1|", "o": "0", "s": "5$", "t": "7+"}
STEM = 12
GAP = 3
_BETWEEN = r"[^.!?\n]"
"""What may stand between words of one sentence."""
_END = ""


def word_pattern(entries: Iterable[str]) -> Pattern:
    """One pattern for all entries. Raises `InputError` for an entry without a letter and for a list without entries."""
    source, longest = _any_of(entries)
    return Pattern(source, longest + 1, folded=True, known=True, even=True)


def near_pattern(
    groups: Sequence[Sequence[str]], gap: int, any_order: bool, without: Sequence[str], whole: bool = True
) -> Pattern:
    """One entry of each group in one sentence, in order, at most `gap` characters apart.

    In `any_order` the groups may come in every order. A sentence that holds an entry of `without`, as far as the match
    can reach and as far before it, does not count. What may become a match is held back from its beginning where the
    `whole` of it must not be seen, else from the word that completes it.
    """
    found = [_any_of(group) for group in groups]
    needed = tuple(_signs_of(group) for group in sorted(groups, key=len))
    longest = sum(length for _, length in found) + gap * (len(found) - 1) + 1
    between = rf"{_BETWEEN}{{1,{gap}}}"
    sources = [source for source, _ in found]
    alone, reach = "", longest
    if without:
        not_with, more = _any_of(without)
        # Last, so that it is looked for only where the rest matched.
        alone = rf"(?<!{not_with}{_BETWEEN}{{0,{2 * longest}}})(?!{_BETWEEN}{{0,{longest}}}{not_with})"
        reach = 2 * longest + more
    if whole:
        source = _joined(sources, f"{between}?", any_order)
        # A partial match is lost where a lazy repeat stands before a look behind: this one is greedy.
        begins = _joined(sources, between, any_order) + alone
        return Pattern(f"(?:{source}){alone}", reach, folded=True, begins=begins, needed=needed)
    source = _joined(sources, f"{between}?", any_order, f"(?P<{AT}>{{}})")
    last = range(len(sources)) if any_order else [len(sources) - 1]
    others = (_joined([*sources[:one], *sources[one + 1 :]], between, any_order) for one in last)
    # All groups but one stand before the word: of any two at least one does.
    sign = "|".join(sources[-2:] if any_order else sources[-2:-1])
    after = After(f"(?:{'|'.join(others)}){between}", sign, max(length for _, length in found))
    begins = "|".join(sources[one] for one in last)
    source = f"(?:{source}){alone}"
    return Pattern(source, reach, folded=True, begins=begins, after=after, known=True, even=True, needed=needed)


def _joined(sources: Sequence[str], between: str, any_order: bool, last: str = "{}") -> str:
    """The parts one after another; of all orders those that begin alike share their beginning."""
    if len(sources) == 1:
        return last.format(sources[0])
    if not any_order:
        return between.join([*sources[:-1], last.format(sources[-1])])
    ways = (
        source + between + _joined([*sources[:place], *sources[place + 1 :]], between, True, last)
        for place, source in enumerate(sources)
    )
    return f"(?:{'|'.join(ways)})"


def _any_of(entries: Iterable[str]) -> tuple[str, int]:
    """(source of a pattern for any of the entries, most characters it matches)."""
    trees, longest = _trees(entries)
    # A number is no word: `455` is not another spelling of a word unless an entry begins with a number itself.
    a_letter = r"(?=[\w@$!|+]{0,11}?[^\W\d_])"
    ways = [before + _group(tree) for before, tree in zip((a_letter, ""), trees, strict=True) if tree]
    if not ways:
        raise InputError("a word list has no words", fix="add some, or remove it")
    return rf"(?<!\w)(?:{'|'.join(ways)})(?!\w)", longest


def _signs_of(entries: Iterable[str]) -> re.Pattern[str]:
    """What is found wherever an entry is, and elsewhere: of word bounds, on which `re` and `regex` differ, only that no
    plain letter stands before it."""
    ways = (_group(tree) for tree in _trees(entries)[0] if tree)
    return re.compile(rf"(?<![a-z])(?:{'|'.join(ways)})")


def _trees(entries: Iterable[str]) -> tuple[tuple[dict[str, Any], dict[str, Any]], int]:
    """(letters of the entries as trees, those that begin with a number in the second; most characters of a match)."""
    trees: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    longest = STEM
    for entry in entries:
        plain, stem = _plain(entry)
        node = trees[plain.split(" ")[0].isdecimal()]
        for character in plain:
            node = node.setdefault(character, {})
        node[_END] = bool(node.get(_END)) or stem
        longest = max(longest, len(plain) + GAP * plain.count(" ") + STEM * stem)
    return trees, longest


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
