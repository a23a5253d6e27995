"""Graders that look at the answer's text: equality, OpenAI's string check, regular expressions, numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import regex  # type: ignore[import-untyped]  # re with a time limit

from bloomery.core.errors import InputError, nearest
from bloomery.graders.payload import Sample, Score
from bloomery.graders.template import fill, references

REGEX_SECONDS = 1.0
"""What one match may take; a pattern with nested repeats can run for years on forty characters."""
SIGN = r"(?:(?<![\d)\]])[-+])?"
"""A sign behind a digit or a bracket stands between two numbers: 3-5 days, (1+2)-3."""
NUMBER = regex.compile(rf"{SIGN}(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|{SIGN}\.\d+")
MINUS = str.maketrans({"\u2212": "-", "\ufe63": "-", "\uff0d": "-"})
"""Signs that typesetting writes for a minus."""


def each(samples: Sequence[Sample], rule: Callable[[Sample], float | bool]) -> list[Score]:
    """Apply a rule to every sample; a rule that raises leaves its sample unscorable."""
    return [_one(sample, rule) for sample in samples]


def _one(sample: Sample, rule: Callable[[Sample], float | bool]) -> Score:
    try:
        return Score(sample.id, float(rule(sample)))
    except (InputError, KeyError, TypeError, ValueError, TimeoutError, ArithmeticError, RecursionError) as error:
        missing = f"the row's metadata has no {error}" if isinstance(error, KeyError) else str(error)
        return Score(sample.id, None, reason=missing)


@dataclass(frozen=True, slots=True)
class Exact:
    """1 where the answer equals `reference_answer`, or any of them where it is a list."""

    name: str = "exact"
    ignore_case: bool = False
    strip: bool = True
    """Compare without white space at the ends."""
    verified: bool = True

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0; unscorable without a reference."""
        return each(samples, self._equal)

    def _equal(self, sample: Sample) -> bool:
        return self._plain(sample.answer) in {self._plain(wanted) for wanted in references(sample)}

    def _plain(self, text: str) -> str:
        text = text.strip() if self.strip else text
        return text.casefold() if self.ignore_case else text


@dataclass(frozen=True, slots=True)
class StringCheck:
    """OpenAI's `string_check`: compares two templates over `{{ sample.output_text }}` and `{{ item.<key> }}`."""

    name: str = "string_check"
    operation: Literal["eq", "ne", "like", "ilike"] = "eq"
    """Equal, not equal, contains, contains whatever the case."""
    input: str = "{{ sample.output_text }}"
    reference: str = "{{ item.reference_answer }}"
    verified: bool = True

    def __post_init__(self) -> None:
        known = ("eq", "ne", "like", "ilike")
        if self.operation not in known:
            raise InputError(
                f"`operation: {self.operation}` is no string check{nearest(str(self.operation), known)}",
                fix="change `operation`",
            )

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0; unscorable where a template names what the row lacks."""
        return each(samples, self._check)

    def _check(self, sample: Sample) -> bool:
        left, right = fill(self.input, sample), fill(self.reference, sample)
        if self.operation == "ilike":
            return right.casefold() in left.casefold()
        return {"eq": left == right, "ne": left != right, "like": right in left}[self.operation]


@dataclass(frozen=True, slots=True)
class Regex:
    """1 where `pattern` is found in the answer (or matches all of it)."""

    pattern: str
    name: str = "regex"
    whole: bool = False
    """The pattern must match the whole answer, white space at its ends aside."""
    ignore_case: bool = False
    verified: bool = True

    def __post_init__(self) -> None:
        try:
            regex.compile(self.pattern)
        except regex.error as error:
            raise InputError(f"`pattern: {self.pattern}` is no regular expression: {error}", fix="correct it") from None

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0; unscorable when matching takes longer than a second."""
        return each(samples, self._match)

    def _match(self, sample: Sample) -> bool:
        compiled = regex.compile(self.pattern, regex.IGNORECASE if self.ignore_case else 0)
        try:
            if self.whole:
                return compiled.fullmatch(sample.answer.strip(), timeout=REGEX_SECONDS) is not None
            return compiled.search(sample.answer, timeout=REGEX_SECONDS) is not None
        except TimeoutError:
            raise TimeoutError(f"matching took longer than {REGEX_SECONDS:g} s") from None


@dataclass(frozen=True, slots=True)
class Number:
    """1 where the answer's number equals the reference's, or one of theirs in a list, within a relative tolerance."""

    name: str = "number"
    pick: Literal["last", "first"] = "last"
    """Which number of the answer counts; a worked answer ends with its result."""
    tolerance: float = 1e-6
    verified: bool = True

    def __post_init__(self) -> None:
        if self.pick not in ("last", "first"):
            raise InputError(f"`pick: {self.pick}` is not last or first", fix="change `pick`")

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """1 or 0, 0 for an answer without a number; unscorable where the reference has none."""
        return each(samples, self._close)

    def _close(self, sample: Sample) -> bool:
        wanted = [numbers[-1] for numbers in map(_numbers, references(sample)) if numbers]
        if not all(map(math.isfinite, wanted or [math.inf])):
            raise ValueError(f"the reference `{sample.reference_answer}` holds no number, or one too large")
        found = _numbers(sample.answer)
        if not found:
            return False
        number = found[-1 if self.pick == "last" else 0]
        return any(math.isclose(number, one, rel_tol=self.tolerance, abs_tol=self.tolerance) for one in wanted)


def _numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in NUMBER.findall(text.translate(MINUS))]
