"""The option that an answer picks: a letter, or an option's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bloomery.core.errors import InputError
from bloomery.graders.answers import each
from bloomery.graders.payload import Sample, Score

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST = 20_000
"""Characters of an answer's end in which the choice is looked for."""


@dataclass(frozen=True, slots=True)
class Choice:
    """1 where the answer picks the right option.

    The row's `metadata.choices` are the options' texts (a list, or letter -> text); without them, `letters` says how
    many there are. `reference_answer` is a letter, an option's text, or its number from 0.
    """

    name: str = "choice"
    letters: int = 4
    choices: str = "choices"
    """Key of the row's metadata that holds the options."""
    verified: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.letters, bool) or not isinstance(self.letters, int) or not 2 <= self.letters <= len(LETTERS):
            raise InputError(f"`letters: {self.letters}` is not between 2 and 26", fix="change `letters`")

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0, 0 for an answer that picks none or several; unscorable where the reference is no option."""
        return each(samples, self._right)

    def _right(self, sample: Sample) -> bool:
        options = _options(sample.metadata.get(self.choices), self.letters)
        return picked(sample.answer, options) == _wanted(sample.reference_answer, options)


def picked(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that `answer` picks; None where it picks none, or no single one.

    Looked for in this order: the answer is only a letter or an option's text; the last "answer is (B)" or boxed letter;
    a letter that begins it ("B) ..."); one letter in brackets or bold; one option's text within it.
    """
    text = answer.strip()[-MOST:]
    letters = "".join(options)
    if found := re.fullmatch(rf"[(\[*\s]*([{letters}])[)\].:*\s]*", text, re.IGNORECASE):
        return found.group(1).upper()
    for letter, option in options.items():
        if option and _plain(text) == _plain(option):
            return letter
    said = rf"(?:answer|option|choice)\b(?:\s+is)?[\s:(\[*]*([{letters}])(?![\w'])"
    boxed = rf"\\boxed\{{(?:\\text\{{)?([{letters}])\}}"
    if spoken := list(re.finditer(f"{said}|{boxed}", text, re.IGNORECASE)):
        return next(group for group in spoken[-1].groups() if group).upper()
    if found := re.match(rf"[(\[*]*([{letters}])[)\].:]", text):
        return found.group(1)
    marked = set(re.findall(rf"(?:\(|\[|\*\*)([{letters}])(?:\)|\]|\*\*)", text))
    if len(marked) == 1:
        return str(marked.pop())
    whole = f" {_plain(text)} "
    named = [letter for letter, option in options.items() if _plain(option) and f" {_plain(option)} " in whole]
    return named[0] if len(named) == 1 and not marked else None


def _options(listed: object, count: int) -> dict[str, str]:
    if isinstance(listed, Mapping) and listed:
        found = {str(letter).upper(): str(text) for letter, text in listed.items()}
        if len(found) == len(listed) and all(len(letter) == 1 and letter in LETTERS for letter in found):
            return found
    elif isinstance(listed, list | tuple) and 2 <= len(listed) <= len(LETTERS):
        return dict(zip(LETTERS, map(str, listed), strict=False))
    elif listed is None:
        return dict.fromkeys(LETTERS[:count], "")
    raise ValueError("the row's choices are neither a list of at least two nor letters with texts")


def _wanted(reference: object, options: Mapping[str, str]) -> str:
    if isinstance(reference, int) and not isinstance(reference, bool) and 0 <= reference < len(options):
        return list(options)[reference]
    text = str(reference if reference is not None else "").strip()
    if text.strip("().").upper() in options:
        return text.strip("().").upper()
    named = [letter for letter, option in options.items() if option and _plain(option) == _plain(text)]
    if len(named) != 1:
        raise ValueError(f"the reference `{reference}` is none of the options")
    return named[0]


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
