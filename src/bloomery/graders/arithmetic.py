"""OpenAI's `calculate_output`: arithmetic over named scores, parsed and evaluated here, never by Python.

Numbers, names, + - * / ^, brackets, and min, max, abs, floor, ceil, exp, sqrt, log.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from bloomery.core.errors import InputError, nearest

_WORD = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(\*\*|[-+*/^(),]))")
FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
MANY = ("min", "max")
LONGEST, DEEPEST = 2000, 40

Node = Callable[[Mapping[str, float]], float]


def expression(text: str, names: Mapping[str, Any]) -> Node:
    """A function of the scores by name. Raises `InputError` for what is no expression, or names no grader.

    Calling it raises ArithmeticError or ValueError where the result is no finite real number.
    """
    node = _Parser(text, names).whole()

    def value(scores: Mapping[str, float]) -> float:
        result = node(scores)
        if isinstance(result, complex) or not math.isfinite(result):
            raise ArithmeticError(f"`{text}` gives {result}")
        return float(result)

    return value


class _Parser:
    """Recursive descent: sum > product > sign > power > atom."""

    def __init__(self, text: str, names: Mapping[str, Any]) -> None:
        self.text, self.names, self.at, self.depth = text, names, 0, 0
        self.tokens: list[str] = []
        if not isinstance(text, str) or len(text) > LONGEST:
            raise self._refuse("is no expression of at most 2,000 characters")
        place = 0
        while text[place:].strip():
            match = _WORD.match(text, place)
            if match is None:
                raise self._refuse(f"has `{text[place:].strip()[0]}`, which has no meaning there")
            self.tokens.append(match.group().strip())
            place = match.end()

    def whole(self) -> Node:
        node = self._sum()
        if self.at < len(self.tokens):
            raise self._refuse(f"has `{self.tokens[self.at]}` where it should end")
        return node

    def _sum(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._refuse("is nested too deep")
        node = self._product()
        while (sign := self._take("+", "-")) is not None:
            node = _sum(node, self._product(), sign)
        self.depth -= 1
        return node

    def _product(self) -> Node:
        node = self._signed()
        while (sign := self._take("*", "/")) is not None:
            node = _product(node, self._signed(), sign)
        return node

    def _signed(self) -> Node:
        negative = False
        while (sign := self._take("+", "-")) is not None:
            negative ^= sign == "-"
        node = self._power()
        return _negated(node) if negative else node

    def _power(self) -> Node:
        bases = [self._atom()]
        while self._take("^", "**"):
            negative = self._take("-") is not None
            atom = self._atom()
            bases.append(_negated(atom) if negative else atom)
        node = bases.pop()
        while bases:
            node = _power(bases.pop(), node)
        return node

    def _atom(self) -> Node:
        word = self.tokens[self.at] if self.at < len(self.tokens) else ""
        self.at += 1
        if word == "(":
            node = self._sum()
            self._expect(")")
            return node
        if word[:1].isdigit() or word[:1] == ".":
            number = float(word)
            return lambda scores: number
        if word in FUNCTIONS and self.at < len(self.tokens) and self.tokens[self.at] == "(":
            return self._function(word)
        if word in self.names:
            return lambda scores: scores[word]
        if word.isidentifier():
            raise self._refuse(f"names `{word}`, which is no grader of it{nearest(word, [*self.names, *FUNCTIONS])}")
        raise self._refuse(f"has `{word}` where a number or a name should stand" if word else "ends too early")

    def _function(self, name: str) -> Node:
        self._expect("(")
        arguments = [self._sum()]
        while self._take(","):
            arguments.append(self._sum())
        self._expect(")")
        if (name in MANY) != (len(arguments) > 1):
            raise self._refuse(f"gives `{name}` {len(arguments)} arguments")
        function = FUNCTIONS[name]
        return lambda scores: function(*(argument(scores) for argument in arguments))

    def _take(self, *wanted: str) -> str | None:
        if self.at < len(self.tokens) and self.tokens[self.at] in wanted:
            self.at += 1
            return self.tokens[self.at - 1]
        return None

    def _expect(self, wanted: str) -> None:
        if self._take(wanted) is None:
            raise self._refuse(f"lacks a `{wanted}`")

    def _refuse(self, problem: str) -> InputError:
        return InputError(f"`calculate_output: {str(self.text)[:80]}` {problem}", fix="change `calculate_output`")


def _negated(node: Node) -> Node:
    return lambda scores: -node(scores)


def _sum(left: Node, right: Node, sign: str) -> Node:
    if sign == "+":
        return lambda scores: left(scores) + right(scores)
    return lambda scores: left(scores) - right(scores)


def _product(left: Node, right: Node, sign: str) -> Node:
    if sign == "*":
        return lambda scores: left(scores) * right(scores)
    return lambda scores: left(scores) / right(scores)


def _power(base: Node, exponent: Node) -> Node:
    return lambda scores: math.pow(base(scores), exponent(scores))
